"""A client's share of each queue, so that one that sends all it has does not keep the others out."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import floor

from starlette.types import Scope

from service.api.guards.clients import client_of
from service.errors import QueueShareError


class QueueShares:
    """Counts the images of each client that wait or run, by model, and its videos, explanations and chains.

    Everything runs on the event loop.

    Args:
        share: the part of a queue that one client may have, above 0 and at most 1.
        queue_size: images that may wait for a model.
        fan_outs: videos, explanations and chains that may run at once.
    """

    def __init__(self, share: float, queue_size: int, fan_outs: int) -> None:
        self._most_images = max(1, floor(share * queue_size))
        self._most_fan_outs = max(1, floor(share * fan_outs))
        self._held: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def images(self, scope: Scope, model: str, count: int) -> Iterator[None]:
        """Count the images of a request for a model until the block ends.

        Raises:
            QueueShareError: the client has its share. A request that is alone is never refused.
        """
        with self._hold((client_of(scope), f"model {model}"), count, self._most_images, "images"):
            yield

    @contextmanager
    def fan_out(self, scope: Scope) -> Iterator[None]:
        """Count a video, an explanation or a chain until the block ends.

        Raises:
            QueueShareError: the client has its share.
        """
        with self._hold(
            (client_of(scope), "fan-out"), 1, self._most_fan_outs, "videos, explanations and chains"
        ):
            yield

    @contextmanager
    def _hold(self, key: tuple[str, str], count: int, most: int, what: str) -> Iterator[None]:
        held = self._held[key]
        if held and held + count > most:
            raise QueueShareError(
                f"{held} {what} of this client wait or run, and one client may have {most}. "
                "Wait for an answer before you send more."
            )
        self._held[key] = held + count
        try:
            yield
        finally:
            self._held[key] -= count
            if not self._held[key]:
                del self._held[key]
