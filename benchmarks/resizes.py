"""The cost of the resize by SIMD instructions beside Pillow's, by CPU time, each by turns; and what differs."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image

from benchmarks.images import IMAGES
from benchmarks.statistics import Spread, spread
from service.card import ImageInput
from service.imaging.geometry import plan
from service.imaging.resampling import KERNELS, by_pillow, resample

SIDE = 224
TURN_SECONDS = 0.1
LONG_SIDE = 8000
"""A frame of this side takes so long that a thread that waits for the interpreter's lock is seen."""
STORED = {"640×480 JPEG": 1, "4000×3000 JPEG": 4, "28² PNG": 1}
"""The images, and the reduction at which the service decodes each for a frame of 224²."""


@dataclass(frozen=True, slots=True)
class ResizeCost:
    """What an image's resize costs.

    `simd_ms` and `pillow_ms` are CPU time; `ratio` is the first divided by the second. `largest` is the largest
    difference between the two frames, of 255, and `share` how many of the values differ.
    """

    title: str
    simd_ms: float
    pillow_ms: float
    ratio: Spread
    largest: int
    share: float


def run_resizes(rounds: int) -> Iterator[ResizeCost]:
    """Yield what each interpolation costs for each image."""
    for image, reduction in STORED.items():
        with Image.open(BytesIO(IMAGES[image]())) as file:
            file.draft(None, (file.width // reduction, file.height // reduction))
            file.load()
            pixels = file.copy()
        target = ImageInput(height=SIDE, width=SIDE, resize="crop", shorter_side=SIDE * 8 // 7)
        box = plan(*pixels.size, target).region
        for interpolation in KERNELS:
            simd = partial(resample, pixels, (SIDE, SIDE), interpolation, box)
            pillow = partial(by_pillow, pixels, (SIDE, SIDE), interpolation, box)
            yield _cost(f"{image}, {interpolation}", simd, pillow, rounds)


def _cost(
    title: str, simd: Callable[[], Image.Image], pillow: Callable[[], Image.Image], rounds: int
) -> ResizeCost:
    turns = [(_cpu_ms(simd), _cpu_ms(pillow)) for _ in range(rounds * 5)]
    found = np.abs(np.asarray(simd()).astype(int) - np.asarray(pillow()))
    return ResizeCost(
        title=title,
        simd_ms=spread([turn[0] for turn in turns]).median,
        pillow_ms=spread([turn[1] for turn in turns]).median,
        ratio=spread([turn[0] / turn[1] for turn in turns]),
        largest=int(found.max()),
        share=float((found > 0).mean()),
    )


def _cpu_ms(call: Callable[[], object]) -> float:
    """Return this thread's CPU time of one call: other work on the machine hardly changes it."""
    calls, begin = 0, time.thread_time()
    while time.thread_time() - begin < TURN_SECONDS:
        for _ in range(10):
            call()
        calls += 10
    return (time.thread_time() - begin) * 1e3 / calls


def longest_wait() -> float:
    """Return for how much of one long resize another thread could not run Python, as a share of its time.

    It is near 1 where the resize keeps the interpreter's lock, and near 0 where it lets go of it and a core is free.
    """
    image = Image.effect_noise((640, 480), 64).convert("RGB")
    box = (0.0, 0.0, 640.0, 480.0)
    long = threading.Thread(target=resample, args=(image, (LONG_SIDE, LONG_SIDE), "lanczos", box))
    begin = last = time.perf_counter()
    long.start()
    longest = 0.0
    while long.is_alive():
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest / (time.perf_counter() - begin)
