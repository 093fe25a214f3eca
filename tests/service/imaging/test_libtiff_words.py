"""Damaged TIFFs in a process of its own, whose stderr is read: libtiff writes to it past Python."""

import subprocess
import sys

import pytest

DECODE = """
import sys
from io import BytesIO
from PIL import Image
from service.imaging.faults import PILLOW_FAULTS
from service.imaging.libtiff_words import silence_libtiff

if sys.argv[1] == "silent":
    assert silence_libtiff()
whole = BytesIO()
Image.effect_noise((64, 64), 50).save(whole, "TIFF", compression="tiff_lzw")
content, failed = whole.getvalue(), 0
for place in range(8, len(content) - 200, 7):
    damaged = bytearray(content)
    damaged[place] ^= 0xFF
    damaged[place + 1] ^= 0x55
    try:
        Image.open(BytesIO(damaged)).load()
    except PILLOW_FAULTS:
        failed += 1
print(failed)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says where libtiff is")
@pytest.mark.parametrize("how", ["silent", "as it is"])
def test_a_damaged_file_is_an_error_without_a_line_outside_the_log(how: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", DECODE, how], capture_output=True, text=True, timeout=120, check=True
    )
    assert int(ended.stdout) > 0
    # Where libtiff says nothing by itself any more, this module may go.
    assert bool(ended.stderr) is (how != "silent")
