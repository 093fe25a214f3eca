"""The way of an image: batch queue → session → head → result. Only the head changes from task to task."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.card import Card, ImageInput
from service.errors import FovealError, ImageError
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded
from service.imaging.source_image import SourceImage
from service.runtime.job import Job, JobResult, Outputs
from service.runtime.model import Model

T = TypeVar("T")
Head = Callable[[Outputs, SourceImage], T]
"""One image's outputs, and what may be seen of the image → its result; runs on a worker thread."""
EncodedImage = bytes | ImageError
"""An encoded image, or why there is none in this place."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Takes images through a model. Holds no state: everything that waits, waits in the model's queue."""

    limits: Limits

    async def predict(
        self,
        model: Model,
        images: Sequence[EncodedImage],
        head: Head[T],
        *,
        timeout_seconds: float,
        disconnected: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> list[JobResult[T] | FovealError]:
        """Return each image's answer or its own error, in order.

        A job holds two functions: one makes its tensor, the other reads its outputs. So `runtime` never sees an image,
        and the thread that runs a batch also decodes its images and runs their heads.

        Raises:
            UnavailableError: the model is not ready, its queue is full or the service is shutting down.
        """
        jobs = [self.job(image, model.card, head) for image in images]
        return await model.batcher.submit(
            jobs, timeout_seconds=timeout_seconds, disconnected=disconnected
        )

    def job(self, image: EncodedImage, card: Card, head: Head[T]) -> Job[SourceImage, T]:
        """Return the job of one image for a network with this card."""
        return Job(partial(_prepare, image, card.image_input, self.limits), head)


def _prepare(
    image: EncodedImage, target: ImageInput, limits: Limits
) -> tuple[NDArray[np.uint8], SourceImage]:
    if isinstance(image, ImageError):
        raise image
    frame, geometry = fit_encoded(image, target, limits)
    return frame, SourceImage(image, geometry, limits)
