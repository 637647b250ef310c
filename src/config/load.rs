//! Where the configuration comes from. The one file of this room that touches the world: it reads one variable and at
//! most one file.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, FILE_BYTES_MAX, parse};

/// The environment variable that names the configuration file; empty counts as unset.
pub const VARIABLE: &str = "TORUS_CONFIG";

/// The file that is read when neither the command line nor [`VARIABLE`] names one, if it exists.
pub const SYSTEM_FILE: &str = "/etc/torus/torus.yaml";

/// A valid configuration and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a configuration came from; displayed as a path, or as "the embedded default".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The text inside the binary.
    Embedded,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("the embedded default"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Loads the file that `explicit` names, else the one that [`VARIABLE`] names, else [`SYSTEM_FILE`] if there is one,
/// else the embedded default. Files are never merged.
///
/// # Errors
/// The file cannot be read, is too large, or is not a valid configuration. Only a [`SYSTEM_FILE`] that does not exist
/// is no error.
pub fn load(explicit: Option<&Path>) -> Result<Loaded, ConfigError> {
    choose(explicit, std::env::var_os(VARIABLE), Path::new(SYSTEM_FILE))
}

fn choose(explicit: Option<&Path>, variable: Option<OsString>, system: &Path) -> Result<Loaded, ConfigError> {
    let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = explicit {
        return from_file(named);
    }
    if let Some(named) = variable {
        return from_file(&named).map_err(|error| match error {
            ConfigError::Read { path, source, .. } => ConfigError::Read { path, by_variable: true, source },
            error => error,
        });
    }
    match from_file(system) {
        Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(Loaded { config: Config::embedded(), origin: Origin::Embedded })
        }
        loaded_or_error => loaded_or_error,
    }
}

fn from_file(path: &Path) -> Result<Loaded, ConfigError> {
    let bytes =
        read_bounded(path).map_err(|source| ConfigError::Read { path: path.to_owned(), by_variable: false, source })?;
    let origin = Origin::File(path.to_owned());
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { origin });
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64;
            return Err(ConfigError::NotUtf8 { origin, line });
        }
    };
    Ok(Loaded { config: parse(&text, &origin)?, origin })
}

/// Reads one byte more than is allowed at most, so that an endless file costs no memory.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ONE: &str = "services: {one: {worker: hello}}\n";
    const NOWHERE: &str = "/nonexistent/torus.yaml";

    /// A directory of this test's own, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("torus-load-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary directory");
            Self(path)
        }

        fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).expect("a temporary file");
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn origin(loaded: Result<Loaded, ConfigError>) -> Origin {
        loaded.expect("a configuration").origin
    }

    #[test]
    fn the_command_line_wins_over_the_variable_and_the_variable_over_the_system_file() {
        let directory = Directory::new("order");
        let [line, variable, system] = ["line", "variable", "system"].map(|name| directory.file(name, ONE));
        let named = Some(variable.clone().into_os_string());
        assert_eq!(origin(choose(Some(&line), named.clone(), &system)), Origin::File(line));
        assert_eq!(origin(choose(None, named, &system)), Origin::File(variable));
        assert_eq!(origin(choose(None, Some("".into()), &system)), Origin::File(system.clone()));
        assert_eq!(origin(choose(None, None, &system)), Origin::File(system));
        assert_eq!(origin(choose(None, None, Path::new(NOWHERE))), Origin::Embedded);
    }

    #[test]
    fn a_file_that_was_named_must_exist() {
        let error = choose(None, Some(NOWHERE.into()), Path::new(NOWHERE)).expect_err("an error");
        assert_eq!(
            error.to_string(),
            "cannot read configuration /nonexistent/torus.yaml (named by TORUS_CONFIG): No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_system_file_that_is_there_but_wrong_does_not_fall_back() {
        let directory = Directory::new("wrong");
        let system = directory.file("torus.yaml", "nonsense: 1\n");
        assert!(matches!(choose(None, None, &system), Err(ConfigError::Invalid { .. })));
        assert!(matches!(choose(None, None, &directory.0), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn a_file_of_256_kib_is_read_and_one_byte_more_is_refused() {
        let directory = Directory::new("size");
        let mut text = format!("{ONE}#");
        text.extend(std::iter::repeat_n('x', FILE_BYTES_MAX - text.len()));
        assert!(from_file(&directory.file("just", &text)).is_ok());
        text.push('x');
        let error = from_file(&directory.file("over", &text)).expect_err("a refusal");
        assert!(error.to_string().ends_with("over: larger than 256 KiB, so it was not read as a configuration"));
        assert!(matches!(from_file(Path::new("/dev/zero")), Err(ConfigError::TooLarge { .. })));
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_named_by_their_line() {
        let directory = Directory::new("latin");
        let error = from_file(&directory.file("latin", b"a: 1\nb: caf\xe9\n")).expect_err("a refusal");
        assert!(matches!(error, ConfigError::NotUtf8 { line: 2, .. }), "{error}");
    }
}
