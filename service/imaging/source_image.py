"""What a head may look at besides the network's outputs: the image itself, and where the frame lay on it."""

from dataclasses import dataclass

from PIL import Image

from service.imaging.decode import Limits, open_image, orientation, read_pixels
from service.imaging.geometry import Geometry


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image that went through a network; its pixels are decoded again only by those who draw on them.

    A frame of a clip is decoded and upright already: its `body` is the image itself.
    """

    body: bytes | Image.Image
    geometry: Geometry
    limits: Limits

    def displayed(self) -> Image.Image:
        """Return the whole image as displayed, mode RGB, at its own size."""
        if isinstance(self.body, Image.Image):
            return self.body
        image = open_image(self.body, self.limits)
        turn = orientation(image)
        pixels = read_pixels(image)
        upright = pixels.transpose(turn) if turn is not None else pixels
        return upright.convert("RGB")
