"""Boxes frame by frame → tracks: which boxes are the same thing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.heads.detect import Detection
from service.heads.nms import iou_matrix
from service.imaging.geometry import Box

LEAST_IOU = 0.3
"""Below this a box is another thing: SORT's threshold (Bewley et al. 2016, arXiv:1602.00763)."""
LONGEST_GAP_SECONDS = 1.0
"""How long a thing may be out of sight and still be itself; where frames lie further apart, not at all."""

_Corners = NDArray[np.float64]


@dataclass(slots=True)
class Place:
    """Where a thing was at a time: xyxy in pixels of the displayed frame."""

    seconds: float
    box: Box
    score: float


@dataclass(slots=True)
class Track:
    """One thing's way through the clip."""

    number: int
    label: str
    class_id: int
    path: list[Place] = field(default_factory=list)
    speed: _Corners = field(default_factory=lambda: np.zeros(4))
    """Of each edge, in pixels a second."""

    def predicted(self, seconds: float) -> _Corners:
        last = self.path[-1]
        return np.array(last.box) + self.speed * (seconds - last.seconds)

    def extend(self, place: Place) -> None:
        if self.path and place.seconds > self.path[-1].seconds:
            before = self.path[-1]
            moved = np.array(place.box) - np.array(before.box)
            self.speed = moved / (place.seconds - before.seconds)
        self.path.append(place)


class Tracker:
    """Joins boxes over frames, online.

    After SORT (Bewley et al. 2016, arXiv:1602.00763): each track says where its box will be, boxes of its class are
    matched to that by IoU. What moves at constant speed is continued from its last two boxes instead of by a Kalman
    filter, and pairs are taken greedily, the best first, instead of by an assignment: sampled frames are few and far
    apart, where a filter has not settled yet.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._alive: list[Track] = []
        self._times: tuple[float, float] = (0.0, 0.0)

    def add(self, seconds: float, found: Sequence[Detection]) -> list[int]:
        """Return the track's number for each box of a frame, in order; frames come in order of time."""
        self._times = (self._times[1], seconds)
        patience = max(LONGEST_GAP_SECONDS, 1.5 * (self._times[1] - self._times[0]))
        self._alive = [one for one in self._alive if seconds - one.path[-1].seconds <= patience]
        matched = self._match(seconds, found)
        numbers = []
        for index, thing in enumerate(found):
            track = matched.get(index) or self._begin(thing)
            track.extend(Place(seconds, thing.box, thing.score))
            numbers.append(track.number)
        return numbers

    def _match(self, seconds: float, found: Sequence[Detection]) -> dict[int, Track]:
        """Pair boxes with tracks, the largest overlap first, each at most once."""
        if not found or not self._alive:
            return {}
        predicted = np.array([track.predicted(seconds) for track in self._alive])
        last = np.array([track.path[-1].box for track in self._alive])
        boxes = np.array([thing.box for thing in found])
        # What stops at once is still where it was.
        overlap = np.maximum(_iou(predicted, boxes), _iou(last, boxes))
        kinds = np.array([track.class_id for track in self._alive])
        overlap[kinds[:, None] != np.array([thing.class_id for thing in found])[None]] = 0
        matched: dict[int, Track] = {}
        taken: set[int] = set()
        for place in np.argsort(-overlap, axis=None, kind="stable"):
            track, box = divmod(int(place), len(found))
            if overlap[track, box] < LEAST_IOU:
                break
            if track not in taken and box not in matched:
                matched[box] = self._alive[track]
                taken.add(track)
        return matched

    def _begin(self, thing: Detection) -> Track:
        track = Track(len(self.tracks) + 1, thing.label, thing.class_id)
        self.tracks.append(track)
        self._alive.append(track)
        return track


def _iou(some: _Corners, others: _Corners) -> _Corners:
    """Return the IoU of each of some (A, 4) with each of others (B, 4): (A, B)."""
    both = iou_matrix(np.concatenate([some, others]).astype(np.float32))
    return both[: len(some), len(some) :].astype(np.float64)
