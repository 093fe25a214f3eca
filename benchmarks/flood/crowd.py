"""Clients that send one body again and again, and what they count: by status, with the times that answers took."""

import json
import math
import sys
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

BINS_PER_E = 50
"""Times are counted in bins, each 2 % wider than the one before: `floor(50 · ln(microseconds))`."""
COUNTED = "counted"
"""Begins the line that a load generator prints at its end."""
ANSWER_SECONDS = 30
GRACE_SECONDS = 30
"""A generator that runs longer than its time, an answer's and this is killed."""
LARGE_BYTES = 256 * 1024
"""From this size on an answer may come before the body is sent, and wrk never uses such a connection again."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Clients that send the same body to the same path.

    `wait_seconds` is the mean time from an answer to the client's next request; each time lies evenly between 0.5 and
    1.5 times of it. 0: it sends at once.
    """

    name: str
    path: str
    body: Path
    content_type: str
    clients: int
    wait_seconds: float = 0.0

    def flooding(self, rate: float, times: float, wait_seconds: float, waiting: int) -> Self:
        """Return as many clients as ask `times` as often as the `rate`, beside those that wait for their answers.

        Args:
            rate: in requests per second.
            times: a factor.
            wait_seconds: from an answer to the next request.
            waiting: how many requests the service lets wait.
        """
        clients = waiting + round(times * rate * wait_seconds)
        return replace(self, clients=clients, wait_seconds=wait_seconds)


@dataclass(slots=True)
class Tally:
    """What the clients of a crowd got.

    `bins` counts answers by status and bin of time; `unanswered` are broken connections and answers that did not come.
    """

    seconds: float
    bins: Counter[tuple[int, int]] = field(default_factory=Counter)
    unanswered: int = 0

    @property
    def statuses(self) -> dict[int, int]:
        """How many answers had each status."""
        found: Counter[int] = Counter()
        for (status, _), count in self.bins.items():
            found[status] += count
        return dict(sorted(found.items()))

    def rate(self, statuses: Collection[int]) -> float:
        """Return how many answers with one of these statuses came in a second."""
        return sum(self.statuses.get(one, 0) for one in statuses) / self.seconds

    def quantile_ms(self, statuses: Collection[int], share: float) -> float | None:
        """Return the time that this share of the answers with these statuses took at most; None without answers."""
        chosen = sorted(
            (place, count) for (status, place), count in self.bins.items() if status in statuses
        )
        wanted = share * sum(count for _, count in chosen)
        passed = 0
        for place, count in chosen:
            passed += count
            if passed >= wanted:
                return time_of(place) * 1e3
        return None


def bin_of(seconds: float) -> int:
    """Return the bin of a time."""
    return math.floor(BINS_PER_E * math.log(max(seconds * 1e6, 1.0)))


def time_of(place: int) -> float:
    """Return the middle of a bin, in seconds."""
    return math.exp((place + 0.5) / BINS_PER_E) / 1e6


def counted_line(tally: Tally) -> str:
    """Return the line that `parse_counted` reads."""
    bins = {f"{status} {place}": count for (status, place), count in tally.bins.items()}
    content = {"seconds": tally.seconds, "bins": bins, "unanswered": tally.unanswered}
    return f"{COUNTED} {json.dumps(content)}"


def parse_counted(printed: str) -> Tally:
    """Parse what a load generator printed.

    Raises:
        RuntimeError: the line with its counts is missing.
    """
    for line in printed.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == COUNTED:
            return _tally(json.loads(rest))
    raise RuntimeError(f"the clients printed no counts: {printed.strip()[-200:]}")


def command_of(crowd: Crowd, url: str, seconds: float) -> list[str]:
    """Return the program that sends what a crowd sends: wrk, or our own clients where the body is large."""
    waits = f"{crowd.wait_seconds:g}"
    if crowd.body.stat().st_size >= LARGE_BYTES:
        program = [sys.executable, "-m", "benchmarks.flood.large"]
        return [
            *program,
            url,
            str(crowd.body),
            crowd.content_type,
            str(crowd.clients),
            waits,
            f"{seconds:g}",
        ]
    return [
        "wrk",
        # One thread sends tens of thousands of requests a second; more would take the service's cores.
        *("--threads", "1", "--connections", str(crowd.clients)),
        *("--duration", f"{max(1, round(seconds))}s", "--timeout", f"{ANSWER_SECONDS}s"),
        *("--script", str(Path(__file__).with_name("flood.lua")), url),
        *("--", str(crowd.body), crowd.content_type, waits),
    ]


def _tally(content: dict[str, Any]) -> Tally:
    bins: Counter[tuple[int, int]] = Counter()
    for key, count in content["bins"].items():
        status, place = key.split(" ")
        bins[int(status), int(place)] += int(count)
    return Tally(float(content["seconds"]), bins, int(content["unanswered"]))
