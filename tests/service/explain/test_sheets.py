import numpy as np

from service.explain.sheets import map_tile
from service.explain.stage_maps import ChannelMap


def test_a_map_is_captioned_with_its_channel_and_maximum() -> None:
    values = np.array([[0, 5]], np.float32)
    tile = map_tile(ChannelMap(7, values, 2.5, 5.0, 2.5))
    assert tile.caption == "7   max 5"
    assert tile.image.size == (2, 1)
