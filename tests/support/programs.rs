//! The programs of examples/, and what runs them. What is missing fails a test with a sentence that says so.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Something below examples/.
pub(crate) fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

/// A Python that has pyzmq: the one on PATH may be a user's own, without it.
pub(crate) fn python() -> &'static str {
    static PYTHON: OnceLock<&str> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let has_zmq = |python: &&str| {
            let tried = Command::new(python).args(["-c", "import zmq"]).output();
            tried.is_ok_and(|tried| tried.status.success())
        };
        let found = ["python3", "/usr/bin/python3"].into_iter().find(has_zmq);
        found.expect("no Python here has pyzmq; install python3-zmq, or run scripts/test, which does")
    })
}

/// A program in C of examples/, built if it is not up to date.
///
/// Test processes run side by side, and make does not know of another make: they take turns.
pub(crate) fn c(directory: &str, program: &str) -> PathBuf {
    let directory = example(directory);
    let turn = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("make.lock")).unwrap();
    turn.lock().unwrap();
    let built = Command::new("make").arg("--silent").arg("-C").arg(&directory).output();
    let built = built.expect("there is no make; install make, gcc and libzmq3-dev, or run scripts/test, which does");
    assert!(
        built.status.success(),
        "cannot build {}: {}hint: it needs gcc and libzmq3-dev; scripts/test installs them",
        directory.display(),
        String::from_utf8_lossy(&built.stderr)
    );
    directory.join(program)
}

/// The directory of a client for Node, with its packages.
pub(crate) fn node(directory: &str) -> PathBuf {
    let directory = example(directory);
    assert!(
        directory.join("node_modules/.package-lock.json").exists(),
        "the client's packages are missing; run npm ci in {}, or scripts/test, which does",
        directory.display()
    );
    directory
}

/// The script of further libzmq peers.
pub(crate) fn libzmq() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/libzmq.py")
}
