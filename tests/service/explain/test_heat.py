import numpy as np

from service.card import ImageInput
from service.explain.heat import ExplainedHeat, HeatMethod, MadeHeat, Subject
from service.explain.heat_map import Heat
from service.heads.targets import ClassTarget, FeatureTarget, Target
from tests.source_images import source_of

HEAT = Heat(np.array([[1, 3]], np.float32), 0, 3)
RED = ClassTarget("red", 0, 0.5, 1.5)


def explained(target: Target, made: MadeHeat) -> ExplainedHeat:
    frame = np.zeros((4, 4, 3), np.uint8)
    source = source_of(8, 4, ImageInput(height=4, width=4, resize="stretch"))
    return ExplainedHeat(Subject(frame, source, target, 0.5), made, HeatMethod("cam", "{}"))


def test_the_evidence_is_target_heat_and_peak() -> None:
    evidence = explained(RED, MadeHeat(HEAT, "by hand")).evidence()
    assert list(evidence) == ["target", "heat", "peak"]
    assert evidence["peak"] == {"x": 6.0, "y": 2.0, "value": 3.0}
    assert "bias" not in evidence["target"]


def test_an_exact_map_brings_the_bias_of_its_class() -> None:
    evidence = explained(RED, MadeHeat(HEAT, "by hand", bias=0.12345)).evidence()
    assert evidence["target"] == {
        "label": "red",
        "class_id": 0,
        "probability": 0.5,
        "logit": 1.5,
        "bias": 0.1235,
    }


def test_a_vector_has_no_bias() -> None:
    target = FeatureTarget(np.full(4, 0.5, np.float32))
    evidence = explained(target, MadeHeat(HEAT, "by hand", bias=1)).evidence()
    assert evidence["target"] == {"features": 4}
