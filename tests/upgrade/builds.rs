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
        // Tests make it at the same time, each in a process of its own: what is there is whole.
        let path = directory.join("torus-other");
        if fs::read(&path).is_ok_and(|found| found == program) {
            return path;
        }
        let bytes = directory.join(format!("torus-other.{}", std::process::id()));
        fs::write(&bytes, program).unwrap();
        copy(&bytes, &path);
        fs::remove_file(bytes).unwrap();
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

/// A program that answers as a torus does, having done `first`, and does `then` when it is to be one.
pub(crate) fn liar(torus: &Torus, first: &str, then: &str) -> PathBuf {
    let (source, path) = (torus.directory.join("liar.c"), torus.directory.join("liar"));
    let text = format!(
        "#define _GNU_SOURCE\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/stat.h>\n\
         #include <unistd.h>\nint main(int argc, char **argv) {{\nif (strcmp(argv[argc - 1], \"--ask\") == 0) {{ {first} \
         return printf(\"{{\\\"torus\\\":\\\"9.0.0\\\",\\\"state\\\":1,\\\"pid\\\":%d}}\\n\", getpid()) < 0; }}\n{then}\n}}\n"
    );
    fs::write(&source, text).unwrap();
    let new = torus.directory.join("liar.new");
    let built = Command::new("cc").arg("-o").arg(&new).arg(&source).status();
    assert!(built.unwrap().success());
    fs::rename(new, &path).unwrap();
    path
}

/// Copies a program by another process: while one of ours has it open for writing, it cannot be executed.
pub(crate) fn copy(from: &Path, to: &Path) {
    let new = to.with_extension(format!("new.{}", std::process::id()));
    let copied = Command::new("install").args(["-m", "755"]).arg(from).arg(&new).status();
    assert!(copied.unwrap().success());
    fs::rename(new, to).unwrap();
}

/// Upgrades, and says what the command said.
pub(crate) fn upgrade(torus: &Torus, binary: &Path) -> (Option<i32>, String) {
    torus.command(&["upgrade", "--binary", binary.to_str().unwrap()])
}
