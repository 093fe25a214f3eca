"""What makes frames of encoded images: on the thread of its caller, or in processes of its own (`isolated`)."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.card import ImageInput
from service.imaging.announced import Announced
from service.imaging.deadline import Deadline
from service.imaging.decode import Limits, open_image
from service.imaging.resize import fit_and_keep, fit_opened
from service.imaging.room import SMALL_PIXELS, TIGHT_JPEG_SHARE, PixelRoom
from service.imaging.source_image import SourceImage, displayed_image
from service.imaging.work import announced


class Decoder(Protocol):
    """Decodes images for the network, and again for a head that draws on them; for worker threads."""

    def prepare(
        self, image: bytes, target: ImageInput, until: float, *, draws: bool = False
    ) -> tuple[NDArray[np.uint8], SourceImage]:
        """Return the network's frame, uint8 (H, W, 3) RGB, and what a head may see of the image.

        Args:
            image: an encoded image.
            target: the frame that the network wants.
            until: when it gives up, by the clock.
            draws: whether the head will draw on the image; a small one is then decoded only once.

        Raises:
            ImageError: the image can not be read.
            DeadlineError: it was not decoded before the clock reached `until`.
        """
        ...

    def announced(self, images: Iterable[bytes], until: float) -> list[Announced]:
        """Return each image's pixels and work by its header, none of one that can not be read; see `imaging.work`.

        Raises:
            DeadlineError: not all were read before the clock reached `until`.
        """
        ...

    def start(self) -> None:
        """Begin to accept images."""
        ...

    def close(self) -> None:
        """Accept none any more, and give up what it holds; blocking."""
        ...

    def not_ready(self) -> list[str]:
        """Return why no image can be decoded, a reason each."""
        ...


@dataclass(frozen=True, slots=True)
class ThreadDecoder:
    """Decodes on the thread of its caller. An image that crashes a library ends the whole process.

    Args:
        limits: of one image.
        room: for the pixels of the images that are decoded or drawn on at once.
        clock: the clock of the deadlines, in seconds.
    """

    limits: Limits
    room: PixelRoom
    clock: Callable[[], float] = time.perf_counter

    def prepare(
        self, image: bytes, target: ImageInput, until: float, *, draws: bool = False
    ) -> tuple[NDArray[np.uint8], SourceImage]:
        """Return the frame and its source; see `Decoder`."""
        go_on = Deadline(until, self.clock)
        go_on()
        opened = open_image(image, self.limits, go_on)
        pixels = opened.held_pixels
        if draws and pixels <= SMALL_PIXELS:
            frame, geometry, whole = fit_and_keep(opened, target)
            return frame, SourceImage(image, geometry, self.limits, pixels=whole)
        if pixels <= SMALL_PIXELS:
            frame, geometry = fit_opened(opened, target)
            return frame, SourceImage(image, geometry, self.limits)
        share = TIGHT_JPEG_SHARE if opened.can_be_reduced else 1
        with self.room.hold(pixels, until, tight_share=share):
            frame, geometry = fit_opened(opened, target, go_on)
            del opened  # its pixels are counted no more after this
        again = partial(displayed_image, go_on=go_on)
        return frame, SourceImage(image, geometry, self.limits, again, held=pixels)

    def announced(self, images: Iterable[bytes], until: float) -> list[Announced]:
        """Return what the images announce; see `Decoder`."""
        go_on = Deadline(until, self.clock)
        found = []
        for image in images:
            go_on()
            found.append(announced(image, self.limits.formats, go_on))
        return found

    def start(self) -> None:
        """Nothing has to be started."""

    def close(self) -> None:
        """Nothing is held."""

    def not_ready(self) -> list[str]:
        """It is always ready."""
        return []
