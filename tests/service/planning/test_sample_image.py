from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from service.errors import ConfigurationError
from service.planning.sample_image import sample_image


@pytest.mark.parametrize(
    ("wanted", "size"), [("64x48", (64, 48)), ("48×64", (48, 64)), ("1X1", (1, 1))]
)
def test_a_size_becomes_a_photograph(wanted: str, size: tuple[int, int]) -> None:
    image = Image.open(BytesIO(sample_image(wanted).content))
    assert (image.format, image.size) == ("JPEG", size)


def test_a_size_gives_the_same_bytes_again() -> None:
    assert sample_image("1800x1200").content == sample_image("1800x1200").content


def test_an_enlarged_photograph_has_grain() -> None:
    assert len(sample_image("3000x2000").content) > 1_000_000


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "own.png").write_bytes(b"any")
    assert sample_image(str(tmp_path / "own.png")).content == b"any"


@pytest.mark.parametrize(
    "wanted", ["0x10", "10x0", "16385x1", "9000x9000", "640", "none.jpg", ".", "", "-1x5", "a\0b"]
)
def test_what_is_no_image_is_refused(wanted: str) -> None:
    with pytest.raises(ConfigurationError, match="image"):
        sample_image(wanted)
