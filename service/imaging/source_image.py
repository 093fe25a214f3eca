"""The image that a head may use besides the network's outputs, and where the network's frame lies on it."""

from collections.abc import Callable
from dataclasses import field

from PIL import Image

from service.imaging.deadline import GoOn, without_end
from service.imaging.decode import Limits, open_image, orientation, read_pixels
from service.imaging.geometry import Geometry
from service.value import value


def displayed_image(body: bytes, limits: Limits, go_on: GoOn = without_end) -> Image.Image:
    """Return a whole encoded image as displayed, mode RGB, at its own size; `go_on` is called between its parts.

    Raises:
        ImageError: it can not be read; see `decode`.
    """
    return upright(*_stored(body, limits, go_on))


def upright(pixels: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """Return stored pixels as displayed, mode RGB."""
    turned = pixels.transpose(turn) if turn is not None else pixels
    return turned if turned.mode == "RGB" else turned.convert("RGB")


def _stored(body: bytes, limits: Limits, go_on: GoOn) -> tuple[Image.Image, Image.Transpose | None]:
    """Return the stored pixels and how they are turned; what the reader holds besides is given up."""
    image = open_image(body, limits, go_on)
    return read_pixels(image, go_on), orientation(image)


@value
class SourceImage:
    """An image that went through a network. Its pixels are decoded again only when a head draws on them.

    `body` is the encoded image; for a frame of a video, which is decoded and upright already, it is the image itself.
    `decode` makes of an encoded image what `displayed_image` does. `pixels` is what it would make, where a head was
    known to draw and the image is small: then it is decoded once. `held` is for how many pixels it takes memory while
    it is decoded, where these are more than its own.
    """

    body: bytes | Image.Image = field(repr=False)
    geometry: Geometry
    limits: Limits
    decode: Callable[[bytes, Limits], Image.Image] = displayed_image
    pixels: Image.Image | None = field(default=None, repr=False)
    held: int = 0

    @property
    def held_pixels(self) -> int:
        """For how many pixels it takes memory while it is decoded."""
        return max(self.held, self.geometry.width * self.geometry.height)

    def displayed(self) -> Image.Image:
        """Return the whole image as displayed, mode RGB, at its own size."""
        if isinstance(self.body, Image.Image):
            return self.body
        if self.pixels is not None:
            return self.pixels
        return self.decode(self.body, self.limits)

    def drawable(self) -> Image.Image:
        """Return the image as `displayed` does; the caller may draw on it."""
        shown = self.displayed()
        return shown.copy() if shown is self.body or shown is self.pixels else shown
