"""What a decoder is counted with covers what it takes, for the deepest formats of each codec."""

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.video.decoder_bytes import USUAL_CODECS, decoder_bytes, kept_at_most
from service.video.kept import Kept
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import avi_of, encode_clip

SIDE = 1024
PROGRAM = """
import sys
from pathlib import Path
from service.video.decoder_bytes import decoder_bytes
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) // 1024

with open(sys.argv[1], "rb") as file:
    size = Path(sys.argv[1]).stat().st_size
    clip = open_clip(file, Sampling(every_n=1), VideoLimits())
    clip.allow(clip.pixels)
    counted = decoder_bytes(clip.info.codec, clip.pixels, size, clip.kept) >> 20
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    frames = sum(1 for _ in clip)
    print(frames, memory("VmHWM") - before, counted)
"""


def clip(codec: str, pixel_format: str, form: str, count: int = 4, **options: str) -> bytes:
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[::7, ::5] = 200
    return encode_clip(
        [image] * count, codec=codec, form=form, pixel_format=pixel_format, options=options
    )


def progressive() -> bytes:
    """Return an AVI of JPEGs of four colors that keep all their coefficients."""
    body = BytesIO()
    Image.new("CMYK", (SIDE, SIDE), (9, 80, 7, 0)).save(body, "JPEG", progressive=True)
    return avi_of([body.getvalue()] * 3)


FAST = {"preset": "ultrafast"}
DEEP: dict[str, Callable[[], bytes]] = {
    "H.264 of 16 references": lambda: clip(
        "libx264", "yuv420p", "mp4", 24, **FAST, **{"x264-params": "ref=16:threads=1"}
    ),
    "H.264 of 16 references in 4:4:4": lambda: clip(
        "libx264", "yuv444p10le", "mp4", 24, **FAST, **{"x264-params": "ref=16:threads=1"}
    ),
    "progressive JPEG": progressive,
    "PNG": lambda: clip("png", "rgba64be", "mov"),
    "FFV1": lambda: clip("ffv1", "yuva444p16le", "matroska", level="3", slices="24"),
    "FFVHuff": lambda: clip("ffvhuff", "yuva444p16le", "avi"),
    "ProRes": lambda: clip("prores_ks", "yuva444p10le", "mov", 2, profile="4"),
    "raw": lambda: clip("rawvideo", "rgb48be", "mov", 2),
    "VP9": lambda: clip(
        "libvpx-vp9", "yuv420p", "webm", 9, deadline="realtime", **{"cpu-used": "8"}
    ),
    "MPEG-2": lambda: clip("mpeg2video", "yuv422p", "matroska", 9, bf="2"),
    "MPEG-4": lambda: clip("mpeg4", "yuv420p", "avi", 9, bf="2"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("name", DEEP)
def test_a_decoder_takes_no_more_than_it_is_counted_with(tmp_path: Path, name: str) -> None:
    (tmp_path / "clip").write_bytes(DEEP[name]())
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "clip")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 0, ended.stderr
    frames, taken, counted = map(int, ended.stdout.split())
    assert frames
    assert taken <= counted + 12  # MiB, for libraries that are loaded with the first frame


@pytest.mark.parametrize("codec", sorted(USUAL_CODECS))
def test_each_usual_codec_is_counted_by_its_pixels(codec: str) -> None:
    kept = kept_at_most(codec, b"", b"", has_alpha=False)
    assert 12_000_000 <= decoder_bytes(codec, 1_000_000, 0, kept) <= 250_000_000


def test_a_codec_that_only_an_operator_names_is_counted_as_the_dearest() -> None:
    assert decoder_bytes("jpeg2000", 1_000_000, 5) == 130_000_005


def test_a_usual_clip_counts_less_than_one_of_many_references() -> None:
    usual = decoder_bytes("h264", 1920 * 1080, 0, Kept(4 + 2 + 3, 1.5))
    assert usual < 50 << 20
    assert decoder_bytes("h264", 1920 * 1080, 0) > 400 << 20


@pytest.mark.parametrize(
    ("codec", "extradata", "first", "has_alpha", "expected"),
    [
        ("vp9", b"", b"\x82\x49\x83\x42", False, Kept(11, 1.5)),
        ("vp9", b"", b"\xa2\x49\x83\x42", False, Kept(11, 6)),
        ("vp9", b"", b"", False, Kept(11, 6)),
        ("vp9", b"", b"\x82\x49\x83\x42", True, Kept(22, 2.5)),
        ("av1", b"\x81\x08\x0c\x00", b"", False, Kept(11, 1.5)),
        ("av1", b"\x81\x08\x4c\x00", b"", False, Kept(11, 3)),
        ("av1", b"\x81\x28\x40\x00", b"", False, Kept(11, 6)),
        ("av1", b"", b"", False, Kept(11, 6)),
        ("mjpeg", b"", b"", False, Kept(1, 8)),
        ("mpeg4", b"", b"", False, Kept(1, 3)),
        ("snow", b"", b"", False, Kept(1, 16)),
    ],
)
def test_what_is_kept_is_read_from_the_header_or_the_first_packet(
    codec: str,
    extradata: bytes,
    first: bytes,
    has_alpha: bool,  # noqa: FBT001  # parameter
    expected: Kept,
) -> None:
    assert kept_at_most(codec, extradata, first, has_alpha=has_alpha) == expected


def test_jpeg_2000_is_not_read_unless_it_is_named() -> None:
    body = clip("jpeg2000", "rgb24", "mov", 1)
    with pytest.raises(Exception, match="codec is jpeg2000, which this service does not decode"):
        open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits())
