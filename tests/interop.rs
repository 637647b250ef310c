//! Real clients and real back-ends on the bus: C, Python, the crate zeromq, `torus request`, and ZMTP 2.0, 3.0 and 3.1
//! spoken by hand. JavaScript and CoffeeScript are in interop_node.rs, Java is in interop_java.rs.

#[path = "interop/clients.rs"]
mod clients;
#[path = "interop/examples.rs"]
mod examples;
#[path = "interop/heartbeats.rs"]
mod heartbeats;
#[path = "interop/messages.rs"]
mod messages;
#[path = "interop/restarts.rs"]
mod restarts;
#[path = "interop/versions.rs"]
mod versions;

mod support;
