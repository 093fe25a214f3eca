"""What was measured of one model on one machine, as a file that another machine can plan with."""

import bisect
import math
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import ConfigurationError
from service.planning.replica import QUEUE_SIZE, TIMEOUT_SECONDS, Replica
from service.runtime.chip import this_chip
from service.runtime.device import DeviceName
from service.runtime.host import granted_threads
from service.whole_write import save_whole

MOST_BYTES = 2**20
"""Of a file of measurements; one has some kilobytes."""

Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, le=100_000)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Machine(_Frozen):
    """What a measurement holds for: the processor, the cores that the service may use, and the device."""

    processor: str = Field(max_length=200)
    cores: Count
    device: DeviceName
    detail: str = Field(max_length=200)

    def __str__(self) -> str:
        words = f"{self.processor}, {self.cores} {'core' if self.cores == 1 else 'cores'}, {self.device}"
        return f"{words} ({self.detail})" if self.device != "cpu" and self.detail else words


class BatchTime(_Frozen):
    """The seconds of a batch in the network: the median while nothing else runs."""

    size: Count
    seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Profile(_Frozen):
    """The figures of one model and one image on one machine. Times are seconds, medians of several.

    Attributes:
        macs: of an image, as the card counts them.
        batches: the time in the network by size, ascending from 1 to the largest batch.
        padded: whether a batch takes the time of the next measured size, as on a GPU.
        crowded: how many times longer a batch takes while all that may run at once do.
        factors: what a batch took relative to the median while all ran, each as likely as any other.
        lone_factors: the same of a single image while nothing else ran.
        processes: of the service on this machine, `FOVEAL_WORKERS`; all other figures are of one of them.
        full_load: requests a second that all of them answered over HTTP with their queues never empty, corrected for
            the load generator.
        efficiency: `full_load` by what the stages alone would let through.
        memory_bytes: the most that all of them held.
        foreign_cores: what other programs used meanwhile; None where that is unknown.
    """

    format: Literal[1] = 1
    taken: date
    machine: Machine
    model: str = Field(max_length=64)
    version: Count
    graph_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    macs: int = Field(ge=0)
    image: str = Field(max_length=200)
    image_bytes: Count
    processes: Annotated[int, Field(ge=1, le=256)] = 1
    workers: Count
    instances: Count
    run_cores: Count = 1
    decoders: int = Field(ge=0, le=1_000_000)
    batches: tuple[BatchTime, ...] = Field(min_length=1, max_length=32)
    padded: bool = False
    wide: Seconds | None = None
    decode: Seconds
    head: Seconds
    http: Seconds
    crowded: float = Field(gt=0, le=1000)
    factors: tuple[Factor, ...] = Field(min_length=1, max_length=1000)
    lone_factors: tuple[Factor, ...] = Field(min_length=1, max_length=1000)
    full_load: float = Field(gt=0, le=1e9)
    efficiency: float = Field(gt=0, le=100)
    memory_bytes: int = Field(ge=0)
    foreign_cores: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _sizes_ascend(self) -> Self:
        sizes = [one.size for one in self.batches]
        if sizes[0] != 1 or sizes != sorted(set(sizes)) or sizes[-1] > 1024:
            raise ValueError("batches: their sizes must ascend from 1 to at most 1024")
        return self

    def seconds(self, size: int) -> float:
        """Return the seconds of a batch in the network: measured, or between the measured ones on both sides."""
        sizes = [one.size for one in self.batches]
        above = bisect.bisect_left(sizes, size)
        right = self.batches[above]
        if self.padded or right.size == size:
            return right.seconds
        left = self.batches[above - 1]
        share = (size - left.size) / (right.size - left.size)
        return left.seconds + (right.seconds - left.seconds) * share

    def replica(
        self,
        *,
        queue_size: int = QUEUE_SIZE,
        timeout: float = TIMEOUT_SECONDS,
        max_delay: float = 0.0,
        calibrated: bool = True,
    ) -> Replica:
        """Return one process of the service as the simulation sees it.

        `calibrated` says whether `efficiency` counts: the stages do not know of each other's caches and locks.
        """
        efficiency = self.efficiency if calibrated else 1.0
        largest = self.batches[-1].size
        return Replica(
            run=tuple(self.seconds(size) for size in range(1, largest + 1)),
            workers=self.workers,
            instances=self.instances,
            decode=self.decode / (efficiency if self.decoders else 1.0),
            head=self.head / (efficiency if self.decoders else 1.0),
            http=self.http / efficiency,
            wide=self.wide,
            crowded=self.crowded / efficiency,
            decoders=self.decoders,
            queue_size=queue_size,
            timeout=timeout,
            max_delay=max_delay,
            factors=self.factors,
            lone_factors=self.lone_factors,
        )


def read_profile(path: Path) -> Profile:
    """Return the measurement in a file that `--save` wrote.

    Raises:
        ConfigurationError: it can not be read, or is no such file.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigurationError(f"{path} is no measurement: it has more than 1 MiB.")
        return Profile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} can not be read: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigurationError(
            f"{path} is no measurement of `foveal plan --save`: {place}: {first['msg']}."
        ) from error


def write_profile(profile: Profile, path: Path) -> None:
    """Write a measurement, as a whole or not at all.

    Raises:
        ConfigurationError: the file can not be written.
    """
    try:
        save_whole(path, f"{profile.model_dump_json(indent=1)}\n".encode())
    except OSError as error:
        raise ConfigurationError(
            f"The measurement can not be written to {path}: {error.strerror or error}."
        ) from error


def this_machine(device: DeviceName, detail: str) -> Machine:
    """Return what a measurement made here holds for."""
    name = this_chip().name[:200]
    return Machine(processor=name, cores=granted_threads(), device=device, detail=detail[:200])


def quantiles(values: list[float], count: int) -> tuple[float, ...]:
    """Return so many of the values, from the least to the largest and evenly between, or all where there are fewer."""
    ordered = sorted(values)
    if len(ordered) <= count:
        return tuple(ordered)
    last = len(ordered) - 1
    return tuple(ordered[math.floor(index * last / (count - 1) + 0.5)] for index in range(count))
