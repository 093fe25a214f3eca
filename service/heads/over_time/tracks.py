"""Boxes frame by frame → tracks: which boxes are the same thing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.heads.boxes import iou
from service.heads.detect import Detection
from service.imaging.geometry import Box

LEAST_IOU = 0.3
"""Below this a box is another thing: SORT's threshold (Bewley et al. 2016, arXiv:1602.00763)."""
LONGEST_GAP_SECONDS = 1.0
"""A track without a box for longer has ended; where frames are further apart, one frame without a box ends it."""


@dataclass(slots=True)
class Place:
    """The box of a thing at a time, in seconds: xyxy in pixels of the displayed frame."""

    seconds: float
    box: Box
    score: float


@dataclass(slots=True)
class Track:
    """One thing through the video. `speed`, (4,), is that of each edge of its box, in pixels per second."""

    number: int
    label: str
    class_id: int
    path: list[Place] = field(default_factory=list)
    speed: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))

    def predicted(self, seconds: float) -> NDArray[np.float64]:
        """Return the box, xyxy (4,), that constant speed leads to at a time."""
        last = self.path[-1]
        return np.array(last.box) + self.speed * (seconds - last.seconds)

    def extend(self, place: Place) -> None:
        """Append a place and measure the speed from the last two."""
        if self.path and place.seconds > self.path[-1].seconds:
            before = self.path[-1]
            moved = np.array(place.box) - np.array(before.box)
            self.speed = moved / (place.seconds - before.seconds)
        self.path.append(place)


class Tracker:
    """Joins boxes over frames, online.

    After SORT (Bewley et al. 2016, arXiv:1602.00763): each track predicts its next box, and boxes of its class are
    matched to the prediction by IoU. Two things differ, because sampled frames are few and far apart and a filter does
    not settle: constant speed, measured from the last two boxes, replaces the Kalman filter; greedy matching, the
    largest IoU first, replaces the optimal assignment.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._alive: list[Track] = []
        self._times: tuple[float, float] = (0.0, 0.0)

    def add(self, seconds: float, found: Sequence[Detection]) -> list[int]:
        """Return the number of the track of each box of a frame, in order; frames come in order of time."""
        self._times = (self._times[1], seconds)
        longest_gap = max(LONGEST_GAP_SECONDS, 1.5 * (self._times[1] - self._times[0]))
        self._alive = [
            track for track in self._alive if seconds - track.path[-1].seconds <= longest_gap
        ]
        matched = self._match(seconds, found)
        numbers = []
        for index, thing in enumerate(found):
            track = matched.get(index) or self._begin(thing)
            track.extend(Place(seconds, thing.box, thing.score))
            numbers.append(track.number)
        return numbers

    def _match(self, seconds: float, found: Sequence[Detection]) -> dict[int, Track]:
        """Return the track of each box that continues one, by the box's index: each track at most once."""
        if not found or not self._alive:
            return {}
        overlap = self._overlaps(seconds, found)
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

    def _overlaps(self, seconds: float, found: Sequence[Detection]) -> NDArray[np.float32]:
        """Return the IoU of each living track with each box, float32 (tracks, boxes); 0 where the classes differ."""
        predicted = np.array([track.predicted(seconds) for track in self._alive], np.float32)
        last = np.array([track.path[-1].box for track in self._alive], np.float32)
        boxes = np.array([thing.box for thing in found], np.float32)
        # A thing that has stopped is at its last place, not at the predicted one.
        overlap = np.maximum(iou(predicted, boxes), iou(last, boxes))
        of_tracks = np.array([track.class_id for track in self._alive])
        of_boxes = np.array([thing.class_id for thing in found])
        same: NDArray[np.float32] = np.where(
            of_tracks[:, None] == of_boxes[None], overlap, np.float32(0)
        )
        return same

    def _begin(self, thing: Detection) -> Track:
        track = Track(len(self.tracks) + 1, thing.label, thing.class_id)
        self.tracks.append(track)
        self._alive.append(track)
        return track
