//! The only module that names nix, caps, systemd, libc or unsafe. It decides nothing: each function does one thing to
//! the machine and says plainly what failed.

pub mod counters;
pub mod identity;
pub mod inherit;
pub mod journal;
pub mod limits;
pub mod listen;
pub mod net;
pub mod notify;
pub mod output;
pub mod pass;
pub mod pipe;
pub mod poller;
pub mod privileges;
pub mod runtime;
pub mod signals;
pub mod spawn;
pub mod stop;
pub mod timer;
pub mod wait;
pub mod wake;

pub use nix::unistd::Pid;
