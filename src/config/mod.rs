//! Configuration: raw YAML in, a valid [`Config`] out, every problem at once with its path and line.

mod model;

pub use model::{Bus, Config, Limits, Requests, RestartPolicy, Service, ServiceKind};
