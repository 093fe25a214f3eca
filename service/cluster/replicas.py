"""A network in other processes: batches go to one of its replicas, and to another one when that one dies."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from service.errors import BY_CODE, FovealError, InferenceError, NotReadyError
from service.runtime.choice import Choice
from service.runtime.job import Outputs, Tensor
from service.runtime.signature import Signature

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0


class ReplicaLostError(Exception):
    """A replica died, or could not be reached: another one can run the same batch."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An error of ours, as a value that travels between processes."""

    code: str
    detail: str

    @classmethod
    def of(cls, error: FovealError) -> "Refused":
        return cls(error.code, str(error))

    def error(self) -> FovealError:
        """Return the error as it was there."""
        return BY_CODE.get(self.code, InferenceError)(self.detail)


@dataclass(frozen=True, slots=True)
class Description:
    """What a replica says of the network that it has loaded; see `Loaded`."""

    blank: Tensor
    largest: int
    signature: Signature
    choice: Choice | None
    identity: str
    device: str


class Replicas(Protocol):
    """The replicas of one version of a model. Both methods block, and are called on threads.

    Both raise `ReplicaLostError`, or TimeoutError where no replica answers in time.
    """

    def describe(self, timeout_seconds: float) -> Description | Refused: ...
    def infer(self, batch: Tensor, timeout_seconds: float) -> Outputs | Refused: ...


class RemoteNetwork:
    """Runs batches on the replicas of a model. A batch that a replica loses runs on another one: it is only numbers.

    Args:
        name: of the model, for messages.
        replicas: that run them.
        patience_seconds: how long a batch may take, with all that are lost.
        sleep, clock: of this process.
    """

    def __init__(
        self,
        name: str,
        replicas: Replicas,
        *,
        patience_seconds: float,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name = name
        self.lost = 0
        """How many batches were lost by replicas that died, and ran on others."""
        self._replicas = replicas
        self._patience_seconds = patience_seconds
        self._sleep = sleep
        self._clock = clock

    def __call__(self, batch: Tensor) -> Outputs:
        """Run a batch (N, …) and return every output (N, …) by name.

        Raises:
            FovealError: the network's, or none of its replicas answers.
        """
        until = self._clock() + self._patience_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            left = max(0.0, until - self._clock())
            try:
                answer = self._replicas.infer(batch, left)
            except TimeoutError:
                raise self._silent() from None
            except ReplicaLostError as error:
                self.lost += 1
                if self._clock() + pause >= until:
                    raise self._silent() from error
                self._sleep(pause)
                pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
                continue
            if isinstance(answer, Refused):
                raise answer.error()
            return answer

    def _silent(self) -> FovealError:
        return NotReadyError(
            f"No replica of {self.name} answered within {self._patience_seconds:g} s. Try again in a moment."
        )
