"""Request and reply: Torus beside libzmq's zmq_proxy, in turns, with the same clients and back-end.

Both brokers run throughout, each with an echo back-end of its own; the one whose turn it is not is at rest and costs
nothing. In each round one client uses the one and then the other, then 64 clients do; who is first changes from round to
round. Turns are short, so that a machine that is faster now and slower then meets both sides alike. At the end each is
watched at rest. See docs/benchmarks.md for what the figures mean.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from harness import build, kernel, report
from harness.arguments import at_least
from harness.children import Children, Failure
from harness.way_in import until_told

PAGE = build.ROOT / "docs" / "benchmarks.md"
WARMUP_MS = 300
START_SECONDS_MAX = 10
# Beyond warm-up and measuring: connecting, and the silence after which the requester gives up.
LOAD_SECONDS_SPARE = 10
MANY = 64

METRICS = [
    report.Metric("p50_us", "1 client: p50, µs", "<= 0.65"),
    report.Metric("p99_us", "1 client: p99, µs", "<= 0.75"),
    report.Metric("one_per_s", "1 client: requests per second"),
    report.Metric("one_cpu_us", "1 client: broker CPU per request, µs"),
    report.Metric("many_per_s", f"{MANY} clients: requests per second", ">= 1.3"),
    report.Metric("many_cpu_us", f"{MANY} clients: broker CPU per request, µs", "<= 0.6"),
    report.Metric("many_switches", f"{MANY} clients: context switches per request"),
    report.Metric("rest_cpu_us", "at rest: broker CPU in one second, µs"),
    report.Metric("rest_switches", "at rest: context switches in one second"),
    report.Metric("pss_kib", "memory of the broker, KiB"),
    report.Metric("pss_all_kib", "memory of the whole appliance, KiB"),
]


@dataclass(frozen=True)
class Broker:
    """A running broker: where clients and back-ends connect, and which processes it is."""

    front: str
    back: str
    pid: int
    all_pids: tuple


def start_zmq_proxy(children, programs, _directory):
    return start_peer(children, programs / "zmq_proxy")


def start_relay(children, programs, _directory):
    return start_peer(children, programs / "relay")


def start_peer(children, program):
    child = children.start(program)
    front, back = (child.line(START_SECONDS_MAX).split()[1] for _ in range(2))
    return Broker(front, back, child.pid, (child.pid,))


def start_torus(children, torus, directory):
    config = directory / "torus.yaml"
    config.write_text("bus:\n  bind: 127.0.0.1\n  requests: { front: 0, back: 0 }\n", encoding="utf-8")
    where = ["--runtime-dir", directory / "run"]
    supervisor = children.start(torus, "run", "--config", config, *where)
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if supervisor.process.poll() is not None:
            raise Failure(f"torus ended early, with exit code {supervisor.process.returncode}")
        asked = subprocess.run([torus, "status", "--json", *where], capture_output=True, check=False)
        if asked.returncode == 0 and (broker := from_status(json.loads(asked.stdout), supervisor.pid)):
            return broker
        time.sleep(0.02)
    raise Failure(f"torus did not tell its endpoints within {START_SECONDS_MAX} s")


def from_status(status, supervisor_pid):
    """The broker that `torus status --json` describes; None while its requests worker is still starting."""
    endpoints = status.get("endpoints", {})
    front, back = endpoints.get("requests_front"), endpoints.get("requests_back")
    pid = next((service.get("pid") for service in status["services"] if service["name"] == "requests"), None)
    if not (front and back and pid):
        return None
    return Broker(front, back, pid, (supervisor_pid, pid))


@dataclass(frozen=True)
class Side:
    """What is measured: its name in the table, how it starts, from which program or directory, with how many clients."""

    name: str
    start: Callable
    programs: pathlib.Path
    clients_max: int = MANY


@dataclass(frozen=True)
class Running:
    """A side whose broker is up, with its back-end connected."""

    name: str
    broker: Broker
    clients_max: int
    rounds: list


def begin(side, children, peers, directory):
    directory.mkdir()
    broker = side.start(children, side.programs, directory)
    children.start(peers / "echo", broker.back)
    return Running(side.name, broker, side.clients_max, [])


def one_round(children, peers, sides, arguments):
    """Each side's figures of one round, added to its list."""
    figures = {side.name: {} for side in sides}
    for clients, names in (
        (1, {"p50_us": "p50_us", "p99_us": "p99_us", "one_per_s": "per_s", "one_cpu_us": "cpu_us"}),
        (MANY, {"many_per_s": "per_s", "many_cpu_us": "cpu_us", "many_switches": "switches"}),
    ):
        # Who comes first meets the machine as the load before left it: hot, slowed down, caches full of other things.
        # So each comes first in every other round.
        for side in sides[:: 1 if len(sides[0].rounds) % 2 == 0 else -1]:
            if clients > side.clients_max:
                continue
            try:
                found, requester = load(children, peers, side.broker, clients, arguments.seconds, arguments.io_threads)
            except Failure as failure:
                raise Failure(f"{side.name}, round {len(side.rounds) + 1}: {failure}") from failure
            requester.end()
            figures[side.name] |= {name: found[source] for name, source in names.items()}
    for side in sides:
        side.rounds.append(figures[side.name])


def at_rest(children, peers, side, arguments):
    """What the broker costs when its peers are connected and silent; the same for every round."""
    broker = side.broker
    _found, requester = load(children, peers, broker, MANY, arguments.seconds, arguments.io_threads)
    cpu, switches = kernel.cpu_ns(broker.pid), kernel.context_switches(broker.pid)
    time.sleep(1)
    figures = {
        "rest_cpu_us": (kernel.cpu_ns(broker.pid) - cpu) / 1000,
        "rest_switches": kernel.context_switches(broker.pid) - switches,
        "pss_kib": kernel.pss_kib(broker.pid),
        "pss_all_kib": sum(kernel.pss_kib(pid) for pid in broker.all_pids),
    }
    requester.end()
    for found in side.rounds:
        found |= figures


def load(children, peers, broker, clients, seconds, io_threads):
    """Lets so many clients use the broker; they stay connected, quiet, until the returned child is ended."""
    cpu, switches = kernel.cpu_ns(broker.pid), kernel.context_switches(broker.pid)
    milliseconds = round(seconds * 1000)
    requester = children.start(peers / "requester", broker.front, clients, WARMUP_MS, milliseconds, io_threads)
    found = json.loads(requester.line(seconds + WARMUP_MS / 1000 + LOAD_SECONDS_SPARE))
    if found["missing"] or found["wrong"]:
        raise Failure(f"{found['missing']} replies missing and {found['wrong']} wrong, of {found['sent']} requests")
    # The warm-up's requests cost as much as the measured ones, so both are in the quotient.
    found["cpu_us"] = (kernel.cpu_ns(broker.pid) - cpu) / 1000 / found["sent"]
    found["switches"] = (kernel.context_switches(broker.pid) - switches) / found["sent"]
    return found, requester


def measure(sides, peers, arguments):
    """All rounds, the sides in turns, each first in every other; the figures of each side by its name."""
    with (
        tempfile.TemporaryDirectory(prefix="torus-bench-") as directory,
        tempfile.TemporaryFile() as stderr,
        Children(stderr) as children,
    ):
        try:
            running = [
                begin(side, children, peers, pathlib.Path(directory) / str(index)) for index, side in enumerate(sides)
            ]
            for number in range(1, arguments.rounds + 1):
                one_round(children, peers, running if number % 2 else running[::-1], arguments)
                for side in running:
                    print(f"round {number}, {side.name}: {in_words(side.rounds[-1])}", file=sys.stderr)
            for side in running:
                if side.clients_max == MANY:
                    at_rest(children, peers, side, arguments)
        except (Failure, OSError) as error:
            stderr.seek(0)
            said = stderr.read().decode(errors="replace")[-2000:]
            raise Failure(f"{error}\n{said}".rstrip()) from error
        return {side.name: side.rounds for side in running}


def in_words(found):
    words = f"p50 {found['p50_us']:.0f} µs, p99 {found['p99_us']:.0f} µs"
    if "many_per_s" in found:
        words += f"; {MANY} clients {found['many_per_s']:,.0f}/s, {found['many_cpu_us']:.2f} µs CPU each"
    return words


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/bench requests", description="Request and reply: Torus beside libzmq's zmq_proxy, in turns."
    )
    parser.add_argument("--rounds", type=at_least(1, int), default=20, help="turns of each side (default 20)")
    parser.add_argument("--seconds", type=at_least(0.1, float), default=1, help="of each measurement (default 1)")
    parser.add_argument("--io-threads", type=at_least(1, int), default=1, help="of the clients' context (default 1)")
    parser.add_argument("--write", action="store_true", help="keep the table in docs/benchmarks.md")
    parser.add_argument("--check", action="store_true", help="exit 1 when a goal is missed")
    parser.add_argument(
        "--peer-only",
        action="store_true",
        help="zmq_proxy in both places: how far from 1.00× are ratios by chance? Neither builds nor runs Torus",
    )
    arguments = parser.parse_args()
    if arguments.peer_only and (arguments.write or arguments.check):
        parser.error("--peer-only measures nothing that is worth --write or --check")
    return arguments


def run(arguments, programs):
    peers = build.peers("requests", programs, "gcc make libzmq3-dev")
    theirs = Side("zmq_proxy", start_zmq_proxy, peers)
    if arguments.peer_only:
        # The goals are Torus's: beside itself the peer has none.
        ours, metrics = replace(theirs, name="zmq_proxy again"), [replace(metric, goal=None) for metric in METRICS]
    else:
        ours, metrics = Side("Torus", start_torus, build.torus()), METRICS
    floor = Side("a bare relay", start_relay, peers, clients_max=1)
    rounds = measure((ours, theirs, floor), peers, arguments)
    rows, missed = report.table(
        metrics, ours.name, rounds[ours.name], theirs.name, rounds[theirs.name], (floor.name, rounds[floor.name])
    )
    today = datetime.date.today().isoformat()
    text = (
        f"{today}, {kernel.machine()}; {arguments.rounds} rounds of {arguments.seconds:g} s each, in turns; "
        f"0 replies missing.\n\n{rows}"
    )
    print(text)
    if arguments.write:
        report.write(PAGE, "requests", text)
    return 1 if arguments.check and missed else 0


def main():
    arguments = parse()
    return until_told(lambda programs: run(arguments, programs))


if __name__ == "__main__":
    sys.exit(main())
