"""One soak: measure the capacity, load the service at a share of it for a long time, record, judge."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.contenders import CACHE, foveal_command
from benchmarks.models import REPOSITORY
from benchmarks.server import Server, free_port, run_server
from benchmarks.soak.bodies import make_bodies
from benchmarks.soak.judge import ALLOWED, Verdict, judge, problems_of
from benchmarks.soak.key_file import RotatingKeys
from benchmarks.soak.sender import Sender
from benchmarks.soak.tally import Tally
from benchmarks.soak.traffic import Kind, Mix, kinds_of
from benchmarks.soak.watch import Sample, Watch

CLIENTS = 6
MEASURE_SECONDS = 20.0
ROTATE_SECONDS = 20.0
WARM_UP_SECONDS = 600.0
SHORT_WARM_UP = 1 / 6
"""Share of a run that is shorter than six warm-ups."""
SEED = 15


@dataclass(frozen=True, slots=True)
class Plan:
    """`load` is the share of the capacity that is sent."""

    seconds: float
    load: float
    folder: Path
    progress: Callable[[str], None]

    @property
    def warm_up_seconds(self) -> float:
        return min(WARM_UP_SECONDS, self.seconds * SHORT_WARM_UP)

    @property
    def sample_seconds(self) -> float:
        return 5.0 if self.seconds >= 600 else 1.0


@dataclass(frozen=True, slots=True)
class Soak:
    """The result of a soak. `problems` are sentences; without one it passed."""

    seconds: float
    capacity: float
    rate: float
    sent: int
    statuses: dict[str, dict[int, int]]
    median_ms: dict[str, float]
    verdicts: tuple[Verdict, ...]
    foreign_cores: float
    busy: dict[str, int]
    """How many requests of each kind got 503 or 504 although another status was expected."""
    problems: tuple[str, ...]


class Book:
    """All results of a soak, and those since the last sample."""

    def __init__(self) -> None:
        self.all = Tally()
        self.recent = Tally()

    def record(self, kind: Kind, status: int, seconds: float) -> None:
        self.all.add(kind, status, seconds)
        self.recent.add(kind, status, seconds)

    def clear(self) -> None:
        self.all, self.recent = Tally(), Tally()

    def turn(self) -> Tally:
        recent, self.recent = self.recent, Tally()
        return recent


def run_soak(plan: Plan) -> tuple[Soak, list[Sample]]:
    """Start the service with its own models, load it, and return what was found with all samples.

    The samples are also written to `samples.jsonl` in the plan's folder while the soak runs.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    keys = RotatingKeys(plan.folder / "keys.toml")
    settings = {"FOVEAL_MODELS": str(REPOSITORY), "FOVEAL_KEYS": str(plan.folder / "keys.toml")}
    with run_server(
        foveal_command(port),
        settings,
        port=port,
        probe=("/health/ready", None, ""),
        log=CACHE / "logs" / "soak-foveal.log",
    ) as server:
        return asyncio.run(_loaded(plan, server, keys))


async def _loaded(plan: Plan, server: Server, keys: RotatingKeys) -> tuple[Soak, list[Sample]]:
    mix, book = Mix(kinds_of(make_bodies()), SEED), Book()
    sender = Sender(server.port, mix, lambda: keys.current, book.record)
    watch = Watch(server)

    async def take() -> Sample:
        return await asyncio.to_thread(watch.take, keys.current, sender.connections, book.turn())

    samples = [await take()]
    capacity = await sender.measure(CLIENTS, MEASURE_SECONDS)
    book.clear()
    plan.progress(
        f"{capacity:.1f} requests per second with {CLIENTS} clients; sending {plan.load * capacity:.1f}"
    )
    beside = [
        asyncio.create_task(_watched(plan, take, book, samples)),
        asyncio.create_task(_rotated(keys)),
    ]
    try:
        await sender.send(plan.load * capacity, plan.seconds)
    finally:
        for task in beside:
            task.cancel()
        ended = await asyncio.gather(*beside, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error
    return _soak(plan, capacity, book, samples), samples


async def _watched(
    plan: Plan, take: Callable[[], Awaitable[Sample]], book: Book, samples: list[Sample]
) -> None:
    with (plan.folder / "samples.jsonl").open("w") as file:
        print(json.dumps(asdict(samples[0])), file=file)
        while True:
            await asyncio.sleep(plan.sample_seconds)
            sample = await take()
            samples.append(sample)
            print(json.dumps(asdict(sample)), file=file, flush=True)
            if len(samples) % 12 == 0:
                plan.progress(
                    f"{sample.seconds / 60:5.1f} min: {sample.memory_mib:.0f} MiB, {sample.threads} threads, "
                    f"{sample.files} files, {sample.series} series, median {sample.p50_ms:.0f} ms, "
                    f"wrong {dict(book.all.wrong)}, busy {book.all.busy.total()} of {book.all.sent}"
                )


async def _rotated(keys: RotatingKeys) -> None:
    while True:
        await asyncio.sleep(ROTATE_SECONDS)
        await asyncio.to_thread(keys.rotate)


def _soak(plan: Plan, capacity: float, book: Book, samples: list[Sample]) -> Soak:
    times = [sample.seconds for sample in samples]
    verdicts = tuple(
        judge(
            name,
            times,
            [float(getattr(sample, name)) for sample in samples],
            plan.warm_up_seconds,
            allowance,
        )
        for name, allowance in ALLOWED.items()
    )
    tally = book.all
    foreign = sorted(sample.foreign_cores for sample in samples)
    return Soak(
        seconds=plan.seconds,
        capacity=round(capacity, 1),
        rate=round(plan.load * capacity, 1),
        sent=tally.sent,
        statuses={
            name: dict(sorted(count.items())) for name, count in sorted(tally.statuses.items())
        },
        median_ms={
            name: round(1e3 * sorted(some)[len(some) // 2], 1)
            for name, some in sorted(tally.latencies.items())
            if some
        },
        verdicts=verdicts,
        foreign_cores=foreign[len(foreign) // 2],
        busy=dict(sorted(tally.busy.items())),
        problems=tuple(problems_of(verdicts, tally)),
    )
