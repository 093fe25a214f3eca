"""In which order the files of tests run, so that several processes keep all cores busy to the end."""

from collections.abc import Iterable
from itertools import chain, zip_longest
from pathlib import Path

COMPUTES = "exporter"
"""The folder whose tests use a core all the time. The others also wait: for a process that starts, a browser, or what
must not happen."""


def in_order(files: Iterable[tuple[Path, int]]) -> list[Path]:
    """Return files so that those that compute run beside those that wait, and short ones last.

    Args:
        files: relative to the folder of all tests, each with the seconds that its tests may take.
    """
    longest_first = [path for path, _ in sorted(files, key=lambda one: -one[1])]
    computing = [path for path in longest_first if path.parts[0] == COMPUTES]
    waiting = [path for path in longest_first if path.parts[0] != COMPUTES]
    return [path for path in chain(*zip_longest(computing, waiting)) if path is not None]
