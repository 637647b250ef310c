//! Configuration: raw YAML in, a valid [`Config`] out, every problem at once with its path and line.
//!
//! Three steps: [`load`] finds the text, `tree` reads it as YAML, `validate` makes the [`Config`] of it. Nobody checks
//! again afterwards. The keys are described in docs/configuration.md.

mod confine;
mod error;
mod fields;
pub mod life;
mod load;
mod model;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod validate;
mod variables;

use std::net::IpAddr;

pub use confine::{Amount, CAPABILITIES, CgroupLimits, Confine, Limit, Resource, Umask};
pub use error::{ConfigError, Problem};
pub use load::{Loaded, Origin, SYSTEM_FILE, VARIABLE, load};
pub use model::{
    Bus, Config, Limits, LogFormat, LogTarget, Logs, Preflight, Requests, RestartPolicy, Sandbox, Service, ServiceKind,
};
pub use variables::{BadLine, VARIABLES_BYTES_MAX, parse_variables};

/// Bytes of a configuration; a larger one is refused before it is parsed.
pub const FILE_BYTES_MAX: usize = 256 << 10;

const EMBEDDED: &str = include_str!("default.yaml");

/// Makes a configuration of YAML text.
///
/// # Errors
/// The first syntax error alone, or else all that is wrong with the document.
pub fn parse(text: &str, origin: &Origin) -> Result<Config, ConfigError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { origin: origin.clone() });
    }
    let root = tree::read(text).map_err(|tree::SyntaxError { line, column, message }| {
        let excerpt = error::excerpt(text, line, column);
        ConfigError::Syntax { origin: origin.clone(), line, column, message, excerpt }
    })?;
    validate::config(&root).map_err(|problems| ConfigError::Invalid { origin: origin.clone(), problems })
}

impl Config {
    /// The configuration inside the binary: requests on loopback, and two instances of the `hello` back-end.
    #[must_use]
    pub fn embedded() -> Self {
        parse(EMBEDDED, &Origin::Embedded).expect("the embedded default is valid")
    }

    /// The configuration as YAML that loads again to the same configuration, defaults written out.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).expect("text, numbers and mappings are always YAML")
    }

    /// The address beyond loopback where peers are served without authentication, if the configuration permits that.
    #[must_use]
    pub fn insecure_bind(&self) -> Option<IpAddr> {
        self.bus.as_ref().map(|bus| bus.bind).filter(|address| !address.is_loopback())
    }
}
