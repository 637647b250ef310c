"""What a bench measures, built: Torus and the programs of benches/peers."""

import json
import pathlib
import subprocess

from .children import Failure

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def peers(bench, directory, packages):
    """Builds the peers of a bench into the directory, and returns it."""
    command = ["make", "--silent", "-C", ROOT / "benches" / "peers", f"OUT={directory}", bench]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure(f"make could not build benches/peers\nhint: apt-get install {packages}") from error
    return directory


def torus():
    """The release binary, wherever cargo puts it."""
    command = ["cargo", "build", "--release", "--locked", "--bin", "torus"]
    command += ["--message-format", "json-render-diagnostics"]
    try:
        built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure("cargo could not build the release binary\nhint: cargo build --release says why") from error
    executables = (json.loads(line).get("executable") for line in built.stdout.splitlines())
    return pathlib.Path(next(path for path in executables if path))
