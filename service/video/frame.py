"""A decoded frame → the image as displayed: square pixels, upright, colors by the video's matrix, over white."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, cast

import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from numpy.typing import NDArray
from PIL import Image

from service.errors import BrokenVideoError, TooManyPixelsError
from service.imaging.shortage import require_memory

HD_LINES = 720
"""From so many lines on, a video that does not name its color matrix is read as BT.709; below, as BT.601."""
_UNSPECIFIED_COLORS = 2
HELD_BYTES_PER_PIXEL = 8
"""Up to four bytes of a stored pixel, three of its image, and what the conversion needs meanwhile."""
DRAWN_BYTES_PER_PIXEL = 6
"""Where its result is drawn on it: three of a further image, and those of the mask and of what is written."""


class Orientation(NamedTuple):
    """How stored pixels are turned for display: transposed first, then each axis reversed or not."""

    transposes: bool = False
    reverses_x: bool = False
    reverses_y: bool = False

    @property
    def rotation(self) -> int:
        """The rotation in degrees counter-clockwise; that of a mirrored frame comes after a swap of left and right."""
        if self.transposes:
            return 270 if self.reverses_x else 90
        return 180 if self.reverses_y else 0

    def turn(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a view of pixels of shape (height, width, channels) as displayed."""
        turned = pixels.swapaxes(0, 1) if self.transposes else pixels
        return turned[:: -1 if self.reverses_y else 1, :: -1 if self.reverses_x else 1]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its number in the video, from 0, its time from the video's start in seconds, and its stored pixels."""

    number: int
    seconds: float
    stored: VideoFrame
    aspect: Fraction | None
    """Width divided by height of a stored pixel, None for a square."""
    orientation: Orientation
    max_pixels: int

    @property
    def pixels(self) -> int:
        """How many it stores."""
        return self.stored.width * self.stored.height

    @property
    def held_bytes(self) -> int:
        """About how many bytes the frame and the image made of it take."""
        return HELD_BYTES_PER_PIXEL * self.pixels

    def image(self) -> Image.Image:
        """Return the frame as displayed, mode RGB: square pixels, upright, alpha composited over white.

        The conversion takes milliseconds; call it on a worker thread. It uses the frame's own color matrix and range.

        Raises:
            TooManyPixelsError: the frame is too large; a video may change its size midway.
            BrokenVideoError: its pixels can not be converted.
        """
        stored = self.stored
        width = square_width(stored.width, self.aspect)
        check_pixels(width, stored.height, self.max_pixels)
        alpha = any(part.is_alpha for part in stored.format.components)
        layout = "rgba" if alpha or stored.format.name == "pal8" else "rgb24"
        matrix = _assumed_matrix(stored)
        try:
            pixels = stored.to_ndarray(
                format=layout, width=width, height=stored.height, src_colorspace=matrix
            )
        except MemoryError:  # FFmpeg's is one of both kinds
            raise
        except (FFmpegError, ValueError) as error:
            raise BrokenVideoError(
                f"The frame's pixels ({stored.format.name}) can not be converted to RGB: the video is damaged, or its "
                "pixel format is not read. Encode it as yuv420p."
            ) from error
        turned = self.orientation.turn(np.asarray(pixels, np.uint8))
        image = Image.fromarray(np.ascontiguousarray(turned))
        return over_white(image)


def over_white(image: Image.Image) -> Image.Image:
    """Return an image of mode RGB, or RGBA composited over white."""
    if image.mode == "RGB":
        return image
    paper = Image.new("RGB", image.size, (255, 255, 255))
    paper.paste(image, mask=image.getchannel("A"))
    return paper


def _assumed_matrix(stored: VideoFrame) -> int | None:
    """Return the color matrix of a frame that does not name its own, None where FFmpeg's choice is right."""
    if stored.colorspace != _UNSPECIFIED_COLORS or stored.format.is_rgb:
        return None
    return int(Colorspace.ITU709) if stored.height >= HD_LINES else None


def orientation(stored: VideoFrame) -> Orientation:
    """Return how a frame is displayed by its display matrix (ISO/IEC 14496-12, section 6.2.2), to a quarter turn."""
    # PyAV keeps a frame whose side data was read until the next garbage collection, so a tiny one is read.
    try:
        tiny = stored.reformat(width=16, height=16, format="gray", interpolation="POINT")
    except (FFmpegError, ValueError):
        require_memory()
        return Orientation()  # a side of a million pixels, which no file with a matrix has
    # PyAV's stub names the wrong type.
    data = cast("SideDataContainer", tiny.side_data).get(SideDataType.DISPLAYMATRIX)
    if data is None:
        return Orientation()
    # A stored point (x, y) is displayed at (a·x + c·y, b·x + d·y), y downward.
    a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(reverses_x=a < 0, reverses_y=d < 0)
    return Orientation(transposes=True, reverses_x=c < 0, reverses_y=b < 0)


def square_width(width: int, aspect: Fraction | None) -> int:
    """Return the width in square pixels."""
    return max(1, round(width * aspect)) if aspect else width


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse frames that are too large.

    Raises:
        TooManyPixelsError: width times height is over the limit.
    """
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"Frames of {width}×{height} pixels are more than the {max_pixels / 1e6:g} million allowed. "
            "Send the video in a smaller size."
        )
