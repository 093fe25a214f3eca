import numpy as np
import pytest

from service.imaging.blocks import BLOCK_PIXELS, blocks, overlap


@pytest.mark.parametrize(
    "size", [(1, 1), (5000, 700), (1, 3_000_000), (3_000_000, 1), (1500, 1500)]
)
def test_blocks_cover_every_pixel_once_and_are_small(size: tuple[int, int]) -> None:
    covered = np.zeros(size[::-1], np.uint8)
    for left, top, right, bottom in blocks(*size):
        covered[top:bottom, left:right] += 1
        assert (right - left) * (bottom - top) <= BLOCK_PIXELS
    assert covered.min() == covered.max() == 1


def test_two_parts_overlap_where_they_share_pixels() -> None:
    assert overlap((0, 0, 4, 4), (2, 1, 9, 3)) == (2, 1, 4, 3)
    assert overlap((0, 0, 4, 4), (4, 0, 8, 4)) is None
    assert overlap((0, 0, 4, 4), (0, 5, 4, 8)) is None
