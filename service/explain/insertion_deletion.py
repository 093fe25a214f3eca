"""How good a heat map is: the score as its hottest pixels are inserted and deleted (Petsiuk et al. 2018)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.explain.frame import Frame, mean_color
from service.explain.heat_map import Heat
from service.heads.rounding import figure

BLUR_SHARE = 0.05
"""The blur that hides the image before insertion: its standard deviation as a share of the frame's width."""


@with_config(ConfigDict(extra="forbid"))
class ScoreFigures(TypedDict):
    """The areas under both curves, 0–1, and their points."""

    insertion: Annotated[
        float, Field(description="Mean score while the hottest pixels appear; higher is better")
    ]
    deletion: Annotated[
        float, Field(description="Mean score while the hottest pixels vanish; lower is better")
    ]
    steps: int
    insertion_curve: Annotated[list[float], Field(description="`steps` + 1 scores")]
    deletion_curve: Annotated[list[float], Field(description="`steps` + 1 scores")]


USUAL_STEPS = 16
STRIDES = (4, 2, 1)
"""Where the request does not say, the curves get every fourth of the usual steps, then every second, then all."""


@dataclass(frozen=True, slots=True)
class Curves:
    """The frames of both curves; each is made only when its copy is called.

    `order` holds the indices of the frame's pixels by falling heat, int (H × W,). Frame number k of `steps` inserts or
    deletes the first k/steps of them.
    """

    frame: Frame
    order: NDArray[np.intp]
    steps: int

    def copies(self) -> list[Callable[[], Frame]]:
        """Return a function for each frame: insertion from nothing to all, then deletion from all to nothing."""
        blurred = _blur(self.frame, BLUR_SHARE * self.frame.shape[1])
        covered = mean_color(self.frame)
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


def insertion_deletion(frame: Frame, heat: Heat, steps: int) -> Curves:
    """Return the frames that test a heat map on uint8 (H, W, 3); pixels of equal heat change row by row."""
    height, width = frame.shape[:2]
    order = np.argsort(-heat.on_frame(height, width).ravel(), kind="stable")
    return Curves(frame, order, steps)


def curve_scores(scores: Sequence[float]) -> ScoreFigures:
    """Return both curves and the areas under them.

    Args:
        scores: of the frames in the order of `Curves.copies`, 0–1.
    """
    half = len(scores) // 2
    insertion, deletion = np.array(scores[:half]), np.array(scores[half:])
    return {
        "insertion": figure(_area(insertion)),
        "deletion": figure(_area(deletion)),
        "steps": half - 1,
        "insertion_curve": [figure(score) for score in insertion.tolist()],
        "deletion_curve": [figure(score) for score in deletion.tolist()],
    }


def refinements() -> list[list[int]]:
    """Return which frames of `Curves.copies`, of curves of `USUAL_STEPS`, each refinement adds to those before it."""
    half, found = USUAL_STEPS + 1, set[int]()
    rounds: list[list[int]] = []
    for stride in STRIDES:
        new = [place for place in range(2 * half) if place % half % stride == 0]
        rounds.append([place for place in new if place not in found])
        found.update(new)
    return rounds


def _blur(frame: Frame, sigma: float) -> Frame:
    return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(sigma)))


def _area(curve: NDArray[np.float64]) -> float:
    return float(np.trapezoid(curve) / (len(curve) - 1))
