import numpy as np

from service.explain.heat_map import Heat
from service.explain.insertion_deletion import curve_scores, insertion_deletion
from tests.service.explain.spots import FRAME, brightness


def test_the_right_heat_inserts_early_and_deletes_early() -> None:
    right, wrong = np.zeros((64, 48), np.float32), np.ones((64, 48), np.float32)
    right[38:54, 6:22], wrong[38:54, 6:22] = 1, 0
    scores = {}
    for name, values in (("right", right), ("wrong", wrong)):
        copies = insertion_deletion(FRAME, Heat(values, 0, 1), 16).copies()
        scores[name] = curve_scores([brightness(make()) for make in copies])
    assert scores["right"]["insertion"] > scores["wrong"]["insertion"] + 0.2
    assert scores["right"]["deletion"] < scores["wrong"]["deletion"] - 0.2


def test_the_curves_run_from_nothing_to_all_and_back() -> None:
    heat = Heat(np.random.default_rng(3).random((7, 7)).astype(np.float32), 0, 1)
    frames = [make() for make in insertion_deletion(FRAME, heat, 8).copies()]
    assert len(frames) == 18
    assert np.array_equal(frames[8], FRAME)
    assert np.array_equal(frames[9], FRAME)
    assert len(np.unique(frames[17].reshape(-1, 3), axis=0)) == 1
    changed = [int((frame != FRAME).any(axis=2).sum()) for frame in frames[:9]]
    assert changed == sorted(changed, reverse=True)


def test_the_scores_are_the_areas_under_the_curves() -> None:
    scores = curve_scores([0, 0.5, 1, 1, 0, 0])
    assert scores == {
        "insertion": 0.5,
        "deletion": 0.25,
        "steps": 2,
        "insertion_curve": [0.0, 0.5, 1.0],
        "deletion_curve": [1.0, 0.0, 0.0],
    }
