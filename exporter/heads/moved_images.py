"""Images that are moved, mirrored or made smaller, and where a box of the frame is then."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.network import Array

PART = 4
"""Images are moved by about the frame's side divided by this."""

STEPS = (32, 16, 8, 1)
"""They are moved by a multiple of the largest of these that is no third of the side: the same cells see the same."""

GRAY = 114

Frame = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Change:
    """What was done with an image: a share x of the frame's width is at `factor[0]` x + `offset[0]` then, y alike.

    `is_shift` is whether it was moved alone, so that cells of a grid see what others saw before.
    """

    factor: tuple[float, float]
    offset: tuple[float, float]

    @property
    def is_shift(self) -> bool:
        return self.factor == (1, 1)

    def boxes(self, corners: Array) -> Array:
        """Return where boxes, xyxy in 0–1 of the frame (B, 4), are in the changed image; they may leave the frame."""
        moved: Array = corners * np.array(self.factor * 2) + np.array(self.offset * 2)
        return moved[:, [2, 1, 0, 3]] if self.factor[0] < 0 else moved


def changed_images(frame: Frame) -> Iterator[tuple[Frame, Change]]:
    """Yield a frame that is moved, mirrored, made smaller, and mirrored and one of both, with what was done.

    It is gray where nothing is. What shows most comes first.

    Args:
        frame: uint8 (H, W, 3).
    """
    down, right = _step(frame.shape[0]), _step(frame.shape[1])
    mirrored = frame[:, ::-1]
    yield _moved(frame, down, right)
    yield _moved(frame, -down, -right)
    yield _mirrored(frame, Change((1, 1), (0, 0)))
    yield _moved(frame, down, -right)
    yield _moved(frame, -down, right)
    for corner in ((1, 1), (0, 1), (1, 0), (0, 0)):
        yield _smaller(frame, *corner)
    for sides in ((down, right), (-down, -right), (down, -right), (-down, right)):
        moved, change = _moved(frame, *sides)
        yield _mirrored(moved, change)
    for corner in ((1, 1), (0, 1), (1, 0), (0, 0)):
        smaller, change = _smaller(mirrored, *corner)
        (across, _), (left, _) = change.factor, change.offset
        yield smaller, Change((-across, change.factor[1]), (left + across, change.offset[1]))


def _mirrored(frame: Frame, change: Change) -> tuple[Frame, Change]:
    """Return a changed frame mirrored too."""
    (across, down), (right, below) = change.factor, change.offset
    return frame[:, ::-1], Change((-across, down), (1 - right, below))


def _moved(frame: Frame, down: int, right: int) -> tuple[Frame, Change]:
    """Return a frame moved by so many pixels, which may be negative."""
    height, width = frame.shape[:2]
    moved = np.full_like(frame, GRAY)
    rows, columns = (
        (slice(max(by, 0), side + min(by, 0)), slice(max(-by, 0), side + min(-by, 0)))
        for by, side in ((down, height), (right, width))
    )
    moved[rows[0], columns[0]] = frame[rows[1], columns[1]]
    return moved, Change((1, 1), (right / width, down / height))


def _smaller(frame: Frame, bottom: int, right: int) -> tuple[Frame, Change]:
    """Return a frame at half its size in one of its corners: 1 is the bottom and the right."""
    height, width = (side // 2 for side in frame.shape[:2])
    half = frame[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1)
    top, left = bottom * (frame.shape[0] - height), right * (frame.shape[1] - width)
    changed = np.full_like(frame, GRAY)
    changed[top : top + height, left : left + width] = half.mean(axis=(1, 3)).round()
    return changed, Change((0.5, 0.5), (left / frame.shape[1], top / frame.shape[0]))


def _step(side: int) -> int:
    step = next(one for one in STEPS if 3 * one <= side or one == 1)
    return max(1, round(side / PART / step)) * step
