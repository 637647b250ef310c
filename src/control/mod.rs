//! The control socket: what a running supervisor can be asked, by its own user and by root.
//!
//! [`protocol`] is the language, [`server`] runs in the supervisor's loop and owns the socket, [`client`] asks. The
//! server decides nothing: each request goes to the supervisor as a [`Query`].

pub mod client;
pub mod protocol;
pub mod server;

pub use protocol::{
    Change, Command, Done, Endpoints, Follow, LastExit, Plan, Reply, ServiceStatus, Status, VERSION, What,
    torus_version,
};
pub use server::{BindError, Door, Query, Server, answer_adopted};

/// The socket's name in the runtime directory.
pub const SOCKET_NAME: &str = "control.sock";
