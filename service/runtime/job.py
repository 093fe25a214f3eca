"""What travels through a batch: how its tensor is made, what is made of its outputs, and where its time went."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from numpy.typing import NDArray

from service.value import value

Tensor = NDArray[Any]
Outputs = Mapping[str, Tensor]
Run = Callable[[Tensor], Outputs]
"""Runs a batch (N, …) and returns every output (N, …) by name."""


@runtime_checkable
class PinnedInput(Protocol):
    """A run that offers memory for its next batch, which its device reads without another copy."""

    def pinned_input(self, count: int) -> Tensor:
        """Return a buffer for `count` images, (N, …), valid until the run that receives it ends."""


@runtime_checkable
class Stoppable(Protocol):
    """A run that can be stopped. Where it can not, its thread is lost until it ends by itself."""

    def stop(self, thread: int) -> None:
        """Let the run of the thread with this `threading.get_ident` end with an error, soon."""


Context = TypeVar("Context")
T = TypeVar("T")


@value
class Job(Generic[Context, T]):
    """One image's way through a batch. Both parts run on worker threads, never on the event loop.

    Attributes:
        prepare: makes the tensor (without the batch axis), and a context: whatever `finish` needs besides the outputs.
        finish: gets this image's rows of the outputs and the context, and makes the result.
    """

    prepare: Callable[[], tuple[Tensor, Context]]
    finish: Callable[[Outputs, Context], T]


@dataclass(slots=True)
class Trace:
    """How many seconds an image spent in each stage, and how many images its batch had."""

    decode: float = 0.0
    queue: float = 0.0
    infer: float = 0.0
    head: float = 0.0
    batch_size: int = 0


@value
class JobResult(Generic[T]):
    """What `Job.finish` returned, and the trace of its image."""

    value: T
    trace: Trace
