"""The CPU time of a process and its descendants, read from /proc."""

import os
from pathlib import Path

PROC = Path("/proc")


def cpu_seconds(pid: int, proc: Path = PROC) -> float:
    """Return the user and system time of a process and of all its living descendants, in seconds; proc(5)."""
    times, parents = dict[int, float](), dict[int, int]()
    ticks = os.sysconf("SC_CLK_TCK")
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue  # it has ended
        fields = text.rpartition(")")[2].split()  # a name in parentheses may have blanks
        parents[int(folder.name)] = int(fields[1])
        times[int(folder.name)] = (int(fields[11]) + int(fields[12])) / ticks
    family, found = {pid}, 1
    while found:
        more = {child for child, parent in parents.items() if parent in family} - family
        family |= more
        found = len(more)
    return sum(times.get(one, 0.0) for one in family)
