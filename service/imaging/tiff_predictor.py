"""Rows of bytes that a TIFF's predictor made of samples → the samples, where libtiff can not undo it.

libtiff undoes it for samples that are words of their own. Where a sample is two words, or lies beside others, the rows
are read as bytes and restored here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HORIZONTAL, FLOATING_POINT = 2, 3
"""The predictors (TIFF 6.0, section 14; TIFF Technical Note 3)."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """How a row of strips or tiles was made: each `columns` pixels of `per_pixel` samples on their own."""

    predictor: int
    columns: int
    per_pixel: int
    is_big_endian: bool


def restored(rows: NDArray[np.uint8], kind: str, made: Prediction) -> NDArray[Any]:
    """Return the samples of rows of bytes, with those of the padding of the last tile.

    Args:
        rows: uint8 (rows, bytes).
        kind: the NumPy type of a sample.
        made: how the bytes were made.

    Returns:
        (rows, samples), of the type of the sample in the byte order of this machine.
    """
    wanted = np.dtype(kind)
    size, count = wanted.itemsize, made.columns * made.per_pixel
    rows = np.ascontiguousarray(rows)
    if made.predictor == FLOATING_POINT:
        # Differences of bytes; then all first bytes of the samples, which are the highest, all second ones and so on.
        differences = rows.reshape(len(rows), -1, size * made.columns, made.per_pixel)
        planes = np.add.accumulate(differences, axis=2, dtype=np.uint8)
        together = planes.reshape(len(rows), -1, size, count).swapaxes(2, 3)
        found = np.ascontiguousarray(together).view(wanted.newbyteorder(">"))
        return found.reshape(len(rows), -1).astype(wanted)
    stored = np.dtype(f"{'>' if made.is_big_endian else '<'}u{size}")
    words = rows.view(stored).astype(stored.newbyteorder("="))
    differences = words.reshape(len(rows), -1, made.columns, made.per_pixel)
    sums = np.add.accumulate(differences, axis=2, dtype=differences.dtype)
    return sums.reshape(len(rows), -1).view(wanted)
