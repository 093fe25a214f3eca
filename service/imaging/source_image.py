"""The image that a head may use besides the network's outputs, and where the network's frame lies on it."""

from PIL import Image

from service.imaging.decode import Limits, open_image, orientation, read_pixels
from service.imaging.geometry import Geometry
from service.value import value


@value
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
        pixels, turn = self._stored(self.body)
        upright = pixels.transpose(turn) if turn is not None else pixels
        return upright if upright.mode == "RGB" else upright.convert("RGB")

    def drawable(self) -> Image.Image:
        """Return the image as `displayed` does; the caller may draw on it."""
        shown = self.displayed()
        return shown.copy() if shown is self.body else shown

    def _stored(self, body: bytes) -> tuple[Image.Image, Image.Transpose | None]:
        """Return the stored pixels and how they are turned; what the reader holds besides is given up."""
        image = open_image(body, self.limits)
        return read_pixels(image), orientation(image)
