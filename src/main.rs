//! The `torus` binary: parse, call [`torus::cli`], return the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    torus::cli::main()
}
