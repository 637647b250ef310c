"""How each bench begins and ends: a place for programs that goes with it, and failures as sentences."""

import pathlib
import signal
import sys
import tempfile
from collections.abc import Callable

from .children import Failure


def until_told(measure: Callable[[pathlib.Path], int]) -> int:
    """The exit code of `measure`, which gets a directory for what it builds."""
    # SIGTERM unwinds like an error does, so that children and namespaces end here too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with tempfile.TemporaryDirectory(prefix="torus-bench-peers-") as programs:
            return measure(pathlib.Path(programs))
    except Failure as failure:
        print(f"cannot measure: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
