"""Labels from lines that may hold a count beside each name, as `cat 400`; it stays in the label."""

import re
from collections.abc import Sequence

_COUNT_LAST = re.compile(r"(.*\D)\s+\d+")
_COUNT_FIRST = re.compile(r"\d+\s+(.*\D.*)")


def counted_hints(labels: Sequence[str]) -> list[str]:
    """Return that all labels have a number at their end, or all at their beginning, and may not have it as a name.

    Labels that only their numbers tell apart, as `class 1` and `class 2`, are names.
    """
    for pattern, where in ((_COUNT_LAST, "ends"), (_COUNT_FIRST, "begins")):
        names = {found[1].strip() for found in map(pattern.fullmatch, labels) if found}
        if len(names) == len(labels) > 1:
            number = f"Each label {where} with a number, as {labels[0]!r}, which is no class id"
            return [f"{number}: clients get it so. Remove a count from the file of --labels"]
    return []
