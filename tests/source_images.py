"""Views for heads that are tested without a network."""

from service.card import PictureInput
from service.imaging.decode import Limits
from service.imaging.geometry import plan
from service.imaging.source_image import View
from tests.images import plain

STRETCH = PictureInput(height=100, width=100, resize="stretch")


def view_of(width: int, height: int, target: PictureInput = STRETCH) -> View:
    """Return the view of a plain grey picture of this size."""
    return View(plain("grey", (width, height)), plan(width, height, target), Limits())
