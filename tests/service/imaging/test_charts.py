import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.imaging.charts import LINE, Curve, draw_bars, draw_curve


def near(image: Image.Image, color: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Return where an image has about this color, bool (height, width)."""
    difference = np.abs(np.asarray(image).astype(int) - color).max(axis=2)
    close: NDArray[np.bool_] = difference < 24
    return close


def curve(shares: list[float], *, full: bool = True, reference: float = 0.5) -> Curve:
    return Curve([f"{n}" for n in range(len(shares))], shares, [full] * len(shares), reference)


def test_a_curve_has_the_size_that_is_requested() -> None:
    assert draw_curve(curve([0.1, 0.9]), width=400, height=200).size == (400, 200)


@pytest.mark.parametrize(("share", "row"), [(0.0, 266), (0.5, 138), (1.0, 10)])
def test_a_point_stands_as_high_as_its_share(share: float, row: int) -> None:
    rows, _ = np.nonzero(near(draw_curve(curve([share], reference=0.25)), LINE))
    assert rows.mean() == pytest.approx(row, abs=1)


def test_points_stand_in_the_middle_of_even_parts() -> None:
    image = draw_curve(curve([0.0, 1.0], reference=0.5))
    marked = near(image, LINE)
    _, low = np.nonzero(marked[260:272])
    _, high = np.nonzero(marked[4:16])
    part = (560 - 14 - 46) / 2
    assert (low.min() + low.max()) / 2 == pytest.approx(46 + part / 2, abs=2)
    assert (high.min() + high.max()) / 2 == pytest.approx(46 + part * 1.5, abs=2)


def test_a_point_that_is_not_full_is_a_ring() -> None:
    def middle(*, full: bool) -> tuple[int, ...]:
        color = draw_curve(curve([0.5], full=full, reference=0.1)).getpixel((296, 138))
        assert isinstance(color, tuple)
        return tuple(round(channel) for channel in color)

    assert middle(full=True) == pytest.approx(LINE, abs=8)
    assert middle(full=False) == pytest.approx((255, 255, 255), abs=8)


def test_the_reference_is_a_dashed_line_at_its_share() -> None:
    gray = np.asarray(draw_curve(curve([0.9], reference=0.4)).convert("L"))
    dashes = (gray[162:166] < 215).any(axis=0) & (np.arange(560) >= 46)
    starts = np.flatnonzero(np.diff(dashes.astype(int)) == 1)
    assert len(starts) == pytest.approx((560 - 14 - 46) / 12, abs=1)


def test_a_bar_is_as_long_as_its_share_and_never_nothing() -> None:
    bars = near(draw_bars(["a", "b", "c"], [0.0, 0.5, 1.0]), LINE)
    lengths = [int(bars[middle].sum()) for middle in (17, 51, 85)]
    assert lengths == pytest.approx([2, 422, 844], abs=2)


def test_bars_stand_in_order_with_a_line_a_name() -> None:
    image = draw_bars(["a", "b", "c", "d"], [0.1, 0.2, 0.3, 0.4], width=800)
    assert image.size == (800, 4 * 34)


def test_every_bar_needs_its_name() -> None:
    with pytest.raises(ValueError, match="zip"):
        draw_bars(["a"], [0.1, 0.2])
