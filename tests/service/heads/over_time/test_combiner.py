"""What a combiner does by default: a task without windows implements `keep`, `add` and `summary` only."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.imaging.source_image import SourceImage
from tests.source_images import source_of


class MeanCombiner(Combiner[float]):
    """The mean of a number per frame."""

    def __init__(self) -> None:
        self._kept: list[float] = []

    def keep(self, outputs: Outputs, source: SourceImage) -> float:
        return float(outputs["number"][()]) * source.geometry.width

    def add(self, seconds: float, kept: float) -> Mapping[str, Any]:
        self._kept.append(kept)
        return {"time": seconds, "number": kept}

    def summary(self) -> Mapping[str, Any]:
        return {"mean": sum(self._kept) / len(self._kept)}


def test_a_combiner_without_windows_has_none_to_run_and_nothing_to_complete() -> None:
    combiner: Combiner[Any] = MeanCombiner()
    for number in range(4):
        combiner.add(number / 2, combiner.keep({"number": np.array(number)}, source_of(10, 8)))
        assert combiner.take_windows() == ()
    combiner.flush()
    assert combiner.take_windows() == ()
    assert combiner.summary() == {"mean": 15.0}


def test_a_drawn_frame_gets_no_caption_by_default() -> None:
    image = Image.new("RGB", (4, 3))
    assert MeanCombiner().caption(image) is image
