"""How many pixels the crops of a request may have: each as many as an image, and together as many as all images."""

from service.chains.crop import Region, pixels_of
from service.errors import TooManyPixelsError


class CropPixels:
    """Counts the pixels of the crops of one request, or of one frame of a video; on the event loop.

    Args:
        most: that they may have together.
    """

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def take(self, region: Region, largest: int) -> TooManyPixelsError | None:
        """Count a crop, or return why it is not made; then it counts nothing.

        Args:
            region: what it is of its image.
            largest: how many pixels one may have.
        """
        pixels = pixels_of(region)
        if pixels > largest:
            return TooManyPixelsError(
                f"The crop has {pixels / 1e6:.0f} million pixels, more than the {largest / 1e6:g} million of an image "
                "that are allowed. Send a smaller image."
            )
        if pixels > self._left:
            return TooManyPixelsError(
                f"The crops have more than the {self._most / 1e6:g} million pixels that those of a request may have "
                "together. Send a smaller image, or fewer."
            )
        self._left -= pixels
        return None
