//! The only module that names nix, caps, systemd, libc, seccompiler, landlock or unsafe. It decides nothing: each function
//! does one thing to the machine and says plainly what failed.

mod bond;
pub mod cgroup;
pub mod confine;
pub mod counters;
pub mod exec;
pub mod files;
pub mod identity;
pub mod inbox;
pub mod inherit;
pub mod journal;
pub mod limits;
pub mod listen;
pub mod machine;
pub mod memory;
pub mod net;
pub mod notify;
mod origin;
pub mod output;
pub mod pass;
pub mod pipe;
pub mod poller;
pub mod privileges;
pub mod program;
pub mod runtime;
pub mod sandbox;
pub mod signals;
pub mod spawn;
pub mod stderr;
pub mod stop;
pub mod terminal;
pub mod timer;
pub mod tree;
pub mod tripwire;
pub mod wait;
pub mod wake;

pub use nix::unistd::Pid;
