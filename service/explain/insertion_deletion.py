"""How good is a heat map: the score as its hottest pixels appear, and as they are taken away (Petsiuk et al. 2018)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from service.explain.heat_map import Heat
from service.heads.rounding import figure

Frame = NDArray[np.uint8]
BLUR_SHARE = 0.05
"""The blur that hides everything before insertion: its standard deviation in widths of the frame."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """The frames of both curves, made when they are drawn.

    `order` holds the frame's pixels by falling heat; the frame number k of `steps` shows or covers k/steps of them.
    """

    frame: Frame
    order: NDArray[np.intp]
    steps: int

    def copies(self) -> list[Callable[[], Frame]]:
        """Return what makes each frame: insertion from nothing to all, then deletion from all to nothing."""
        blurred = blur(self.frame, BLUR_SHARE * self.frame.shape[1])
        covered = cover(self.frame)
        return [
            *(self._mixed(blurred, self.frame, step) for step in range(self.steps + 1)),
            *(self._mixed(self.frame, covered, step) for step in range(self.steps + 1)),
        ]

    def _mixed(self, before: Frame, after: Frame, step: int) -> Callable[[], Frame]:
        def mix() -> Frame:
            mixed = before.reshape(-1, 3).copy()
            changed = self.order[: round(step / self.steps * len(self.order))]
            mixed[changed] = after.reshape(-1, 3)[changed]
            return mixed.reshape(before.shape)

        return mix


def deletion(frame: Frame, heat: Heat, steps: int) -> Deletion:
    """Return the frames that test a heat map on uint8 (H, W, 3); equal heat goes row by row."""
    height, width = frame.shape[:2]
    order = np.argsort(-heat.on_frame(height, width).ravel(), kind="stable")
    return Deletion(frame, order, steps)


def curve_scores(scores: Sequence[float]) -> dict[str, Any]:
    """Return the areas under both curves, whose points came in the order of `Deletion.copies`."""
    half = len(scores) // 2
    insertion, removal = np.array(scores[:half]), np.array(scores[half:])
    return {
        "insertion": figure(_area(insertion)),
        "deletion": figure(_area(removal)),
        "steps": half - 1,
        "insertion_curve": [figure(score) for score in insertion.tolist()],
        "deletion_curve": [figure(score) for score in removal.tolist()],
    }


def blur(frame: Frame, sigma: float) -> Frame:
    """Return the frame under a Gaussian blur of this standard deviation in pixels."""
    return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(sigma)))


def cover(frame: Frame) -> Frame:
    """Return a frame of the mean color, the least surprising one."""
    color = np.rint(frame.reshape(-1, 3).mean(axis=0)).astype(np.uint8)
    return np.broadcast_to(color, frame.shape).copy()


def _area(curve: NDArray[np.float64]) -> float:
    return float(np.trapezoid(curve) / (len(curve) - 1))
