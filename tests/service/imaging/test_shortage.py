"""A shortage of memory is no fault of the file, whatever its decoder says."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from service.errors import BrokenImageError
from service.imaging.decode import Limits, open_image, read_pixels
from service.imaging.shortage import BYTES_PER_PIXEL, LEAST_BYTES, require_memory

PROGRAM = """
import re, resource, sys
from pathlib import Path
from PIL import Image
from service.imaging.decode import Limits, open_image, read_pixels

Image.init()
limits = Limits(max_pixels=64_000_000)
image = Path(sys.argv[1]).read_bytes()
read_pixels(open_image(Path(sys.argv[2]).read_bytes(), limits))  # loads what a decoder loads once
opened = open_image(image, limits) if sys.argv[3] == "pixels" else None
size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + 32 * 2**20, resource.RLIM_INFINITY))
try:
    read_pixels(opened or open_image(image, limits))
except MemoryError:
    print("no memory")
"""


def encoded(size: tuple[int, int], form: str) -> bytes:
    file = BytesIO()
    options = {"lossless": True, "method": 0} if form == "WEBP" else {"speed": 10}
    Image.linear_gradient("L").resize(size).convert("RGB").save(file, form, **options)
    return file.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory and /proc need Linux")
@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
@pytest.mark.parametrize("stage", ["header", "pixels"])
def test_an_image_without_memory_for_it_is_not_called_damaged(
    tmp_path: Path, form: str, stage: str
) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(encoded((4000, 3000), form))
    small.write_bytes(encoded((64, 64), form))
    command = [sys.executable, "-c", PROGRAM, str(large), str(small), stage]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.stdout == "no memory\n", ended.stderr


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
def test_a_damaged_one_is(form: str) -> None:
    whole = encoded((300, 200), form)
    with pytest.raises(BrokenImageError):
        read_pixels(open_image(whole[: len(whole) // 2], Limits(max_pixels=64_000_000)))


def test_so_much_is_asked_for_as_a_decoder_needs() -> None:
    asked: list[int] = []
    require_memory(1000, asked.append)
    assert asked == [LEAST_BYTES + 1000 * BYTES_PER_PIXEL]
