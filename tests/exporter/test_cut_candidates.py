"""What crowds lose is a hint and stands in the card, where the images of the proof show it."""

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from rich.console import Console

from exporter.cut_candidates import CutOff
from exporter.heads.boxes import PairDecoder
from exporter.heads.detect import DetectHead
from exporter.heads.thinning import CLEAR, MOST_CONSIDERED
from exporter.network import Outputs
from exporter.recipe_tables import MOST_CANDIDATES, DetectRecipe
from exporter.report import show_card
from service.card import CutCandidates
from service.servable_file import read_card
from tests.exporter.exporting import export_to
from tests.exporter.found import detector


def batch(one: dict[str, Any]) -> Outputs:
    return {name: np.array(values)[None] for name, values in one.items()}


def cut_off(head: DetectHead, *outputs: dict[str, Any]) -> CutOff:
    found = CutOff(head)
    for one in outputs:
        found.add(batch(one), batch(one))
    return found


@pytest.mark.parametrize(
    ("stated", "scores", "is_hint"),
    [
        ({"candidates": 2}, [0.9, 0.4], True),
        ({"candidates": 2, "best_only": True}, [0.9, 0.4], True),
        ({"candidates": 2}, [0.9, 0.2], False),
        ({"candidates": 2, "nms_free": True}, [0.9, 0.4], False),
        ({"candidates": 12}, [0.4] * 12, False),  # all that there are
    ],
)
def test_candidates_that_are_cut_off_are_a_hint(
    stated: dict[str, Any], scores: list[float], *, is_hint: bool
) -> None:
    head = DetectHead(PairDecoder(), DetectRecipe(**stated), 4, 3)
    places = [[0.3 * i, 0, 0.3 * i + 0.2, 1] for i in range(len(scores))]
    one = {"scores": scores, "boxes": places, "classes": [0] * len(scores)}
    found = cut_off(head, one, {**one, "scores": [*scores[:-1], 0.1]})
    assert len(found.hints()) == is_hint
    assert all("On 1 of 2 images" in hint and "--candidates 4" in hint for hint in found.hints())
    assert found.cut == (CutCandidates(images=1, of=2, below=0.4) if is_hint else None)


def test_no_more_candidates_are_advised_than_a_recipe_may_state() -> None:
    for count, advised in ((10_000, f"--candidates {MOST_CANDIDATES}"), (MOST_CANDIDATES, "")):
        recipe = DetectRecipe(candidates=count, best_only=True)
        head = DetectHead(PairDecoder(), recipe, 20_000, 3)
        one = {"scores": [0.4] * count, "boxes": [[0, 0, 1, 1]] * count}
        (hint,) = cut_off(head, one).hints()
        assert hint.endswith(advised or "boxes beyond them are lost")


def test_a_candidate_that_suppression_drops_shows_that_nothing_was_cut_off() -> None:
    head = DetectHead(PairDecoder(), DetectRecipe(candidates=2), 4, 3)
    twice = {"scores": [0.9, 0.4], "boxes": [[0.0, 0.0, 1.0, 1.0]] * 2, "classes": [0, 0]}
    found = cut_off(head, twice, {**twice, "scores": [0.9, 0.1]})
    assert (found.hints(), found.cut) == ([], None)


@pytest.mark.parametrize(("beyond", "is_met"), [(0, False), (1, True)])
def test_more_clear_candidates_than_are_suppressed_are_a_hint(beyond: int, *, is_met: bool) -> None:
    head = DetectHead(PairDecoder(), DetectRecipe(), 20_000, 3)
    returned = {"scores": [0.9, 0.01], "boxes": [[0, 0, 1, 1]] * 2, "classes": [0, 0]}
    of_source = np.full((1, 2 * MOST_CONSIDERED), 0.01)
    of_source[0, : MOST_CONSIDERED + beyond] = CLEAR
    found = CutOff(head)
    found.add(batch(returned), {"scores": of_source})
    assert found.cut == (CutCandidates(images=1, of=1, below=CLEAR) if is_met else None)
    assert len(found.hints()) == is_met
    assert all("--one-class-a-box" in hint for hint in found.hints())


def test_a_crowd_beyond_the_bound_is_in_the_card(tmp_path: Path) -> None:
    """300 objects of 30 boxes, and each box has all three classes: 27,000 pairs, of which 16,384 are suppressed."""
    rng = np.random.default_rng(8)
    places = np.stack(np.divmod(np.arange(300), 20), axis=1) * [1 / 15, 1 / 20]
    corners = np.concatenate([places, places + np.array([0.06, 0.045])], axis=1)
    boxes = np.repeat(corners, 30, axis=0)[None] + rng.normal(0, 1e-3, (1, 9000, 4))
    scores = np.linspace(0.9, 0.1, 300).repeat(30)[None, :, None] * [1, 0.99, 0.98]
    onnx.save(detector({"boxes": boxes, "scores": scores}), tmp_path / "net.onnx")
    stated = {"task": "detect", "labels": ["a", "b", "c"], "proof": {"limit": 2, "largest": 1}}

    done = export_to(tmp_path, "onnx:net.onnx", **stated)

    cut = read_card(done.path).cut
    assert cut is not None
    assert (cut.images, cut.of) == (2, 2)
    assert cut.below == pytest.approx(np.sort(scores.ravel())[-MOST_CONSIDERED], abs=1e-3)
    assert any("more than 16384 candidates" in hint for hint in done.hints)
    shown = StringIO()
    Console(file=shown, width=200).print(show_card(done.path, done.card))
    assert "may be lost in such crowds" in shown.getvalue()

    fewer = export_to(tmp_path, "onnx:net.onnx", **stated, detect={"one_class_a_box": True})
    assert fewer.card.cut is None
    assert not any("16384" in hint for hint in fewer.hints)
