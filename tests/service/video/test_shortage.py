"""A shortage of memory is no damage of a clip, whatever its decoder says."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.clips import encode_clip

PROGRAM = """
import gc, re, resource, sys
from pathlib import Path
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling

EVERY, LIMITS = Sampling(every_n=1), VideoLimits(max_seconds=60, max_frames=99, max_pixels=9_000_000)

def read():
    with open(sys.argv[1], "rb") as file:
        clip = open_clip(file, EVERY, LIMITS)
        try:
            return len(list(clip)), clip.ended
        finally:
            clip.close()

def limited(more):
    gc.collect()
    size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + more, resource.RLIM_INFINITY))
    try:
        return read()
    except MemoryError:
        return "no memory"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

read()  # loads what a decoder loads once
print(sorted({str(limited(part * 2**20)) for part in range(40)}))
"""


def clip(codec: str) -> bytes:
    """Return six frames, each of which takes 1.4 MB in its decoder."""
    random = np.random.default_rng(0)
    blocks = [random.integers(0, 255, (45, 80, 3), dtype=np.uint8) for _ in range(6)]
    return encode_clip(
        [np.kron(one, np.ones((16, 16, 1), np.uint8)) for one in blocks], codec=codec
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory and /proc need Linux")
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_clip_is_read_whole_or_there_is_no_memory_for_it(tmp_path: Path, codec: str) -> None:
    """H.264 calls a frame without memory invalid data, MPEG-4 says what it lacks."""
    (tmp_path / "clip.mp4").write_bytes(clip(codec))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "clip.mp4")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.stdout == "[\"(6, 'complete')\", 'no memory']\n", ended.stderr


def test_a_damaged_one_is_damaged() -> None:
    whole = bytearray(clip("mpeg4"))
    begin = whole.index(b"mdat") + 4
    whole[begin : begin + 20_000] = bytes(20_000)
    limits = VideoLimits(max_seconds=60, max_frames=99, max_pixels=9_000_000)
    opened = open_clip(BytesIO(whole), Sampling(every_n=1), limits)
    assert len(list(opened)) < 6
    assert opened.ended == "truncated"
    opened.close()
