"""The image that a head may use besides the network's outputs, and where the network's frame lies on it."""

from dataclasses import dataclass

from PIL import Image

from service.imaging.decode import Limits, open_image, orientation, read_pixels
from service.imaging.geometry import Geometry


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image that went through a network. Its pixels are decoded again only when a head draws on them.

    `body` is the encoded image; for a frame of a video, which is decoded and upright already, it is the image itself.
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
