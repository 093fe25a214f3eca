"""What travels through a batch: how a tensor is made, what becomes of its outputs, where its time went."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from numpy.typing import NDArray

Tensor = NDArray[Any]
Outputs = Mapping[str, Tensor]
Run = Callable[[Tensor], Outputs]
"""(N, …) in, a mapping of (N, …) out."""


@runtime_checkable
class PinnedInput(Protocol):
    """A run that says where it wants its next batch put together: memory that its device reads without a detour."""

    def pinned_input(self, count: int) -> Tensor:
        """Return room for so many images, (N, …), good until the run that it is handed to ends."""


Aside = TypeVar("Aside")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job(Generic[Aside, T]):
    """One image's way through a batch; both parts run on worker threads, never on the event loop.

    `prepare` makes the tensor (without the batch axis) and whatever must be remembered beside it; `finish` gets this
    image's rows of the outputs and what was remembered, and makes the result.
    """

    prepare: Callable[[], tuple[Tensor, Aside]]
    finish: Callable[[Outputs, Aside], T]


@dataclass(slots=True)
class Trace:
    """Where an image's time went, in seconds, and how many images traveled with it."""

    decode: float = 0.0
    queue: float = 0.0
    infer: float = 0.0
    head: float = 0.0
    batch_size: int = 0


@dataclass(frozen=True, slots=True)
class JobResult(Generic[T]):
    value: T
    trace: Trace
