"""What the simulation of `foveal plan` predicts for one process, beside what a running service answers."""

import asyncio
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.capacity.sender import Answers, Course, send
from benchmarks.contenders import CACHE, foveal_command
from benchmarks.gpu.percentiles import percentile
from benchmarks.server import HOST, Server, free_port, run_server
from benchmarks.usage import CpuMeter
from service.planning.profile import Profile
from service.planning.sample_image import SampleImage
from service.planning.simulation import WARM_UP, Load, simulate
from service.runtime.repository import Servable

QUEUE_SIZE = 64
"""So small that a load above the capacity fills it within seconds."""
WARM_SECONDS = 2.0
RUNS = 30
"""Simulations as long as the measurement, which show how much chance moves its figures."""
SETTLE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Range:
    """A median, and what lies between the 5th and the 95th percentile of `RUNS` simulations."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Level:
    """One load. Latencies are milliseconds of answered requests; the first `WARM_UP` of a load is not counted.

    Attributes:
        share: of the measured full load.
        per_second: requests.
        answered: requests a second with status 200.
        failed: the share of requests that got 503 or 504.
        broken: requests with another end; the load generator may be the reason.
        foreign_cores: what other work on the machine used.
        delayed: the share of requests that the load generator sent too late.
        from_stages: the predicted p99 without the measured full load, from the stages alone.
    """

    share: float
    per_second: float
    answered: float
    p50_ms: float
    p99_ms: float
    failed: float
    broken: int
    delayed: float
    foreign_cores: float
    predicted_answered: Range
    predicted_p50_ms: Range
    predicted_p99_ms: Range
    predicted_failed: Range
    from_stages: Range

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    profile: Profile,
    servable: Servable,
    image: SampleImage,
    *,
    shares: Sequence[float],
    seconds: float,
    progress: Callable[[str], None],
) -> list[Level]:
    """Load a service with each share of its measured full load, and predict the same."""
    levels = []
    with _service(servable, profile) as server:
        request = _request(servable, image, server.port)
        asyncio.run(send(server.port, request, Course(profile.full_load / 2, WARM_SECONDS)))
        for number, share in enumerate(shares):
            server.tree.settle(SETTLE_SECONDS)
            rate = share * profile.full_load
            meter = CpuMeter(server.tree)
            answers = asyncio.run(
                send(server.port, request, Course(rate, seconds, WARM_UP, number + 1))
            )
            _, foreign = meter.read()
            levels.append(_level(profile, share, seconds, answers, foreign))
            progress(line_of(levels[-1]))
    return levels


def line_of(level: Level) -> str:
    """Return a level as a line of text."""
    return (
        f"{level.share:.0%} of full load, {level.per_second:.4g}/s: answered {level.answered:.4g}/s "
        f"{_beside(level.predicted_answered)}, p50 {level.p50_ms:.3g} ms {_beside(level.predicted_p50_ms)}, p99 "
        f"{level.p99_ms:.3g} ms {_beside(level.predicted_p99_ms)}, failed {level.failed:.1%} (predicted "
        f"{level.predicted_failed.median:.1%}); other work {level.foreign_cores:.2f} cores"
    )


def _beside(predicted: Range) -> str:
    return f"(predicted {predicted.median:.4g} [{predicted.low:.4g}–{predicted.high:.4g}])"


def _level(
    profile: Profile, share: float, seconds: float, answers: Answers, foreign: float
) -> Level:
    rate = share * profile.full_load
    requests = max(100, round(rate * seconds))
    sent = max(1, answers.sent)
    return Level(
        share=share,
        per_second=rate,
        answered=len(answers.seconds) / (seconds * (1 - WARM_UP)),
        p50_ms=percentile([one * 1e3 for one in answers.seconds], 0.5) or math.nan,
        p99_ms=percentile([one * 1e3 for one in answers.seconds], 0.99) or math.nan,
        failed=(answers.refused + answers.late) / sent,
        broken=answers.broken,
        delayed=answers.delayed / sent,
        foreign_cores=foreign,
        **_predicted(profile, rate, requests),
    )


def _predicted(profile: Profile, rate: float, requests: int) -> dict[str, Range]:
    answered, p50, p99, failed, plain = [], [], [], [], []
    for calibrated in (True, False):
        replica = profile.replica(queue_size=QUEUE_SIZE, calibrated=calibrated)
        load = Load(rate, profile.processes)
        for seed in range(RUNS):
            result = simulate(replica, load, requests=requests, seed=seed)
            # As the load generator counts: of those that were answered.
            times = [float(one) * 1e3 for one in result.latencies]
            if not calibrated:
                plain.append(percentile(times, 0.99) or math.inf)
                continue
            answered.append(result.answered)
            p50.append(percentile(times, 0.5) or math.inf)
            p99.append(percentile(times, 0.99) or math.inf)
            failed.append(result.failed)
    return {
        "predicted_answered": _range(answered),
        "predicted_p50_ms": _range(p50),
        "predicted_p99_ms": _range(p99),
        "predicted_failed": _range(failed),
        "from_stages": _range(plain),
    }


def _range(values: Sequence[float]) -> Range:
    ordered = sorted(values)
    last = len(ordered) - 1
    return Range(
        ordered[round(0.05 * last)], statistics.median(ordered), ordered[round(0.95 * last)]
    )


@contextmanager
def _service(servable: Servable, profile: Profile) -> Iterator[Server]:
    with TemporaryDirectory(prefix="foveal-capacity-") as folder:
        place = Path(folder) / servable.name
        place.mkdir()
        (place / str(servable.version)).symlink_to(servable.path.parent.resolve())
        environment = {
            "FOVEAL_MODELS": folder,
            "FOVEAL_DEVICE": profile.machine.device,
            "FOVEAL_QUEUE_SIZE": str(QUEUE_SIZE),
            "FOVEAL_WORKERS": str(profile.processes),
        }
        with run_server(
            foveal_command(port := free_port()),
            environment,
            port=port,
            probe=("/health/ready", None, ""),
            log=CACHE / "logs" / "capacity.log",
        ) as server:
            yield server


def _request(servable: Servable, image: SampleImage, port: int) -> bytes:
    head = (
        f"POST /v1/{servable.card.task} HTTP/1.1\r\nHost: {HOST}:{port}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(image.content)}\r\n\r\n"
    )
    return head.encode() + image.content
