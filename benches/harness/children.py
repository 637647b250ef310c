"""The processes of a bench: started here, spoken to by lines, and ended here whatever happens."""

import os
import select
import subprocess
import time


class Failure(Exception):
    """The bench cannot go on; the text says what, to which thing, because."""


class Child:
    """A process whose standard output is read by lines, each with a deadline."""

    def __init__(self, argv, stderr):
        self.name = os.path.basename(argv[0])
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0, close_fds=True
        )
        self.pid = self.process.pid
        self._read = b""

    def line(self, seconds_max):
        """The next line that the child prints."""
        deadline = time.monotonic() + seconds_max
        while b"\n" not in self._read:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failure(f"{self.name} said nothing for {seconds_max:g} s")
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise Failure(f"{self.name} ended early, with exit code {self.process.wait()}")
            self._read += more
        line, self._read = self._read.split(b"\n", 1)
        return line.decode()

    def end(self, seconds_max=10):
        """SIGTERM, then SIGKILL; returns the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        return code


class Children:
    """Ends what it started, last first, when the `with` block is left."""

    def __init__(self, stderr):
        self._stderr = stderr
        self._started = []

    def start(self, *argv):
        child = Child([str(word) for word in argv], self._stderr)
        self._started.append(child)
        return child

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self._started:
            self._started.pop().end()
