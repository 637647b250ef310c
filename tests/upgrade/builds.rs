//! Builds to become.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::support::{TORUS, Torus};

/// The version of the build under test.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The other build's: as long, and another one.
pub(crate) fn other_version() -> String {
    let (rest, last) = VERSION.split_at(VERSION.len() - 1);
    format!("{rest}{}", if last == "7" { "8" } else { "7" })
}

/// Another build of torus.
pub(crate) fn other() -> &'static Path {
    static OTHER: OnceLock<PathBuf> = OnceLock::new();
    OTHER.get_or_init(|| {
        let mut program = fs::read(TORUS).unwrap();
        let (mark, other) = (format!("torus-version:{VERSION}"), format!("torus-version:{}", other_version()));
        let places: Vec<usize> = program
            .windows(mark.len())
            .enumerate()
            .filter(|(_, at)| *at == mark.as_bytes())
            .map(|(at, _)| at)
            .collect();
        let [place] = places[..] else { panic!("the version is in {} places", places.len()) };
        program[place..place + other.len()].copy_from_slice(other.as_bytes());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::write(directory.join("torus-other.bytes"), program).unwrap();
        let path = directory.join("torus-other");
        copy(&directory.join("torus-other.bytes"), &path);
        path
    })
}

/// A program of a few lines of shell.
pub(crate) fn script(torus: &Torus, name: &str, text: &str) -> PathBuf {
    let (source, path) = (torus.directory.join(format!("{name}.text")), torus.directory.join(name));
    fs::write(&source, format!("#!/bin/sh\n{text}\n")).unwrap();
    copy(&source, &path);
    path
}

/// Copies a program by another process: while one of ours has it open for writing, it cannot be executed.
pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("install").args(["-m", "755"]).arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Upgrades, and says what the command said.
pub(crate) fn upgrade(torus: &Torus, binary: &Path) -> (Option<i32>, String) {
    torus.command(&["upgrade", "--binary", binary.to_str().unwrap()])
}
