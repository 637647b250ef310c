"""A program as PID 1 of a fresh namespace of processes, and what is to be seen of it from outside. Needs root."""

import os
import pathlib
import select
import signal
import subprocess
import time

from . import kernel
from .children import Failure

START_SECONDS_MAX = 20


class Namespace:
    """Runs a program as PID 1 until the `with` block is left; then the kernel ends all that it started.

    `service` is the program of benches/peers: it notes when PID 1 began, a step before it is the program.
    """

    def __init__(self, service, argv, directory, output):
        self._service = pathlib.Path(service)
        self._log = pathlib.Path(directory) / "stamps"
        self._argv = argv
        self._output = output

    def __enter__(self):
        unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        argv = [*unshare, self._service, self._log, "0", "exec", *self._argv]
        self._unshare = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output
        )
        try:
            self.stamps(1)
            self.pid = kernel.children(self._unshare.pid)[0]
            self._pidfd = os.pidfd_open(self.pid)
        except BaseException:
            self._unshare.kill()
            raise
        return self

    def __exit__(self, *_):
        os.close(self._pidfd)
        self._unshare.kill()
        self._unshare.wait()

    def stamps(self, count, seconds_max=START_SECONDS_MAX):
        """The first starts, so many at least, as (name, nanoseconds); waits for them. The first is PID 1's own."""
        deadline = time.monotonic() + seconds_max
        while True:
            text = self._log.read_text(encoding="utf-8") if self._log.exists() else ""
            lines = [line.split() for line in text.splitlines()]
            if len(lines) >= count:
                return [(name, int(nanoseconds)) for name, nanoseconds in lines]
            if self._unshare.poll() is not None:
                raise Failure(f"PID 1 ended early, with exit code {self._unshare.returncode}")
            if time.monotonic() > deadline:
                raise Failure(f"{len(lines)} of {count} starts within {seconds_max} s")
            time.sleep(0.002)

    def services(self):
        """The processes that are services, in no order."""
        return [pid for pid in kernel.descendants(self.pid) if kernel.name(pid) == self._service.name]

    def own(self):
        """The processes that are the supervisor's: PID 1 and all that are not services."""
        return [self.pid, *(pid for pid in kernel.descendants(self.pid) if kernel.name(pid) != self._service.name)]

    def restart(self):
        """Kills the service that has lived the longest; nanoseconds until the main of its next process."""
        before = len(self.stamps(1))
        victim = min(self.services())
        began = time.monotonic_ns()
        os.kill(victim, signal.SIGKILL)
        return self.stamps(before + 1)[before][1] - began

    def reap(self, count, seconds_max):
        """Nanoseconds until PID 1, stopped meanwhile, has collected so many orphans; infinite when it does not."""
        before = len(kernel.children(self.pid))
        os.kill(self.pid, signal.SIGSTOP)
        enter = ["nsenter", f"--target={self.pid}", "--pid", "--mount", str(self._service), "orphans", str(count)]
        subprocess.run(enter, check=True)
        orphans = kernel.children(self.pid)[before:]
        if len(orphans) < count:
            raise Failure(f"PID 1 has only {len(orphans)} of {count} orphans")
        began = time.monotonic_ns()
        os.kill(self.pid, signal.SIGCONT)
        # Looking at one process at a time does not hold up the one that is measured, as reading the whole list would.
        for orphan in reversed(orphans):
            while os.path.exists(f"/proc/{orphan}"):
                if time.monotonic_ns() - began > seconds_max * 1e9:
                    return float("inf")
                time.sleep(0.0002)
        return time.monotonic_ns() - began

    def stop(self, signal_number, seconds_max=30):
        """Nanoseconds from the signal to the end of PID 1, and so of everything."""
        began = time.monotonic_ns()
        os.kill(self.pid, signal_number)
        if not select.select([self._pidfd], [], [], seconds_max)[0]:
            raise Failure(f"PID 1 did not stop within {seconds_max} s")
        return time.monotonic_ns() - began
