"""How the results of a video's frames are combined, in order of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.heads.outputs import Outputs
from service.imaging.source_image import SourceImage

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Window:
    """Frames that a temporal network reads at once: features float32 (T, F), from `start` to `end` in seconds."""

    features: NDArray[np.float32]
    start: float
    end: float


class Combiner(Generic[Kept]):
    """The results of one video. A subclass implements `keep`, `add` and `summary`, and `draw` if it can be drawn.

    `keep` and `draw` run on any thread. The other methods are called frame by frame, in order of time.
    """

    def keep(self, outputs: Outputs, source: SourceImage) -> Kept:
        """Return what must be kept of a frame's outputs."""
        raise NotImplementedError

    def draw(self, outputs: Outputs, source: SourceImage) -> Image.Image:
        """Return the frame with its result drawn on it."""
        raise NotImplementedError

    def add(self, seconds: float, kept: Kept) -> Mapping[str, Any]:
        """Return the frame's result, as JSON."""
        raise NotImplementedError

    def summary(self) -> Mapping[str, Any]:
        """Return the video's result, as JSON."""
        raise NotImplementedError

    def take_windows(self) -> Sequence[Window]:
        """Return the windows that are complete and have not been read by the task's own network."""
        return ()

    def add_window(self, window: Window, outputs: Outputs) -> Mapping[str, Any]:
        """Take the network's outputs for a window and return the window's result, as JSON."""
        raise NotImplementedError

    def caption(self, image: Image.Image) -> Image.Image:
        """Return a drawn frame with what is known only after its windows were read."""
        return image

    def flush(self) -> None:
        """Complete what ends with the video: no frame follows."""
