"""One request for an explanation: a view, its form and its settings, with class and stage already found."""

from dataclasses import dataclass
from typing import Literal

from service.card import Stage

Form = Literal["json", "sheet", "overlay", "heat", "npy"]
"""JSON; a captioned sheet, the heat over the image, the heat alone, all PNG images; an array in NumPy's format."""
WHOLE_IMAGES = frozenset({"overlay", "heat"})
"""Forms that are as large as the image that was sent."""
Method = Literal["auto", "cam", "eigencam", "rise"]

MOST_SAMPLES = 4000
"""Perturbed copies of one request at most; the authors of RISE took as many for their figures on VGG."""


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """A request that the model can answer; `explain_request` makes it from options. None is the view's own choice.

    Args:
        view: a name in `VIEWS`.
        form: what to return.
        stage: the stage to read.
        channel: the stage's only channel to read, from 0.
        channels: how many of the strongest channels to return of each stage.
        count: how many peaks to return at most.
        class_id: the class to explain; None: the network's first.
        box: the detection to explain, counted from the best one, 0.
        method: how `cam` makes its heat.
        samples: how many perturbed copies to run; None: as many as there is time for.
        seed: of the random masks and shuffles.
        score: whether to compute the insertion and deletion score.
        steps: how many steps their curves have; None: as many as there is time for.
        thumbnails: whether the JSON holds small images.
        filter: the filter of the first convolution, from 0.
        row: the row of a cell of its map, from 0.
        column: the column of the cell, from 0.
        tensor: the tensor that the array is.
        arrays: whether the JSON holds arrays.
    """

    view: str
    form: Form
    stage: Stage | None = None
    channel: int | None = None
    channels: int = 16
    count: int = 9
    class_id: int | None = None
    box: int = 0
    method: Method = "auto"
    samples: int | None = None
    seed: int = 0
    score: bool = True
    steps: int | None = None
    thumbnails: bool = False
    filter: int | None = None
    row: int | None = None
    column: int | None = None
    tensor: Literal["frame", "normalized"] = "frame"
    arrays: bool = False
