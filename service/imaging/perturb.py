"""Perturbations of a frame in steps: rotation, scale, blur, JPEG, shuffled patches; and a thing's silhouette."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Frame = NDArray[np.uint8]
Perturbation = Literal["rotation", "scale", "blur", "jpeg", "shuffle"]


@dataclass(frozen=True, slots=True)
class Ladder:
    """The steps of a perturbation; `unchanged` is the amount that leaves the frame as it is, None where none does."""

    unit: str
    amounts: tuple[float, ...]
    unchanged: float | None
    apply: Callable[[Frame, float, int], Frame]
    """(uint8 (H, W, 3), amount, seed) → the same shape."""


def rotate(frame: Frame, degrees: float, _: int) -> Frame:
    """Rotate counter-clockwise about the center; the corners get the frame's mean color."""
    turned = Image.fromarray(frame).rotate(
        degrees, Image.Resampling.BICUBIC, fillcolor=_mean_color(frame)
    )
    return np.asarray(turned)


def scale(frame: Frame, factor: float, _: int) -> Frame:
    """Shrink, with the frame's mean color around, or enlarge and keep the center."""
    height, width = frame.shape[:2]
    image = Image.fromarray(frame)
    if factor >= 1:
        rim_x, rim_y = width * (1 - 1 / factor) / 2, height * (1 - 1 / factor) / 2
        box = (rim_x, rim_y, width - rim_x, height - rim_y)
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box=box))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    paper = Image.new("RGB", (width, height), _mean_color(frame))
    corner = ((width - size[0]) // 2, (height - size[1]) // 2)
    paper.paste(image.resize(size, Image.Resampling.BICUBIC), corner)
    return np.asarray(paper)


def blur(frame: Frame, sigma: float, _: int) -> Frame:
    """Blur with a Gaussian whose standard deviation is `sigma` pixels."""
    return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(sigma)))


def compress(frame: Frame, quality: float, _: int) -> Frame:
    """Encode as JPEG of this quality, 1–100, and decode."""
    stream = BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=int(quality))
    return np.asarray(Image.open(stream))


def shuffle(frame: Frame, side: float, seed: int) -> Frame:
    """Cut into side × side equal patches and move each to another place: this keeps texture and destroys shape.

    The rest of a division, at the right and at the bottom, stays as it is.
    """
    count = int(side)
    height, width = frame.shape[0] // count, frame.shape[1] // count
    if count < 2 or not height or not width:
        return frame
    # One cycle through all patches moves every patch.
    cycle = np.random.default_rng([seed, count]).permutation(count * count)
    order = np.empty_like(cycle)
    order[cycle] = np.roll(cycle, 1)
    inner = frame[: count * height, : count * width]
    patches = inner.reshape(count, height, count, width, 3).swapaxes(1, 2)
    moved = patches.reshape(-1, height, width, 3)[order].reshape(count, count, height, width, 3)
    mixed = frame.copy()
    mixed[: count * height, : count * width] = moved.swapaxes(1, 2).reshape(inner.shape)
    return mixed


LADDERS: dict[Perturbation, Ladder] = {
    "rotation": Ladder(
        "degrees", (-180, -135, -90, -60, -30, -15, 0, 15, 30, 60, 90, 135), 0, rotate
    ),
    "scale": Ladder("factor", (0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4), 1, scale),
    "blur": Ladder("pixels", (0, 1, 2, 3, 4, 6, 8, 12), 0, blur),
    "jpeg": Ladder("quality", (95, 75, 50, 30, 20, 10, 5, 1), None, compress),
    "shuffle": Ladder("patches a side", (1, 2, 3, 4, 6, 8, 14), 1, shuffle),
}


def silhouette(region: NDArray[np.bool_]) -> Image.Image:
    """Return a thing in black on white, mode RGB: this keeps shape and removes texture.

    After Geirhos et al. 2019, arXiv:1811.12231.

    Args:
        region: bool (height, width), where the thing is.
    """
    gray = np.where(region, 0, 255).astype(np.uint8)
    return Image.fromarray(gray).convert("RGB")


def _mean_color(frame: Frame) -> tuple[int, int, int]:
    red, green, blue = np.rint(frame.reshape(-1, 3).mean(axis=0)).astype(int).tolist()
    return red, green, blue
