"""Features frame by frame → windows for a head over time, and what its answers say of the clip."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.card import Window as WindowShape
from service.heads.classify import Prediction, best_classes
from service.heads.outputs import Outputs
from service.heads.over_time.classify import draw_caption
from service.heads.over_time.combiner import Combiner, Window
from service.imaging.source_image import SourceImage

Features = NDArray[np.float32]


class TemporalCombiner(Combiner[Features]):
    """Sliding windows. Each frame's features are made once and kept for as long as a window may need them.

    The last window is moved back to end with the clip, so that no frame is left out of all windows.

    Args:
        labels: K names.
        top_k: classes that are told of, best first.
        window: how many frames are read at once, and how far on the next window lies.
    """

    def __init__(self, labels: Sequence[str], top_k: int, window: WindowShape) -> None:
        self._labels = labels
        self._top_k = top_k
        self._window = window
        self._recent: list[tuple[float, Features]] = []
        self._frames = 0
        self._covered = 0
        self._due: list[Window] = []
        self._windows: list[dict[str, Any]] = []
        self._sum: NDArray[np.float64] = np.zeros(len(labels))
        self._latest: Prediction | None = None

    def keep(self, outputs: Outputs, _: SourceImage) -> Features:
        return np.array(outputs["features"], np.float32)

    def draw(self, _: Outputs, source: SourceImage) -> Image.Image:
        """Return the frame as it is: what it shows is known when its window has been read."""
        return source.displayed()

    def caption(self, image: Image.Image) -> Image.Image:
        """Return the frame with the latest window's answer written on it."""
        if self._latest is None:
            return image
        best = self._latest
        return draw_caption(image, best["label"], best["probability"], best["class_id"])

    def add(self, seconds: float, seen: Features) -> dict[str, Any]:
        self._recent = [*self._recent, (seconds, seen)][-self._window.frames :]
        self._frames += 1
        beyond = self._frames - self._window.frames
        if beyond >= 0 and beyond % self._window.stride == 0:
            self._take_window()
        return {}

    def flush(self) -> None:
        """Complete the last window, if the video ends between two."""
        if self._frames >= self._window.frames and self._covered < self._frames:
            self._take_window()

    def take_windows(self) -> list[Window]:
        due, self._due = self._due, []
        return due

    def add_window(self, window: Window, outputs: Outputs) -> dict[str, Any]:
        """Take the network's `probabilities`, float32 (K,), for a window and return the window's result."""
        probabilities = outputs["probabilities"]
        self._sum += probabilities
        predictions = best_classes(probabilities, self._labels, self._top_k)
        self._latest = predictions[0]
        result = {
            "start": round(window.start, 3),
            "end": round(window.end, 3),
            "predictions": predictions,
        }
        self._windows.append(result)
        return result

    def summary(self) -> dict[str, Any]:
        """Return the clip's answer, the mean over its windows, and each window's."""
        if not self._windows:
            detail = (
                f"{self._frames} frames were sampled and a window has {self._window.frames}: "
                "send a longer clip, or ask for more fps."
            )
            return {"predictions": [], "windows": [], "detail": detail}
        mean = self._sum / len(self._windows)
        return {
            "predictions": best_classes(mean, self._labels, self._top_k),
            "windows": self._windows,
        }

    def _take_window(self) -> None:
        self._covered = self._frames
        features = np.stack([seen for _, seen in self._recent])
        self._due.append(Window(features, self._recent[0][0], self._recent[-1][0]))
