"""Supervisors as PID 1, in turns: Torus beside tini, dumb-init, s6, runit and supervisord, as Debian has them.

In each round each supervisor is started in fresh namespaces of its own: once with three services, to be watched at rest,
to restart them and to collect orphans, and once with a hundred, to start and to stop them. Who is first changes from
round to round. See docs/benchmarks.md for what the figures mean.
"""

import argparse
import datetime
import os
import pathlib
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness import build, kernel, report
from harness.arguments import at_least
from harness.children import Failure
from harness.namespace import Namespace
from harness.way_in import until_told

PAGE = build.ROOT / "docs" / "benchmarks.md"
FEW, MANY, ORPHANS = 3, 100, 10_000
# s6, runit and supervisord start what lived for less than a second only when the second is over; so it is given more.
LIFE_SECONDS_MIN = 1.2
# A supervisor that collects one at a time would take minutes.
REAP_SECONDS_MAX = 10

METRICS = [
    report.Metric("restart_min_ms", "restart after SIGKILL, least, ms", "<= 0.75", "s6"),
    report.Metric("restart_ms", "restart after SIGKILL, median, ms"),
    report.Metric("start_ms", f"start of {MANY} services, ms", "<= 0.35", "s6"),
    report.Metric("stop_ms", f"stop of {MANY} services, ms", "<= 0.05", "s6"),
    report.Metric("reap_ms", f"{ORPHANS:,} orphans collected, ms", "<= 1.5", "tini"),
    report.Metric("wakeups", f"at rest, {FEW} services: wakeups per second", "<= 0"),
    report.Metric("pss_kib", f"at rest, {FEW} services: memory, KiB", "<= 3200"),
    report.Metric("pss_later_kib", "the same after restarts"),
    report.Metric("processes", f"at rest, {FEW} services: processes of its own"),
]


@dataclass(frozen=True)
class Side:
    """A supervisor: its name in the table, its command line, and the signal that stops it.

    `prepare` gets the program to be run as each service, where that notes its start, how many services there are, and a
    directory; it answers the command line. `services` says whether it knows services at all, `few` whether it is more
    than a start and a stop.
    """

    name: str
    prepare: Callable
    stop_signal: int = signal.SIGTERM
    services: bool = True
    few: bool = True


def torus(program):
    def prepare(service, log, count, directory):
        services = "".join(f"  s{number}: {{ command: [{service}, {log}, s{number}] }}\n" for number in range(count))
        config = directory / "torus.yaml"
        config.write_text(f"services:\n{services}", encoding="utf-8")
        return [program, "run", "--config", config, "--runtime-dir", directory / "run"]

    return Side("Torus", prepare)


def s6(service, log, count, directory):
    for folder in folders(service, log, count, directory):
        (folder / "notification-fd").write_text("3\n", encoding="utf-8")
    return ["s6-svscan", directory]


def runit(service, log, count, directory):
    folders(service, log, count, directory)
    return ["runsvdir", directory]


def folders(service, log, count, directory):
    """A directory for each service. What runs there is the program itself: no script's interpreter is measured."""
    made = [directory / f"s{number}" for number in range(count)]
    for folder in made:
        folder.mkdir()
        (folder / "run").symlink_to(service)
        (folder / "stamps").symlink_to(log)
    return made


def bare(service, log, count, _directory):
    return [service, "bare", log, count]


def supervisord(service, log, count, directory):
    programs = "".join(
        f"[program:s{number}]\ncommand={service} {log} s{number}\nstdout_logfile=NONE\nstderr_logfile=NONE\n"
        for number in range(count)
    )
    config = directory / "supervisord.conf"
    head = f"[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={directory}/pid\n"
    config.write_text(head + programs, encoding="utf-8")
    return ["supervisord", "-c", config]


def init(program):
    """An init for one command, which starts the services itself."""
    return Side(
        program, lambda service, _log, count, _directory: [program, "--", service, "family", count], services=False
    )


@dataclass(frozen=True)
class Ground:
    """What all sides are measured with."""

    service: pathlib.Path
    output: object
    arguments: argparse.Namespace

    def namespace(self, side, count, directory):
        """A fresh namespace in which that side runs so many services."""
        scan = directory / "services"
        scan.mkdir()
        argv = side.prepare(self.service, directory / "stamps", count, scan)
        return Namespace(self.service, argv, directory, self.output)


def with_few(side, ground, directory):
    """At rest, then restarts, then orphans."""
    with ground.namespace(side, FEW, directory) as running:
        if side.services:
            running.stamps(1 + FEW)
        time.sleep(LIFE_SECONDS_MIN)
        own = running.own()
        switches = {pid: kernel.context_switches(pid) for pid in own}
        time.sleep(ground.arguments.seconds)
        figures = {
            "wakeups": sum(kernel.context_switches(pid) - switches[pid] for pid in own) / ground.arguments.seconds,
            "pss_kib": memory_kib(own),
            "processes": len(own),
        }
        if side.services:
            restarts = []
            for _ in range(ground.arguments.restarts):
                restarts.append(running.restart() / 1e6)
                time.sleep(LIFE_SECONDS_MIN)
            figures |= {"restart_min_ms": min(restarts), "restart_ms": statistics.median(restarts)}
            figures["pss_later_kib"] = memory_kib(own)
        figures["reap_ms"] = running.reap(ORPHANS, REAP_SECONDS_MAX) / 1e6
        return figures


def memory_kib(pids):
    return sum(kernel.pss_kib(pid) for pid in pids)


def with_many(side, ground, directory):
    """A start and a stop."""
    with ground.namespace(side, MANY, directory) as running:
        stamps = running.stamps(1 + MANY)
        names = {name for name, _ in stamps[1:]}
        if len(names) != MANY:
            raise Failure(f"{len(names)} different services of {MANY} were started")
        began, last = stamps[0][1], max(nanoseconds for _, nanoseconds in stamps)
        time.sleep(LIFE_SECONDS_MIN)
        return {"start_ms": (last - began) / 1e6, "stop_ms": running.stop(side.stop_signal) / 1e6}


def one_round(side, ground):
    figures = {}
    measures = [(with_few, side.few), (with_many, side.services)]
    for measured in (measured for measured, is_wanted in measures if is_wanted):
        with tempfile.TemporaryDirectory(prefix="torus-bench-") as directory:
            try:
                figures |= measured(side, ground, pathlib.Path(directory))
            except (Failure, OSError) as failure:
                raise Failure(f"{side.name}: {failure}") from failure
    return figures


def measure(sides, service, arguments):
    """All rounds, the sides in turns; the figures of each side by its name."""
    rounds = {side.name: [] for side in sides}
    with tempfile.TemporaryFile() as output:
        ground = Ground(service, output, arguments)
        try:
            for number in range(1, arguments.rounds + 1):
                for side in sides[:: 1 if number % 2 else -1]:
                    figures = one_round(side, ground)
                    rounds[side.name].append(figures)
                    words = ", ".join(f"{key} {report.figure(value)}" for key, value in figures.items())
                    print(f"round {number}, {side.name}: {words}", file=sys.stderr)
        except Failure as failure:
            output.seek(0)
            said = output.read().decode(errors="replace")[-2000:]
            raise Failure(f"{failure}\n{said}".rstrip()) from failure
    return rounds


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/bench supervisor",
        description="Supervisors as PID 1, in turns: Torus beside tini, dumb-init, s6, runit and supervisord.",
    )
    parser.add_argument("--rounds", type=at_least(1, int), default=5, help="turns of each side (default 5)")
    parser.add_argument("--seconds", type=at_least(0.1, float), default=5, help="at rest, in each turn (default 5)")
    parser.add_argument("--restarts", type=at_least(1, int), default=6, help="in each turn (default 6)")
    parser.add_argument("--only", metavar="NAME", action="append", help="measure this side alone; may be repeated")
    parser.add_argument("--write", action="store_true", help="keep the table in docs/benchmarks.md")
    parser.add_argument("--check", action="store_true", help="exit 1 when a goal is missed")
    arguments = parser.parse_args()
    if arguments.only and (arguments.write or arguments.check):
        parser.error("--only measures too little for --write or --check")
    return arguments


def run(arguments, programs):
    service = build.peers("supervisor", programs, "gcc make libc6-dev") / "service"
    sides = [
        torus(build.torus()),
        Side("s6", s6),
        Side("runit", runit, stop_signal=signal.SIGHUP),
        Side("supervisord", supervisord),
        init("tini"),
        init("dumb-init"),
        Side("a bare loop", bare, few=False),
    ]
    if arguments.only:
        sides = [side for side in sides if side.name in arguments.only]
    rounds = measure(sides, service, arguments)
    if arguments.only:
        return 0
    rows, missed = report.comparison(METRICS, sides[0].name, rounds)
    today = datetime.date.today().isoformat()
    text = f"{today}, {kernel.machine()}; {arguments.rounds} rounds of each, in turns.\n\n{rows}"
    print(text)
    if arguments.write:
        report.write(PAGE, "supervisor", text)
    return 1 if arguments.check and missed else 0


def main():
    arguments = parse()
    if os.geteuid() != 0:
        print("cannot measure: namespaces of processes are made by root alone\nhint: sudo", file=sys.stderr)
        return 1
    return until_told(lambda programs: run(arguments, programs))


if __name__ == "__main__":
    sys.exit(main())
