"""The river: pictures → batch queue → session → head → results. Only the head changes from task to task."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.card import Card, PictureInput
from service.errors import FovealError, PictureError
from service.imaging.decode import Limits
from service.imaging.resize import fit_picture
from service.imaging.source_image import View
from service.runtime.job import Answer, Errand, Outputs
from service.runtime.registry import Model

T = TypeVar("T")
Head = Callable[[Outputs, View], T]
"""One picture's outputs, and what may be seen of the picture → its result; runs on a worker thread."""
Picture = bytes | PictureError
"""An encoded picture, or why there is none in this place."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Takes pictures through a model. Holds no state: everything that waits, waits in the model's queue."""

    limits: Limits

    async def predict(
        self,
        model: Model,
        pictures: Sequence[Picture],
        head: Head[T],
        *,
        timeout_seconds: float,
        left: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> list[Answer[T] | FovealError]:
        """Return each picture's answer or its own error, in order.

        A job in the queue carries what makes its tensor and what reads its outputs, so that `runtime` never sees a
        picture, and the thread that runs a batch also decodes it and runs its heads.

        Raises:
            UnavailableError: the model is not ready, its queue is full or the service is shutting down.
        """
        errands = [self.errand(picture, model.card, head) for picture in pictures]
        return await model.batcher.submit(errands, timeout_seconds=timeout_seconds, left=left)

    def errand(self, picture: Picture, card: Card, head: Head[T]) -> Errand[View, T]:
        """Return one picture's way through a network with this card."""
        return Errand(partial(_prepare, picture, card.picture, self.limits), head)


def _prepare(
    picture: Picture, target: PictureInput, limits: Limits
) -> tuple[NDArray[np.uint8], View]:
    if isinstance(picture, PictureError):
        raise picture
    frame, geometry = fit_picture(picture, target, limits)
    return frame, View(picture, geometry, limits)
