"""What the sheets of several views share: tiles, and the image at a size that a sheet can show."""

from PIL import Image

from service.explain.stage_maps import ChannelMap
from service.imaging.colormap import colored
from service.imaging.geometry import Geometry
from service.imaging.sheet import WIDTH, Size, Tile, scale_image
from service.imaging.source_image import SourceImage

MAPS_A_ROW = 8
SHOWN_SIDE = WIDTH
"""Pixels of the longer side of an image that a sheet shows: no tile is larger."""


def map_tile(one: ChannelMap) -> Tile:
    """Return a channel's map in heat colors, captioned with the channel's number and maximum."""
    return Tile(colored(one.levels), f"{one.channel}   max {one.top:.3g}")


def shown_source(source: SourceImage) -> SourceImage:
    """Return the image reduced to what a sheet can show, before anything is drawn on it; a small one stays as it is."""
    geometry = shown_geometry(source.geometry)
    image = source.displayed()
    if image.size != (geometry.width, geometry.height):
        image = scale_image(image, (geometry.width, geometry.height), smooth=True)
    return SourceImage(image, geometry, source.limits)


def shown_geometry(geometry: Geometry) -> Geometry:
    """Return where the frame lies on the image reduced to what a sheet can show."""
    factor = min(1.0, SHOWN_SIDE / max(geometry.width, geometry.height))
    if factor == 1.0:
        return geometry
    return resized_geometry(
        geometry,
        (max(1, round(geometry.width * factor)), max(1, round(geometry.height * factor))),
    )


def resized_geometry(geometry: Geometry, size: Size) -> Geometry:
    """Return where the frame lies on the image resized to this width and height."""
    left, top, right, bottom = geometry.region
    across, down = size[0] / geometry.width, size[1] / geometry.height
    region = (left * across, top * down, right * across, bottom * down)
    return Geometry(*size, region, geometry.content)


def on_white(image: Image.Image, size: Size) -> Image.Image:
    """Return a small image in the middle of white paper of this size, mode RGB."""
    paper = Image.new("RGB", size, "white")
    paper.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return paper
