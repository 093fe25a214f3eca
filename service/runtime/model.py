"""One version of one model, in whatever state it is: what the registry holds and the routes find."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from service.card import Card
from service.errors import NotReadyError
from service.runtime.batcher import Batcher
from service.runtime.choice import Choice
from service.runtime.job import Tensor
from service.runtime.repository import Servable
from service.runtime.signature import Signature

STILL_LOADING = "is still loading"


@dataclass(slots=True, weakref_slot=True, eq=False)
class Model:
    """One version of one model.

    Attributes:
        servable: the file that it was or will be loaded from.
        state: `ready` while its last health check succeeded.
        reason: why it is not ready, to be read after its name and version; empty when it is.
        queue: None until it is loaded and after it was removed; `batcher` is for callers that need it.
        blank: one input of zeros without the batch axis, for health checks.
        signature: what the network takes and gives; empty until it is loaded.
        choice: how its precision and provider were chosen; None where they were not.
    """

    servable: Servable
    state: Literal["loading", "ready", "failed"] = "loading"
    reason: str = STILL_LOADING
    queue: Batcher | None = field(default=None, repr=False)
    blank: Tensor = field(default_factory=lambda: np.zeros(0, np.uint8), repr=False)
    signature: Signature = field(default_factory=Signature, repr=False)
    choice: Choice | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.servable.name

    @property
    def version(self) -> int:
        return self.servable.version

    @property
    def card(self) -> Card:
        return self.servable.card

    @property
    def batcher(self) -> Batcher:
        """The model's queue.

        Raises:
            NotReadyError: the model is loading, could not be loaded, or was removed.
        """
        if self.queue is None:
            raise NotReadyError(f"{self} {self.reason}.")
        return self.queue

    @property
    def precision(self) -> str:
        """In what it computes."""
        return self.card.precision if self.choice is None else self.choice.served.precision

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"

    def mark_ready(self) -> None:
        self.state, self.reason = "ready", ""

    def mark_failed(self, reason: str) -> None:
        self.state, self.reason = "failed", reason

    async def retire(self) -> None:
        """Accept nothing more, return when everything accepted has been answered, and let go of the network."""
        self.mark_failed("was removed")
        queue, self.queue = self.queue, None
        if queue is not None:
            await queue.close()
