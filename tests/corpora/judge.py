"""Judges one answer to a file of a corpus."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import av
from PIL import Image

BYTES_PER_PIXEL = 16
"""Source, RGB and an image of the answer at once: four of each, and deep samples in the source."""
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may use. The limit by the clock holds on a machine with other work."""

    cpu_seconds: float
    clock_seconds: float
    extra_mib: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and what it cost. `extra_mib` is the peak of the memory above what it was before."""

    status: int
    code: str
    cpu_seconds: float
    clock_seconds: float
    extra_mib: float


def faults_of(answer: Answer, body: bytes, codes: set[str], limits: Limits) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong with an answer to this file."""
    if answer.status != 200 and not 400 <= answer.status < 500:
        yield f"answered {answer.status} {answer.code}"
    elif answer.status != 200 and answer.code not in codes:
        yield f"answered {answer.status} with the code {answer.code!r}, which is in no table"
    if answer.cpu_seconds > limits.cpu_seconds:
        yield f"took {answer.cpu_seconds:.1f} s of CPU; at most {limits.cpu_seconds:g} s"
    if answer.clock_seconds > limits.clock_seconds:
        yield f"took {answer.clock_seconds:.1f} s; at most {limits.clock_seconds:g} s"
    if answer.extra_mib > limits.extra_mib:
        allowed = limits.extra_mib + pixels_of(body) * BYTES_PER_PIXEL / MIB
        if answer.extra_mib > allowed:
            yield f"took {answer.extra_mib:.0f} MiB; at most {allowed:.0f} MiB for its pixels"


def pixels_of(body: bytes) -> int:
    """Return the pixels of an image, or of a frame of a video, as Pillow or FFmpeg reads its header; 0: neither can."""
    for reader in (_pixels_by_pillow, _pixels_by_ffmpeg):
        with contextlib.suppress(Exception):  # whatever a damaged header makes of a reader
            return reader(body)
    return 0


def _pixels_by_pillow(body: bytes) -> int:
    with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(body)) as image:
        return image.width * image.height


def _pixels_by_ffmpeg(body: bytes) -> int:
    with av.open(BytesIO(body), "r") as container:
        stream = container.streams.video[0]
        return stream.width * stream.height
