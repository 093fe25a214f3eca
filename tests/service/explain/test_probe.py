from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from service.card import Card
from service.explain.heat import Subject
from service.explain.probe import Point, Probe, find_segmenter, probe_sheet
from service.heads.targets import ClassTarget
from service.imaging.perturb import LADDERS
from service.runtime.model import Model
from service.runtime.repository import Servable
from tests.images import plain
from tests.servables import write_servable
from tests.service.explain.networks import tiny_card, tiny_network
from tests.service.explain.running import Bench, running
from tests.source_images import source_of

SHOWN = np.zeros((16, 16, 3), np.uint8)
RED = ClassTarget("red", 0, 0.5, 1.0)


def point(amount: float, probability: float, top: str) -> Point:
    return Point(amount, probability, top, kept=top == RED.label, shown=SHOWN)


def probe(texture: float, shape: float | None) -> Probe:
    """Return a probe whose class has these probabilities in the shuffled copies and in the silhouette."""
    subject = Subject(SHOWN, source_of(16, 16), RED, 0.5)
    curves = {
        name: [point(amount, texture, "red") for amount in ladder.amounts]
        for name, ladder in LADDERS.items()
    }
    if shape is None:
        return Probe(subject, RED, curves)
    return Probe(subject, RED, curves, point(0, shape, "blue"), "u2netp")


def model(card: Card, state: str = "ready") -> Model:
    found = Model(Servable(card.name, 1, Path(card.name), card))
    found.state = "ready" if state == "ready" else "loading"
    return found


@pytest.mark.parametrize(
    ("texture", "shape", "share"),
    [(0.3, 0.1, 0.25), (0.0, 0.5, 1.0), (0.001, 0.002, None), (0.3, None, None)],
)
def test_the_share_of_the_shape_is_left_out_where_it_would_be_noise(
    texture: float, shape: float | None, share: float | None
) -> None:
    assert probe(texture, shape).shape_share == share


def test_the_silhouette_names_the_model_that_drew_it() -> None:
    result = probe(0.3, 0.1).result(seed=7)
    assert result["silhouette"] == {"probability": 0.1, "top": "blue", "by": "u2netp"}
    assert (result["texture"], result["shape"], result["seed"]) == (0.3, 0.1, 7)


def test_without_a_silhouette_there_is_no_shape() -> None:
    result = probe(0.3, None).result(seed=0)
    assert (result["silhouette"], result["shape"], result["shape_share"]) == (None, None, None)


@pytest.mark.parametrize("shape", [None, 0.1])
def test_the_sheet_shows_examples_and_curves(shape: float | None) -> None:
    assert probe_sheet("tiny", probe(0.3, shape)).width == 1240


def test_the_segmenter_separates_one_kind_of_thing_and_is_ready() -> None:
    segment = tiny_card("segment")
    many = segment.model_copy(update={"labels": ("background", "cat", "dog")})
    without = segment.model_copy(update={"background_id": None})
    others: Sequence[Model] = [
        model(tiny_card("classify")),
        model(many),
        model(without),
        model(segment, "loading"),
    ]
    right = model(segment)
    assert find_segmenter([*others, right]) is right
    assert find_segmenter(others) is None


@pytest.mark.anyio
async def test_every_step_of_every_perturbation_is_a_point(tiny_models: Bench) -> None:
    result = await tiny_models.explain("tiny-classify", plain("red"), view="probe", seed=2)
    assert [(curve["perturbation"], len(curve["points"])) for curve in result["curves"]] == [
        (name, len(ladder.amounts)) for name, ladder in LADDERS.items()
    ]
    assert result["silhouette"] is None, "a plain red image has no bright thing"


@pytest.mark.anyio
async def test_a_bright_thing_has_a_silhouette(tiny_models: Bench) -> None:
    result = await tiny_models.explain("tiny-classify", plain("white"), view="probe")
    assert result["silhouette"]["by"] == "tiny-segment"
    assert result["shape"] == result["silhouette"]["probability"]


@pytest.mark.anyio
async def test_without_a_segmenter_only_the_silhouette_is_missing(tmp_path: Path) -> None:
    card = tiny_card("classify")
    write_servable(tmp_path, card.name, model=tiny_network("classify"), card=card)
    async with running(tmp_path) as bench:
        result = await bench.explain(card.name, plain("white"), view="probe")
    assert result["silhouette"] is None
    assert len(result["curves"]) == len(LADDERS)
