import numpy as np

from service.card import ImageInput
from service.explain.heat_map import Heat, positive_heat, relative_heat
from service.imaging.geometry import plan

STRETCH = ImageInput(height=100, width=100, resize="stretch")
LETTERBOX = ImageInput(height=100, width=100, resize="letterbox")


def test_a_peak_on_the_padding_does_not_count() -> None:
    values = np.zeros((10, 10), np.float32)
    values[0, 3], values[5, 7] = 9, 1
    peak = Heat(values, 0, 9).peak(plan(400, 200, LETTERBOX))
    assert peak == {"x": 300.0, "y": 120.0, "value": 1.0}


def test_negative_values_of_a_positive_heat_are_cold() -> None:
    heat = positive_heat(np.array([[-4, 0, 2]], np.float32))
    assert (heat.low, heat.high) == (0, 2)
    assert heat.levels.tolist() == [[0, 0, 255]]


def test_a_positive_heat_without_positive_values_is_drawn_from_its_least() -> None:
    heat = positive_heat(np.array([[-4, -1]], np.float32))
    assert heat.levels.tolist() == [[0, 255]]


def test_a_relative_heat_is_drawn_from_its_least_to_its_greatest() -> None:
    assert relative_heat(np.array([[3, 4, 5]], np.float32)).levels.tolist() == [[0, 128, 255]]


def test_a_heat_is_enlarged_to_the_image() -> None:
    heat = relative_heat(np.array([[0, 0], [0, 1]], np.float32))
    levels = heat.on_image(plan(40, 20, STRETCH))
    assert levels.shape == (20, 40)
    assert levels[-1, -1] > 250
    assert levels[0, 0] < 30


def test_padding_is_cut_off_where_a_heat_is_enlarged() -> None:
    values = np.zeros((10, 10), np.float32)
    values[:1] = 1
    levels = Heat(values, 0, 1).on_image(plan(400, 200, LETTERBOX))
    assert levels.shape == (200, 400)
    assert levels.max() < 10


def test_the_json_has_rows_and_their_place_on_the_image() -> None:
    figures = Heat(np.array([[1, 2.00004]], np.float32), 0, 2).figures((0, 0, 30, 20))
    assert figures == {
        "height": 1,
        "width": 2,
        "values": [[1.0, 2.0]],
        "low": 0.0,
        "high": 2.0,
        "box": {"x_min": 0.0, "y_min": 0.0, "x_max": 30.0, "y_max": 20.0},
    }
