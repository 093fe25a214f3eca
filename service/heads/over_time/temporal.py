"""Features frame by frame → windows for a temporal network, and its results for the video."""

from collections.abc import Sequence
from typing import Annotated, NotRequired

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.card import Window as WindowShape
from service.heads.classify import Prediction, best_classes
from service.heads.outputs import Outputs
from service.heads.over_time.classify import draw_prediction
from service.heads.over_time.combiner import Combiner, Window
from service.imaging.source_image import SourceImage

Features = NDArray[np.float32]


@with_config(ConfigDict(extra="forbid"))
class WindowResult(TypedDict):
    start: Annotated[float, Field(ge=0, description="Time of its first frame, in seconds")]
    end: Annotated[float, Field(ge=0, description="Time of its last frame, in seconds")]
    predictions: Annotated[list[Prediction], Field(description="The best classes, best first")]


@with_config(ConfigDict(extra="forbid"))
class TemporalFrame(TypedDict):
    windows: NotRequired[
        Annotated[list[WindowResult], Field(description="The windows that end with this frame")]
    ]


@with_config(ConfigDict(extra="forbid"))
class TemporalSummary(TypedDict):
    predictions: Annotated[
        list[Prediction], Field(description="The best classes by their mean over all windows")
    ]
    windows: Annotated[list[WindowResult], Field(description="In order of time")]
    detail: NotRequired[Annotated[str, Field(description="Why there is no window")]]


class TemporalCombiner(Combiner[Features]):
    """Sliding windows over the features of frames.

    Each frame's features are computed once and kept as long as a window needs them. The last window ends with the
    video's last frame, if need be nearer to the window before than `stride`, so that every frame is in a window.

    Args:
        labels: K names.
        top_k: how many classes are reported, best first; 1 to K.
        window: how many frames a window has, and the distance from one window to the next.
    """

    def __init__(self, labels: Sequence[str], top_k: int, window: WindowShape) -> None:
        self._labels = labels
        self._top_k = top_k
        self._window = window
        self._recent: list[tuple[float, Features]] = []
        self._frames = 0
        self._covered = 0
        self._due: list[Window] = []
        self._windows: list[WindowResult] = []
        self._sum: NDArray[np.float64] = np.zeros(len(labels))
        self._latest: Prediction | None = None

    def keep(self, outputs: Outputs, _: SourceImage) -> Features:
        return np.array(outputs["features"], np.float32)

    def draw(self, _: Outputs, source: SourceImage) -> Image.Image:
        """Return the frame unchanged: `caption` writes on it once the network has read its window."""
        return source.displayed()

    def caption(self, image: Image.Image) -> Image.Image:
        """Return the frame with the best class of the latest window written on it."""
        return image if self._latest is None else draw_prediction(image, self._latest)

    def add(self, seconds: float, kept: Features) -> TemporalFrame:
        self._recent = [*self._recent, (seconds, kept)][-self._window.frames :]
        self._frames += 1
        beyond = self._frames - self._window.frames
        if beyond >= 0 and beyond % self._window.stride == 0:
            self._complete_window()
        return {}

    def flush(self) -> None:
        """Complete the last window, if the video ends between two."""
        if self._frames >= self._window.frames and self._covered < self._frames:
            self._complete_window()

    def take_windows(self) -> list[Window]:
        due, self._due = self._due, []
        return due

    def add_window(self, window: Window, outputs: Outputs) -> WindowResult:
        """Take the network's `probabilities`, float32 (K,), for a window and return the window's result."""
        probabilities = outputs["probabilities"]
        self._sum += probabilities
        predictions = best_classes(probabilities, self._labels, self._top_k)
        self._latest = predictions[0]
        result: WindowResult = {
            "start": round(window.start, 3),
            "end": round(window.end, 3),
            "predictions": predictions,
        }
        self._windows.append(result)
        return result

    def summary(self) -> TemporalSummary:
        """Return the mean over the windows, and each window's result."""
        if not self._windows:
            detail = (
                f"{self._frames} frames were sampled, fewer than the {self._window.frames} of one window. "
                "Send a longer video, or request more fps."
            )
            return {"predictions": [], "windows": [], "detail": detail}
        mean = self._sum / len(self._windows)
        return {
            "predictions": best_classes(mean, self._labels, self._top_k),
            "windows": self._windows,
        }

    def _complete_window(self) -> None:
        self._covered = self._frames
        features = np.stack([features for _, features in self._recent])
        self._due.append(Window(features, self._recent[0][0], self._recent[-1][0]))
