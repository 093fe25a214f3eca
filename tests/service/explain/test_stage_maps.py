import numpy as np

from service.card import Stage
from service.explain.stage_maps import stage_maps

STAGE = Stage(name="stage_2", tensor="inner", channels=3, stride=8)
MAPS = np.zeros((3, 2, 2), np.float32)
MAPS[0] = 100
MAPS[1, 0, 0] = 4
MAPS[2, 1] = (-2, 6)


def test_the_strongest_channels_vary_most_from_place_to_place() -> None:
    (stage,) = stage_maps({"inner": MAPS}, [STAGE], count=2)
    assert [one.channel for one in stage.maps] == [2, 1]
    assert (stage.height, stage.width) == (2, 2)


def test_a_channel_that_is_named_is_the_only_one() -> None:
    (stage,) = stage_maps({"inner": MAPS}, [STAGE], count=2, channel=0)
    (one,) = stage.maps
    assert one.figures() == {"channel": 0, "mean": 100.0, "max": 100.0, "deviation": 0.0}


def test_maps_are_drawn_cold_from_zero_or_from_what_lies_below() -> None:
    (stage,) = stage_maps({"inner": MAPS}, [STAGE], count=3)
    assert [one.low for one in stage.maps] == [-2, 0, 0]
    assert stage.maps[0].levels.max() == 255
    assert stage.maps[0].levels.min() == 0


def test_what_is_not_a_number_counts_as_zero() -> None:
    (stage,) = stage_maps({"inner": np.full((3, 2, 2), np.nan, np.float16)}, [STAGE], count=1)
    assert stage.maps[0].mean == 0


def test_a_stage_is_described_with_its_channels() -> None:
    (stage,) = stage_maps({"inner": MAPS}, [STAGE], count=1)
    assert stage.caption == "3 channels of 2 by 2, a place every 8 pixels"
    figures = stage.figures([stage.maps[0].figures()])
    assert list(figures) == ["name", "channels", "height", "width", "stride", "maps"]
    assert figures["maps"][0]["channel"] == 2
