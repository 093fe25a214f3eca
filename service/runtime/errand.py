"""What travels through a batch: how a tensor is made, what becomes of its outputs, where its time went."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

Tensor = NDArray[Any]
Outputs = Mapping[str, Tensor]
Run = Callable[[Tensor], Outputs]
"""(N, …) in, a mapping of (N, …) out."""

Aside = TypeVar("Aside")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Errand(Generic[Aside, T]):
    """One picture's way through a batch; both parts run on worker threads, never on the event loop.

    `prepare` makes the tensor (without the batch axis) and whatever must be remembered beside it; `finish` gets this
    picture's rows of the outputs and what was remembered, and makes the result.
    """

    prepare: Callable[[], tuple[Tensor, Aside]]
    finish: Callable[[Outputs, Aside], T]


@dataclass(slots=True)
class Trace:
    """Where a picture's time went, in seconds, and how many pictures travelled with it."""

    decode: float = 0.0
    queue: float = 0.0
    infer: float = 0.0
    head: float = 0.0
    batch_size: int = 0


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    value: T
    trace: Trace
