"""Clips to train motion on: digits, or pieces of photographs, that move over real photographs in one of nine ways.

No single frame shows the way. At a random moment, position, size and angle have the same distribution for every way: an
object that does not move along an axis rests at a position drawn from those that moving objects pass.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from exporter.training.compositions import STROKE, Material, any_of, part_of

LABELS = (
    "left",
    "right",
    "up",
    "down",
    "clockwise",
    "counter-clockwise",
    "growing",
    "shrinking",
    "still",
)
BACKWARDS = (1, 0, 3, 2, 5, 4, 7, 6, 8)
"""The way of each clip when its frames are reversed, as indices of LABELS."""

SIDE = 64
FRAMES = 12

SHIFT = (0.3, 0.55)
"""The distance that an object moves over a clip, as a share of the image's side."""
TURN = (120.0, 300.0)
"""The angle that it turns, in degrees."""
GROWTH = (1.7, 2.6)
"""The factor by which it grows."""
SIZE = (0.45, 0.7)
"""The side of its square at the reference moment, as a share of the image's side."""
CENTER = 0.1
"""The largest offset of its position from the image's center at that moment, as a share of the image's side."""
NOISE = 5.0
"""The largest standard deviation of a frame's noise; white is 255."""
CONTRAST = 50.0
"""The mean color of an object must differ by at least this from its background's in some channel; white is 255."""
LEAST_INK = 700
"""The smallest number of opaque pixels of an object."""

_PATCH = 96
_OPAQUE = 128


@dataclass(frozen=True, slots=True)
class Moving:
    """One clip, uint8 (FRAMES, SIDE, SIDE, 3) RGB, and its way of moving, an index of LABELS."""

    frames: NDArray[np.uint8]
    way: int


def move(material: Material, rng: Generator, way: int) -> Moving:
    """Return a clip of an object that moves in one way over a photograph."""
    while True:
        background = part_of(any_of(material.photographs, rng), rng, (SIDE, SIDE))
        object_ = _written(material, rng) if rng.random() < 0.5 else _cut(material, rng)
        if _is_visible(object_, background):
            break
    left, top, side, angle = _course(rng, LABELS[way])
    patch, ground = Image.fromarray(object_), Image.fromarray(background.round().astype(np.uint8))
    noise = rng.uniform(0, NOISE)
    frames = np.empty((FRAMES, SIDE, SIDE, 3), np.uint8)
    for number in range(FRAMES):
        image = ground.copy()
        placed = _placed(patch, left[number], top[number], side[number], angle[number])
        image.paste(placed, mask=placed.getchannel("A"))
        grain = rng.standard_normal((SIDE, SIDE, 3), np.float32) * np.float32(noise)
        frames[number] = np.clip(np.asarray(image, np.float32) + grain, 0, 255)
    return Moving(frames, way)


def _course(rng: Generator, way: str) -> tuple[NDArray[np.float64], ...]:
    """Return center x, center y and side in pixels, and angle in degrees clockwise; each float64 (FRAMES,)."""
    moment = np.linspace(0, 1, FRAMES) - rng.uniform()

    def along(direction: int) -> NDArray[np.float64]:
        """Return a position that changes with time along the way's own axis, and a constant random one along others."""
        return direction * moment if direction else np.full(FRAMES, rng.uniform() - rng.uniform())

    shift = rng.uniform(*SHIFT) * SIDE
    center = SIDE / 2 + rng.uniform(-CENTER, CENTER, 2) * SIDE
    x = center[0] + shift * along({"left": -1, "right": 1}.get(way, 0))
    y = center[1] + shift * along({"up": -1, "down": 1}.get(way, 0))
    spread = along({"growing": 1, "shrinking": -1}.get(way, 0))
    side = rng.uniform(*SIZE) * SIDE * np.exp(np.log(rng.uniform(*GROWTH)) * spread)
    turning = {"clockwise": 1, "counter-clockwise": -1}.get(way, 0)
    angle = rng.uniform(0, 360) + rng.uniform(*TURN) * turning * moment
    return x, y, side, angle


def _placed(patch: Image.Image, x: float, y: float, side: float, angle: float) -> Image.Image:
    """Return the patch, RGBA, rotated clockwise about its center, at its position on an empty image."""
    scale, turn = _PATCH / side, np.deg2rad(angle)
    cos, sin = float(np.cos(turn) * scale), float(np.sin(turn) * scale)
    half = _PATCH / 2
    onto_patch = (cos, sin, half - cos * x - sin * y, -sin, cos, half + sin * x - cos * y)
    return patch.transform(
        (SIDE, SIDE), Image.Transform.AFFINE, onto_patch, Image.Resampling.BILINEAR
    )


def _written(material: Material, rng: Generator) -> NDArray[np.uint8]:
    """Return a digit in one color, uint8 (_PATCH, _PATCH, 4) RGBA."""
    digit = Image.fromarray(material.digits[rng.integers(len(material.digits))])
    gray = np.asarray(digit.resize((_PATCH, _PATCH), Image.Resampling.BICUBIC), np.float32) / 255
    ink = np.clip((gray - STROKE[0]) / (STROKE[1] - STROKE[0]), 0, 1) * 255
    low, high = [(0, 70), (185, 255), (0, 255)][rng.integers(3)]
    color = np.broadcast_to(rng.uniform(low, high, 3), (_PATCH, _PATCH, 3))
    return np.dstack([color, ink]).round().astype(np.uint8)


def _cut(material: Material, rng: Generator) -> NDArray[np.uint8]:
    """Return a piece of a photograph, an ellipse or a polygon, uint8 (_PATCH, _PATCH, 4) RGBA."""
    pixels = part_of(any_of(material.photographs, rng), rng, (_PATCH, _PATCH))
    shape = Image.new("L", (_PATCH, _PATCH))
    pencil = ImageDraw.Draw(shape)
    if rng.random() < 0.4:
        half = rng.uniform(0.15, 0.35) * _PATCH
        pencil.ellipse((0, _PATCH / 2 - half, _PATCH - 1, _PATCH / 2 + half), fill=255)
    else:
        corners = rng.uniform(0, _PATCH, (rng.integers(3, 7), 2))
        pencil.polygon([(x, y) for x, y in corners.tolist()], fill=255)
    return np.dstack([pixels, np.asarray(shape)]).round().astype(np.uint8)


def _is_visible(patch: NDArray[np.uint8], background: NDArray[np.float32]) -> bool:
    """Return whether an object is large enough and its color differs enough from the background's."""
    inked = patch[..., 3] > _OPAQUE
    if inked.sum() < LEAST_INK:
        return False
    difference = patch[..., :3][inked].mean(axis=0) - background.mean(axis=(0, 1))
    return bool(np.abs(difference).max() >= CONTRAST)
