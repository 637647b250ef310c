//! The only module that names nix, caps, systemd, libc or unsafe. It decides nothing: each function does one thing to
//! the machine and says plainly what failed.

pub mod counters;
pub mod inherit;
pub mod net;
pub mod privileges;
