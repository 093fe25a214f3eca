"""The frames that variants are compared on: read from the file beside them, or made where there is none."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.card import REFERENCE_FILE, ImageInput
from service.errors import ServableError

MOST_FRAMES = 64
MADE = 8
"""Frames of noise show whether two kernels compute the same in fp32; they say nothing about a lower precision."""

Frames = NDArray[np.uint8]


def read_reference(folder: Path, image_input: ImageInput, sha256: str) -> Frames:
    """Return at most 64 of the reference frames beside a servable, uint8 (N, H, W, 3).

    The file is mapped, so that nothing is allocated for what its header promises.

    Args:
        folder: of the version.
        image_input: what the network reads.
        sha256: the digest of the file.

    Raises:
        ServableError: it is missing, is not the file of that digest, or its frames are no input of the network.
    """
    path = folder / REFERENCE_FILE
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ServableError(f"{path} can not be read: {error}") from error
    if found != sha256:
        raise ServableError(
            f"{path} was changed after the export (file {found[:12]}…, card {sha256[:12]}…). Export the variants again."
        )
    shape = (image_input.height, image_input.width, 3)
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.shape[1:] != shape:
        raise ServableError(f"{path} holds no frames of {shape}, uint8. Export the variants again.")
    if not len(frames):
        raise ServableError(f"{path} holds no frame. Export the variants again.")
    return np.array(frames[:MOST_FRAMES])


def made_frames(image_input: ImageInput) -> Frames:
    """Return frames of noise, each in blocks of another size, uint8 (N, H, W, 3)."""
    random = np.random.default_rng(0)
    height, width = image_input.height, image_input.width
    frames = []
    for exponent in range(MADE):
        side = min(1 << exponent, height, width)
        blocks = random.integers(0, 256, (-(-height // side), -(-width // side), 3), np.uint8)
        frames.append(blocks.repeat(side, 0).repeat(side, 1)[:height, :width])
    return np.stack(frames)
