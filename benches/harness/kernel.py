"""What the kernel says of a process, all its threads together (proc(5))."""

import os
import re


def cpu_ns(pid):
    """Nanoseconds on a CPU so far, in user and kernel mode. Threads that have ended are not counted."""
    return sum(int(_read(pid, "task", thread, "schedstat").split()[0]) for thread in _threads(pid))


def context_switches(pid):
    """How often its threads gave up a CPU to wait. One that polls busily hardly ever does, and its CPU time tells."""
    text = "".join(_read(pid, "task", thread, "status") for thread in _threads(pid))
    return sum(int(count) for count in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE))


def pss_kib(pid):
    """Memory in KiB; pages shared with other processes count by their share."""
    return int(re.search(r"^Pss:\s+(\d+) kB", _read(pid, "smaps_rollup"), re.MULTILINE)[1])


def name(pid):
    """The name of its program, cut to 15 characters; empty when it has ended."""
    try:
        return _read(pid, "comm").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(pid):
    """Its children, the oldest first, those included that have ended and were not collected."""
    try:
        return [int(child) for child in _read(pid, "task", str(pid), "children").split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid):
    """Its children, theirs, and so on."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def machine():
    """The machine in a few words for the report: figures of one are not those of another."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
    release = ".".join(os.uname().release.split(".")[:2])
    return f"{os.cpu_count()} cores ({model[1] if model else os.uname().machine}), Linux {release}"


def _threads(pid):
    return os.listdir(f"/proc/{pid}/task")


def _read(pid, *path):
    with open(os.path.join("/proc", str(pid), *path), encoding="utf-8") as file:
        return file.read()
