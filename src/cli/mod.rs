//! The command line: one file per subcommand. Nobody imports this module but `main`.

use std::process::ExitCode;

/// Runs the command line and returns the process's exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
