"""What reads bytes of strangers, one function each: any bytes give a result or one of our own errors.

Each function has properties of its own beside: a result that is wrong fails an assertion.
"""

import contextlib
import itertools
import json
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np

from service.api.dialects.kserve_v1 import read_instances
from service.api.dialects.label_studio.config import TASKS, controls_of
from service.api.dialects.v2.framing import byte_strings
from service.api.ingest.encoding import Inflater
from service.api.ingest.images import parse_json
from service.api.ingest.multipart import FormReader, files_of
from service.api.ingest.numbers import array_of, read_json
from service.api.tensors import TensorLimits
from service.bulk.shard import images_in_shard
from service.card import CardError
from service.errors import FovealError
from service.imaging.announced import read_header
from service.imaging.decode import Limits, open_image, read_pixels
from service.imaging.exif import exif_orientation
from service.runtime.signature import Signature, TensorInfo
from service.servable_file import graph_sha256, read_card
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling

MOST_PIXELS = 2**20
MOST_IMAGES = 8
MOST_INFLATED = 2**20
PNG = b"\x89PNG\r\n\x1a\n"
BOUNDARY = "fuzz"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
FRAMES_READ = 12
"""Frames of a video that are converted: a damaged one may announce any number."""

Target = Callable[[bytes], bool]
"""Returns whether the bytes gave a result; False for an error of ours."""


def with_checksums(png: bytes) -> bytes:
    """Return a PNG whose chunks have right checksums, so that a change reaches what is behind them."""
    parts, at = [png[:8]], 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4])
        parts += [png[at:end], zlib.crc32(png[at + 4 : end]).to_bytes(4)]
        at = end + 4
    return b"".join(parts)


def image(body: bytes) -> bool:
    """Decode an image to its pixels, a PNG also with right checksums."""
    read = _pixels_are_read(body)
    if body.startswith(PNG):
        read |= _pixels_are_read(with_checksums(body))
    return read


def _pixels_are_read(body: bytes) -> bool:
    with contextlib.suppress(FovealError):
        assert read_header(body).pixels >= 0
    try:
        opened = open_image(body, Limits(max_pixels=MOST_PIXELS))
        assert opened.size[0] * opened.size[1] <= MOST_PIXELS
        pixels = read_pixels(opened)
    except FovealError:
        return False
    assert pixels.mode in {"L", "RGB"}, pixels.mode
    assert sorted(pixels.size) == sorted(opened.size), (pixels.size, opened.size)
    return True


def exif(body: bytes) -> bool:
    """Read the orientation of an EXIF block."""
    return exif_orientation(body) in range(2, 9)


def video(body: bytes) -> bool:
    """Decode frames of a video or an animation, chosen in each of the three ways."""
    ways = (Sampling(every_n=1), Sampling(fps=5.0), Sampling(count=3))
    if body.startswith(PNG):
        body = with_checksums(body)
    read = [_frames_are_read(body, sampling) for sampling in ways]
    return all(read)


def _frames_are_read(body: bytes, sampling: Sampling) -> bool:
    limits = VideoLimits(max_seconds=60, max_frames=100, max_pixels=MOST_PIXELS)
    try:
        clip = open_clip(BytesIO(body), sampling, limits)
        with contextlib.closing(clip):
            for frame in itertools.islice(clip, FRAMES_READ):
                assert frame.image().mode == "RGB"
                assert frame.seconds >= 0
    except FovealError:
        return False
    return True


def form(body: bytes) -> bool:
    """Read a multipart form at once and in pieces: both ways give the same files or the same error."""
    whole = _files_at_once(body)
    assert whole == "too_many_images" or whole == _files_in_pieces(body)
    return not isinstance(whole, str)


def _files_at_once(body: bytes) -> tuple[bytes, ...] | str:
    try:
        return tuple(files_of(body, FORM, "cat.jpg", MOST_IMAGES))
    except FovealError as error:
        return error.code


def _files_in_pieces(body: bytes) -> tuple[bytes, ...] | str:
    files = [b""]

    def add(piece: bytes) -> None:
        files[-1] += piece

    reader = FormReader(FORM, on_data=add, on_file_end=lambda: files.append(b""), example="cat.jpg")
    try:
        for start in range(0, len(body), 7):
            reader.write(body[start : start + 7])
        reader.end()
    except FovealError as error:
        return error.code
    return tuple(files[:-1])


def json_body(body: bytes) -> bool:
    """Read images in base64."""
    try:
        assert len(parse_json(body, MOST_IMAGES)) <= MOST_IMAGES
    except FovealError:
        return False
    return True


def inflated(body: bytes) -> bool:
    """Inflate a body; the first byte chooses the coding."""
    inflater = Inflater("gzip" if body[:1] < b"\x80" else "deflate", MOST_INFLATED)
    pieces = bytearray()
    try:
        for piece in inflater.pieces(body[1:]):
            pieces += piece
        inflater.end()
    except FovealError:
        return False
    finally:
        assert len(pieces) <= MOST_INFLATED
    expected = _inflated_by_zlib(body)
    assert expected is None or bytes(pieces) == expected
    return True


def _inflated_by_zlib(body: bytes) -> bytes | None:
    """Return what zlib alone makes of a gzip body with one member; None for another body."""
    stream = zlib.decompressobj(31)
    if body[:1] >= b"\x80":
        return None
    try:
        content = stream.decompress(body[1:])
    except zlib.error:
        return None
    return content if stream.eof and not stream.unused_data else None


def card(body: bytes) -> bool:
    """Read the card and the digest of a model's file."""
    with TemporaryDirectory(prefix="fuzz-card-") as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(body)
        try:
            read_card(file)
            graph_sha256(file)
        except CardError:
            return False
    return True


def tensor_json(body: bytes) -> bool:
    """Read a list of six numbers behind `data`: what is accepted is what the standard library reads."""
    try:
        given, numbers = read_json(body, most_rows=2, max_depth=50)
        key = given.get("data") if isinstance(given, dict) else None
        if not isinstance(key, str) or key not in numbers:
            return False
        array = array_of(numbers[key], (2, 3), np.dtype(np.uint8))
    except FovealError:
        return False
    data = json.loads(body)["data"]
    assert np.array(data).reshape(2, 3).tolist() == array.tolist()
    return True


def byte_tensor(body: bytes) -> bool:
    """Read the elements of a BYTES tensor; the first byte is their number."""
    count = body[0] % 8 if body else 0
    try:
        found = byte_strings(memoryview(body)[1:], count, "image")
    except FovealError:
        return False
    assert b"".join(len(one).to_bytes(4, "little") + one for one in found) == body[1:]
    return True


def instances(body: bytes) -> bool:
    """Read instances of KServe V1 for a network that takes two numbers a row: what is accepted is what was sent."""
    numbers = TensorInfo("x", "tensor(uint8)", (None, 2))
    model: Any = SimpleNamespace(
        name="net",
        blank=np.zeros(2, np.uint8),
        card=SimpleNamespace(input=None),
        signature=Signature((numbers,), (numbers,)),
    )
    try:
        given, in_rows = read_instances(body, model, TensorLimits(4, 20))
    except FovealError:
        return False
    assert given.rows is not None
    sent = json.loads(body)["instances" if in_rows else "inputs"]
    sent = sent["x"] if isinstance(sent, dict) else sent
    plain = [one["x"] if isinstance(one, dict) else one for one in sent]
    assert given.rows.tolist() == plain
    return True


def label_config(body: bytes) -> bool:
    """Read the label config of a project of Label Studio: each tag that is found has a place and names."""
    try:
        controls = controls_of(body.decode("utf-8", "replace"))
    except FovealError:
        return False
    for one in controls:
        assert one.kind in TASKS
        assert one.image
        assert one.variable
    return True


def shard(body: bytes) -> bool:
    """Read the images of a tar file, plain and compressed; each has its own name and its bytes or an error of ours."""
    names = []
    with TemporaryDirectory() as folder:
        for ending in (".tar", ".tar.gz"):
            path = Path(folder, f"a{ending}")
            path.write_bytes(body)
            for item in images_in_shard(path, MOST_INFLATED, lambda: None):
                found = item.read()
                assert isinstance(found, FovealError) or 0 < len(found) <= MOST_INFLATED
                item.name.encode()
                names.append(item.name)
    return len(names) > 2


TARGETS: Mapping[str, Target] = {
    "shard": shard,
    "image": image,
    "exif": exif,
    "video": video,
    "form": form,
    "json": json_body,
    "inflated": inflated,
    "card": card,
    "tensor_json": tensor_json,
    "byte_tensor": byte_tensor,
    "instances": instances,
    "label_config": label_config,
}
