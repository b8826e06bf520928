"""CPU time and memory of a process and its children, read from the kernel. Linux only.

CPU time comes from each process's CPU clock: utime + stime of /proc/<pid>/stat, but in nanoseconds. The 10 ms steps of
/proc are as much as one whole answer costs.
"""

import os
import time
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(pid: int) -> list[int]:
    """The process and all that descend from it; none if it is gone."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat_fields(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid] if Path(f"/proc/{pid}").exists() else []
    for process in found:
        found.extend(parents.get(process, []))
    return found


def stat_fields(pid: int) -> list[str]:
    """What follows the command's name in /proc/<pid>/stat: state, parent, …"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_seconds(pid: int) -> float:
    return sum(process_cpu(process) for process in tree(pid))


def process_cpu(pid: int) -> float:
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the clock that clock_getcpuclockid(3) gives for this process
    except OSError:
        return 0.0


def rss_mib(pid: int) -> float:
    """Resident memory of the tree; what its processes share counts once for each."""
    pages = 0
    for process in tree(pid):
        try:
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * PAGE / 2**20
