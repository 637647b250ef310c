//! The control socket's protocol, server and client.
