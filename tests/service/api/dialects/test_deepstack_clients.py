"""DeepStack and CodeProject.AI, asked by the clients that their users install."""

from typing import Any

import pytest

from tests.finders import plain
from tests.live import Live

deepstack: Any = pytest.importorskip("deepstack.core", reason="needs deepstack-python")
codeproject: Any = pytest.importorskip("codeprojectai.core", reason="needs codeproject-ai-api")

ORANGE = plain((230, 128, 0))
DETECTORS = (deepstack.DeepstackObject, codeproject.CodeProjectAIObject)
FAILURES = (deepstack.DeepstackException, codeproject.CodeProjectAIException)


@pytest.mark.parametrize("kind", DETECTORS)
@pytest.mark.parametrize("model", ["", "finder"])
def test_a_detector_finds_boxes_above_the_clients_threshold(
    spoken: Live, kind: Any, model: str
) -> None:
    ip, port = spoken.address
    found = kind(ip, port, min_confidence=0.3, custom_model=model).detect(ORANGE)
    assert [one["label"] for one in found] == ["cup", "dining table"]
    box = {side: found[0][side] for side in ("x_min", "y_min", "x_max", "y_max")}
    assert box == {"x_min": 20, "y_min": 10, "x_max": 60, "y_max": 20}
    surest = kind(ip, port, min_confidence=0.6, custom_model=model).detect(ORANGE)
    assert [one["label"] for one in surest] == ["cup"]


@pytest.mark.parametrize("kind", DETECTORS)
def test_what_is_refused_is_an_error_of_the_client(spoken: Live, kind: Any) -> None:
    ip, port = spoken.address
    with pytest.raises(FAILURES):
        kind(ip, port).detect(b"no image")
    with pytest.raises(FAILURES):
        kind(ip, port, custom_model="nothing").detect(ORANGE)


def test_a_scene_has_its_best_class(spoken: Live) -> None:
    ip, port = spoken.address
    found = deepstack.DeepstackScene(ip, port).recognize(ORANGE)
    assert found["label"] == "red"
