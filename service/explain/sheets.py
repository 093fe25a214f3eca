"""Tiles that the sheets of several views share."""

from service.explain.stage_maps import ChannelMap
from service.imaging.colormap import colored
from service.imaging.sheet import Tile

MAPS_A_ROW = 8


def map_tile(one: ChannelMap) -> Tile:
    """Return a channel's map in heat colors, captioned with the channel's number and maximum."""
    return Tile(colored(one.levels), f"{one.channel}   max {one.top:.3g}")
