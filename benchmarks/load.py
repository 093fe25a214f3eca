"""Load generators of other projects: how to call each one and how to read its output."""

import csv
import json
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

REQUEST_TIMEOUT_SECONDS = 120
GRACE_SECONDS = 30
"""A generator that runs longer than its time plus this is killed."""

HOW_TO_GET = (
    "No load generator was found. Install one, then run this again:\n"
    "  wrk   apt install wrk | dnf install wrk | brew install wrk        (preferred)\n"
    "  hey   apt install hey | brew install hey"
)


class NoGeneratorError(Exception):
    """None of the known load generators is installed."""


@dataclass(frozen=True, slots=True)
class LoadRun:
    """One body, sent to one URL by a number of concurrent clients for a number of seconds."""

    url: str
    body: Path
    content_type: str
    clients: int
    seconds: float
    few_answers: bool = False
    """Answers come seconds apart: compute the rate up to the last one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`answered` counts answers with status 2xx, `failed` other statuses and missing answers."""

    answered: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Generator:
    """A load generator: its command for a run, and the parser of its output."""

    name: str
    command: Callable[[LoadRun], list[str]]
    parse: Callable[[str], Outcome]

    def run(self, run: LoadRun) -> Outcome:
        """Run the generator until it ends.

        Raises:
            RuntimeError: it failed or printed no summary.
        """
        done = subprocess.run(
            self.command(run),
            capture_output=True,
            text=True,
            timeout=run.seconds + REQUEST_TIMEOUT_SECONDS + GRACE_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name} failed: {done.stderr.strip() or done.stdout.strip()}")
        return self.parse(done.stdout)


def find_generator(names: Sequence[str] = ("wrk", "hey")) -> Generator:
    """Return the first generator that is installed.

    Raises:
        NoGeneratorError: none is installed; the message says how to get one.
    """
    for name in names:
        if shutil.which(name):
            return GENERATORS[name]
    raise NoGeneratorError(HOW_TO_GET)


def wrk_command(run: LoadRun) -> list[str]:
    script = Path(__file__).with_name("wrk.lua")
    return [
        "wrk",
        # One thread sends tens of thousands of requests a second; more would take the service's cores.
        *("--threads", "1", "--connections", str(run.clients)),
        *("--duration", f"{max(1, round(run.seconds))}s"),
        *("--timeout", f"{REQUEST_TIMEOUT_SECONDS}s"),
        *("--script", str(script), run.url, "--", str(run.body), run.content_type),
        "few" if run.few_answers else "many",
    ]


def parse_wrk(printed: str) -> Outcome:
    """Parse the line that `wrk.lua` adds to wrk's output.

    Raises:
        RuntimeError: the line is missing.
    """
    for line in printed.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "summary":
            found = json.loads(rest)
            return Outcome(
                answered=found["requests"] - found["refused"],
                failed=found["refused"] + found["unanswered"],
                seconds=found["seconds"],
                p50_ms=found["p50_ms"],
                p99_ms=found["p99_ms"],
            )
    raise RuntimeError(f"wrk printed no summary: {printed.strip()[-200:]}")


def hey_command(run: LoadRun) -> list[str]:
    return [
        *("hey", "-z", f"{run.seconds:g}s", "-c", str(run.clients), "-t"),
        *(str(REQUEST_TIMEOUT_SECONDS), "-m", "POST", "-T", run.content_type),
        *("-D", str(run.body), "-o", "csv", run.url),
    ]


def parse_hey(printed: str) -> Outcome:
    """Parse hey's CSV: one row per answer, with its response time, status and offset; times in seconds.

    Raises:
        RuntimeError: there is no row.
    """
    rows = list(csv.DictReader(printed.splitlines()))
    if not rows:
        raise RuntimeError("hey printed no answer")
    good = [row for row in rows if row["status-code"].startswith("2")]
    times_ms = sorted(float(row["response-time"]) * 1e3 for row in good) or [0.0]
    return Outcome(
        answered=len(good),
        failed=len(rows) - len(good),
        seconds=max(float(row["offset"]) + float(row["response-time"]) for row in rows),
        p50_ms=statistics.median(times_ms),
        p99_ms=times_ms[min(len(times_ms) - 1, int(len(times_ms) * 0.99))],
    )


GENERATORS = {
    "wrk": Generator("wrk", wrk_command, parse_wrk),
    "hey": Generator("hey", hey_command, parse_hey),
}
