"""What a task makes of a clip: each frame's own answer, and what only their order tells."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from numpy.typing import NDArray
from PIL import Image

from service.imaging.source_image import SourceImage

Outputs = Mapping[str, NDArray[Any]]
Seen = TypeVar("Seen")


@runtime_checkable
class Drawing(Protocol):
    """Draws a frame's answer on the frame, on any thread."""

    def draw(self, outputs: Outputs, source: SourceImage) -> Image.Image: ...


class OverTime(Protocol[Seen]):
    """One clip's answers. `look` is for any thread, the others go frame by frame in order."""

    def look(self, outputs: Outputs, source: SourceImage) -> Seen:
        """Return what must be kept of a frame's outputs."""

    def add(self, seconds: float, seen: Seen) -> dict[str, Any]:
        """Return the frame's answer, in JSON's terms."""

    def summary(self) -> dict[str, Any]:
        """Return what the frames say together, in JSON's terms."""
