"""The way of an image, or its answer where the same image was answered already."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from pydantic_core import to_json

from service.card import Card
from service.errors import FovealError
from service.pipeline import EncodedImage, Head, Pipeline, Require
from service.response_cache import Outcome, ResponseCache
from service.runtime.job import JobResult
from service.runtime.model import Model
from service.value import value

T = TypeVar("T")

LARGE_BYTES = 256 * 1024
"""More bytes are hashed on a thread: these take a fifth of a millisecond."""


@value
class Question:
    """What is asked of each image, beside the model: all that changes the answer, and whose answer it is.

    Args:
        what: the task, the form of the result, and the options, as text.
        client: the name of the API key; no answer goes to another one.
    """

    what: tuple[str, ...]
    client: str = ""


class CachingPipeline:
    """A pipeline that runs an image only where its answer is not known.

    Args:
        pipeline: runs the others.
        cache: has the answers.
    """

    def __init__(self, pipeline: Pipeline, cache: ResponseCache) -> None:
        self._pipeline = pipeline
        self._cache = cache
        self._digests: WeakKeyDictionary[Model, tuple[Card, str, str]] = WeakKeyDictionary()

    async def predict(
        self,
        model: Model,
        images: Sequence[EncodedImage],
        head: Head[T],
        question: Question,
        *,
        timeout_seconds: float,
        disconnected: Callable[[], Coroutine[Any, Any, None]] | None = None,
        low_priority: bool = False,
        require: Require | None = None,
        draws: bool = False,
    ) -> list[JobResult[T] | FovealError]:
        """Return each image's answer or its own error, in order; see `Pipeline.predict`.

        Raises:
            TooManyPixelsError: all images together have too many.
            DeadlineError: their headers were not read before the deadline.
            UnavailableError: the model is not ready, its queue is full or the service is shutting down.
        """
        pipeline = self._pipeline
        until = pipeline.clock() + timeout_seconds
        announced = (
            await pipeline.announce(images, until, disconnected) if len(images) > 1 else None
        )
        digests = await _digests(images)
        asked = self._asked(model, question)
        keys = _keys(asked, digests)

        def keys_now() -> list[bytes | None]:
            now = self._asked(model, question)
            return keys if now == asked else _keys(now, digests)

        async def compute(indices: Sequence[int]) -> list[Outcome]:
            return list(
                await pipeline.predict(
                    model,
                    [images[index] for index in indices],
                    head,
                    timeout_seconds=self._cache.longest_seconds,
                    low_priority=low_priority,
                    require=require,
                    draws=draws,
                    announced=None if announced is None else [announced[one] for one in indices],
                )
            )

        return await self._cache.run(
            keys,
            compute,
            keys_now=keys_now,
            model=model.name,
            timeout_seconds=max(0.0, until - pipeline.clock()),
            disconnected=disconnected,
            low_priority=low_priority,
        )

    def _asked(self, model: Model, question: Question) -> bytes:
        return to_json([question.client, self._model_digest(model), *question.what])

    def _model_digest(self, model: Model) -> str:
        """Return the digest of all that a model's card says, labels and preprocessing too, and of the graph that runs.

        That is another one than the card's where a variant in another precision serves.
        """
        card, identity, digest = self._digests.get(model, (None, "", ""))
        if card is not model.card or identity != model.identity:
            card, identity = model.card, model.identity
            digest = hashlib.sha256(f"{identity} {card.model_dump_json()}".encode()).hexdigest()
            self._digests[model] = (card, identity, digest)
        return digest


async def _digests(images: Sequence[EncodedImage]) -> list[bytes | None]:
    """Return the digest of each encoded image; None for one that is not kept."""

    def digests() -> list[bytes | None]:
        return [hashlib.sha256(one).digest() if isinstance(one, bytes) else None for one in images]

    size = sum(len(one) for one in images if isinstance(one, bytes))
    return await asyncio.to_thread(digests) if size > LARGE_BYTES else digests()


def _keys(asked: bytes, digests: Sequence[bytes | None]) -> list[bytes | None]:
    """Return for each digest of an image that of the image and what is asked of it; all have the same length."""
    return [
        None if digest is None else hashlib.sha256(digest + asked).digest() for digest in digests
    ]
