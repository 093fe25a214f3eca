"""To open a video decodes nothing of it: what that takes is not counted yet."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from service.errors import BrokenVideoError
from service.video.container import look_at, open_video
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import counting, encode_clip, ramp
from tests.pngs import SIGNATURE, chunk

PROGRAM = """
import sys
from pathlib import Path
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) // 1024

def read(path):
    with open(path, "rb") as file:
        clip = open_clip(file, Sampling(every_n=1), VideoLimits())
        clip.close()

read(sys.argv[1])  # loads what is loaded once
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
read(sys.argv[2])
print(memory("VmHWM") - before)
"""


def tracks(
    packets: Sequence[bytes], codec: str, size: tuple[int, int], count: int = 1, form: str = "mov"
) -> bytes:
    """Return a file with these packets in so many tracks, whose headers say this size."""
    body = BytesIO()
    with av.open(body, "w", format=form) as container:
        streams = [container.add_stream(codec, rate=10) for _ in range(count)]
        for stream in streams:
            assert isinstance(stream, VideoStream)
            stream.width, stream.height = size
            stream.pix_fmt = "rgb24" if codec == "png" else "yuv420p"
        for number, data in enumerate(packets):
            for stream in streams:
                packet = av.Packet(data)
                packet.stream, packet.pts, packet.dts = stream, number, number
                packet.time_base, packet.is_keyframe = Fraction(1, 10), True
                container.mux(packet)
    return body.getvalue()


def deep_png(side: int) -> bytes:
    """Return a PNG of so many pixels a side, of 8 bytes each."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0))
    pack = zlib.compressobj(9)
    rows = [pack.compress(bytes(1 + 8 * side)) for _ in range(side)]
    return SIGNATURE + header + chunk(b"IDAT", b"".join([*rows, pack.flush()])) + chunk(b"IEND")


def h264(side: int) -> list[bytes]:
    """Return packets of H.264 that can be read without a header of the file."""
    whole = encode_clip(
        [np.zeros((side, side, 3), np.uint8)] * 12,
        codec="libx264",
        form="h264",
        pixel_format="yuv444p",
        options={"preset": "ultrafast", "x264-params": "keyint=12:threads=1:ref=16"},
    )
    with av.open(BytesIO(whole), "r", format="h264") as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


FILES = {
    "a PNG that is larger than its header says": lambda: tracks([deep_png(4000)], "png", (64, 48)),
    "PNG in twenty tracks": lambda: tracks([deep_png(1000)], "png", (1000, 1000), 20),
    "H.264 in twelve tracks": lambda: tracks(h264(800), "libx264", (800, 800), 12),
}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("name", FILES)
def test_to_open_a_file_decodes_none_of_its_tracks(tmp_path: Path, name: str) -> None:
    (tmp_path / "usual").write_bytes(counting(12, "matroska"))
    body = FILES[name]()
    assert len(body) < 2_000_000
    (tmp_path / "dear").write_bytes(body)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "usual"), str(tmp_path / "dear")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert int(ended.stdout) < 16, ended.stderr  # MiB; FFmpeg took 38 to 150


def test_frames_that_are_larger_than_the_header_says_are_not_decoded_where_it_counts() -> None:
    body = BytesIO(tracks([deep_png(400)], "png", (64, 48)))
    clip = open_clip(body, Sampling(every_n=1), VideoLimits())
    assert clip.pixels == 64 * 48
    clip.allow(clip.pixels)
    with pytest.raises(BrokenVideoError, match="larger than its header says"):
        list(clip)


def test_frames_that_are_much_larger_than_the_limit_are_not_decoded() -> None:
    body = BytesIO(tracks([deep_png(400)], "png", (64, 48)))
    clip = open_clip(body, Sampling(every_n=1), VideoLimits(max_pixels=100_000))
    with pytest.raises(BrokenVideoError, match="larger than its header says"):
        list(clip)


@pytest.mark.parametrize("codec", ["mpeg4", "h263"])
def test_the_size_of_frames_that_an_mp4_does_not_say_is_that_of_the_first(codec: str) -> None:
    size = (176, 144)
    frames = [ramp(number, size) for number in range(3)]
    body = BytesIO(encode_clip(frames, codec=codec, form="mov"))
    clip = open_clip(body, Sampling(every_n=1), VideoLimits())
    assert clip.pixels in {176 * 144, 2048 * 1152}  # H.263 says it in each frame alone
    assert len(list(clip)) == 3
    assert (clip.info.width, clip.info.height) == size


def test_a_look_knows_no_pixel_format_and_the_start_of_h264_is_found_before_it_is_decoded() -> None:
    times = [2 + number / 10 for number in range(30)]
    body = encode_clip(map(ramp, range(30)), form="matroska", times=times)
    look = look_at(BytesIO(body))
    assert look.stream.codec_context.pix_fmt is None
    assert look.size == (64, 48)
    look.close()
    video = open_video(BytesIO(body))
    assert video.seconds(2000) == 0
    video.close()
