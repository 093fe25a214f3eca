"""The service under NVIDIA's perf_analyzer, which reads V2's statistics for a breakdown of the server's time.

    python -m benchmarks.perf_analyzer --program path/to/perf_analyzer --model lenet5

It ends with 1 where the breakdown contradicts what the client saw.
"""

import argparse
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.contenders import CACHE, foveal_command
from benchmarks.models import REPOSITORY
from benchmarks.server import HOST, free_port, run_server

PARTS = ("overhead", "queue", "compute input", "compute infer", "compute output")
ROUNDED_MICROSECONDS = 10
"""How far a sum of rounded parts may be from the rounded whole."""
LOST_SHARE = 0.1
"""Counts of client and server are read one after the other, while requests run."""


@dataclass(frozen=True, slots=True)
class Breakdown:
    """What the program reports of one concurrency; times are means in microseconds.

    Attributes:
        concurrency: requests in flight.
        per_second: images a second.
        client: a request's time at the client.
        requests: that the client counted.
        server: a request's time at the server.
        parts: of the server's time, in the order of `PARTS`.
        served: successful requests that the server counted.
    """

    concurrency: int
    per_second: float
    client: int
    requests: int
    server: int
    parts: tuple[int, ...]
    served: int

    def faults(self) -> list[str]:
        """Return what in it can not be; nothing where it is sane."""
        found = []
        if abs(sum(self.parts) - self.server) > ROUNDED_MICROSECONDS:
            found.append(
                f"the parts add up to {sum(self.parts)} µs, and the whole is {self.server}"
            )
        if self.server > self.client:
            found.append(f"the server took {self.server} µs of the client's {self.client}")
        if abs(self.served - self.requests) > max(2, LOST_SHARE * self.requests):
            found.append(f"the server counted {self.served} of {self.requests} requests")
        return found


def parse(output: str) -> list[Breakdown]:
    """Return what the program has written of each concurrency.

    Raises:
        ValueError: it has written no breakdown, or not the one of a server with statistics.
    """
    found = []
    for text in output.split("Request concurrency: ")[1:]:
        parts = " \\+ ".join(rf"{part} (\d+) usec" for part in PARTS)
        server = re.search(rf"Avg request latency: (\d+) usec \({parts}\)", text)
        client = re.search(r"Avg latency: (\d+) usec", text)
        served = re.search(r"Successful request count: (\d+)", text)
        requests = re.search(r"Request count: (\d+)", text)
        per_second = re.search(r"Throughput: ([\d.]+) infer/sec", text)
        if not (server and client and served and requests and per_second):
            raise ValueError(f"no breakdown in: {text[-2000:]}")
        whole, *each = map(int, server.groups())
        found.append(
            Breakdown(
                int(text.split(maxsplit=1)[0]),
                float(per_second[1]),
                int(client[1]),
                int(requests[1]),
                whole,
                tuple(each),
                int(served[1]),
            )
        )
    if not found:
        raise ValueError(f"no breakdown in: {output[-2000:]}")
    return found


def main() -> None:
    """Run the program against a service of its own, and print the breakdowns."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--program", default=shutil.which("perf_analyzer") or "perf_analyzer")
    arguments.add_argument("--model", default="lenet5")
    arguments.add_argument("--concurrency", default="1:4:3", help="from:to:step")
    arguments.add_argument("--window-ms", type=int, default=3000)
    given = arguments.parse_args()
    with run_server(
        foveal_command(port := free_port()),
        {"FOVEAL_MODELS": str(REPOSITORY)},
        port=port,
        probe=("/health/ready", None, ""),
        log=CACHE / "logs" / "perf_analyzer.log",
    ):
        where = ["-m", given.model, "-u", f"{HOST}:{port}", "-i", "http"]
        how = ["--concurrency-range", given.concurrency, "-p", str(given.window_ms), "-s", "50"]
        found = parse(_run([given.program, *where, *how]))
    faults = [f"{one.concurrency}: {fault}" for one in found for fault in one.faults()]
    print(f"{'concurrency':>11} {'images/s':>9} {'client µs':>9} {'server µs':>9}  of it")
    for one in found:
        parts = ", ".join(f"{part} {each}" for part, each in zip(PARTS, one.parts, strict=True))
        print(
            f"{one.concurrency:>11} {one.per_second:>9.0f} {one.client:>9} {one.server:>9}  {parts}"
        )
    if faults:
        raise SystemExit("\n".join(faults))


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SystemExit(
            f"There is no {command[0]}. benchmarks/README.md says where it comes from."
        ) from None
    return done.stdout + done.stderr


if __name__ == "__main__":
    main()
