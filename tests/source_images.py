"""Views for heads that are tested without a network."""

from service.card import ImageInput
from service.imaging.decode import Limits
from service.imaging.geometry import plan
from service.imaging.source_image import SourceImage
from tests.images import plain

STRETCH = ImageInput(height=100, width=100, resize="stretch")


def source_of(width: int, height: int, target: ImageInput = STRETCH) -> SourceImage:
    """Return the view of a plain gray image of this size."""
    return SourceImage(plain("gray", (width, height)), plan(width, height, target), Limits())
