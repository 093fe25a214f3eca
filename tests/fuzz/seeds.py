"""Valid inputs of each fuzzing target, from which hypothesis and atheris start."""

import base64
import gzip
import json
import tarfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from tests.clips import counting
from tests.fuzz.targets import BOUNDARY
from tests.servables import write_servable

CASES = Path(__file__).parents[1] / "data" / "cases"
LARGEST = 60_000
"""Bytes of a file that is used: in a larger one few changes meet a header."""
VIDEOS = frozenset({".mp4", ".webm", ".avi", ".gif", ".m4a"})
NOISE = np.random.default_rng(3).integers(0, 256, (19, 23, 4), np.uint8)


def _encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _images() -> list[bytes]:
    color = Image.fromarray(NOISE[..., :3])
    made = [_encoded(color, form) for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")]
    made += [
        _encoded(color, "JPEG", progressive=True, restart_marker_blocks=1),
        _encoded(color.convert("CMYK"), "JPEG"),
        _encoded(color, "WEBP", lossless=True),
        _encoded(color.quantize(16), "PNG"),
        _encoded(color.quantize(4), "BMP"),
        _encoded(color.convert("1"), "TIFF", compression="group4"),
        _encoded(Image.fromarray(NOISE.astype(np.uint16)[..., 0] * 257), "TIFF"),
        _encoded(Image.fromarray(NOISE.astype(np.float32)[..., 0]), "TIFF"),
    ]
    made += [
        _encoded(color, "TIFF", compression=kind)
        for kind in ("tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate")
    ]
    return made + [
        _encoded(Image.fromarray(NOISE), form) for form in ("PNG", "WEBP", "TIFF", "AVIF")
    ]


def _exif() -> list[bytes]:
    made = []
    for value in (2, 6, 8):
        block = Image.Exif()
        block[274], block[271], block[282] = value, "a camera", 72.0
        made += [block.tobytes(), block.tobytes()[6:]]
    return [*made, b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"]


def _animations() -> list[bytes]:
    frames = [Image.fromarray(np.roll(NOISE, at)) for at in range(4)]
    more = {"save_all": True, "append_images": frames[1:], "duration": 100}
    return [_encoded(frames[0], form, **more) for form in ("GIF", "PNG", "WEBP")]


def _files(*, videos: bool) -> list[bytes]:
    return [
        path.read_bytes()
        for path in sorted(CASES.iterdir())
        if path.stat().st_size <= LARGEST
        and path.suffix not in {".bin", ".json"}
        and (path.suffix in VIDEOS) == videos
    ]


def _videos() -> list[bytes]:
    made = [("mp4", "libx264"), ("matroska", "libx264"), ("avi", "mjpeg"), ("webm", "libvpx-vp9")]
    return _animations() + _files(videos=True) + [counting(8, form, codec) for form, codec in made]


def _forms() -> list[bytes]:
    heads = (
        'form-data; name="file"; filename="a.jpg"',
        "form-data; name=\"file\"; filename*=UTF-8''a.jpg\r\nContent-Type: image/jpeg",
        'form-data; name="file"; filename="a"\r\nContent-Transfer-Encoding: base64',
        'form-data; name="file"; filename*0="a;b"; filename*1*=c; filename*=d',
        'form-data; name="note"',
    )
    parts = [f"--{BOUNDARY}\r\nContent-Disposition: {head}\r\n\r\nYWJj\r\n" for head in heads]
    end = f"--{BOUNDARY}--\r\n"
    return [(part + end).encode() for part in parts] + [("".join(parts) + end).encode()]


def _json() -> list[bytes]:
    image = base64.b64encode(bytes(range(256))).decode()
    whole = [{"images": [image]}, {"images": [f"data:image/png;base64,{image}", ""]}]
    return [json.dumps(one).encode(code) for one in whole for code in ("utf-8", "utf-16", "utf-32")]


def _inflated() -> list[bytes]:
    content = bytes(range(256)) * 40
    raw = zlib.compressobj(wbits=-15)
    return [
        b"\0" + gzip.compress(content, mtime=0),
        b"\0" + gzip.compress(b"a", mtime=0) * 3,
        b"\xff" + zlib.compress(content),
        b"\xff" + raw.compress(content) + raw.flush(),
    ]


def _cards() -> list[bytes]:
    with TemporaryDirectory(prefix="fuzz-seeds-") as folder:
        write_servable(Path(folder))
        return [path.read_bytes() for path in sorted(Path(folder).rglob("*.onnx"))]


def _shards() -> list[bytes]:
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name, content in (("1.jpg", b"image"), ("1.cls", b"3"), ("2.png", b"other")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, BytesIO(content))
    return [stream.getvalue(), gzip.compress(stream.getvalue(), mtime=0)]


SEEDS: Mapping[str, Callable[[], list[bytes]]] = {
    "shard": _shards,
    "exif": _exif,
    "image": lambda: _images() + _files(videos=False),
    "video": _videos,
    "form": _forms,
    "json": _json,
    "inflated": _inflated,
    "card": _cards,
    "tensor_json": lambda: [
        b'{"data": [1, 2, 3, 4, 5, 255]}',
        b'{"a": "[1", "data" : [[0,1,2],[3 , 4,5]], "b": [7]}',
    ],
    "byte_tensor": lambda: [b"\x02\x03\0\0\0abc\0\0\0\0", b"\0"],
    "instances": lambda: [
        b'{"instances": [[1, 2], [3, 255]], "signature_name": "serving_default"}',
        b'{"instances": [{"x": [1,2]}, {"x":[3,4]}]}',
        b'{"inputs": {"x": [[0, 0]]}}',
    ],
    "label_config": lambda: [
        b'<View><Image name="i" value="$x"/><Choices name="c" toName="i"><Choice value="a"/></Choices></View>',
        (
            b'<View><RectangleLabels name="r" toName="i,j"><Label value="a" alias="b"/></RectangleLabels>'
            b'<!-- < --><Image name="j" value="$y"/></View>'
        ),
    ],
}


@cache
def seeds_of(target: str) -> tuple[bytes, ...]:
    return tuple(SEEDS[target]())
