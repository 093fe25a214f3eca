"""The images of a run: scikit-image's photographs where they are installed, else those of the playground."""

from functools import cache
from io import BytesIO

from PIL import Image, ImageOps

from benchmarks.gpu.run import ROOT
from exporter.errors import RecipeError
from exporter.images import photographs

SAMPLES = ROOT / "service" / "playground" / "samples"
REQUEST_SIZE = (640, 480)
JPEG_QUALITY = 90
_GRID = 4


@cache
def proof_images(count: int) -> tuple[bytes, ...]:
    """Return encoded photographs, whole and in parts; as many as there are, at most `count`."""
    try:
        found = photographs(count)
    except RecipeError:
        found = ()
    return (found or tuple(_parts()))[:count]


def request_body() -> bytes:
    """Return the body of a request: a photograph as JPEG, 640×480."""
    try:
        (photograph,) = photographs(2)[1:2]
    except RecipeError:
        photograph = (SAMPLES / "cup.jpg").read_bytes()
    with Image.open(BytesIO(photograph)) as image:
        return _encoded(ImageOps.fit(image, REQUEST_SIZE, Image.Resampling.LANCZOS))


def _parts() -> list[bytes]:
    """Return the playground's photographs, and a grid of parts of each."""
    whole = [Image.open(path).convert("RGB") for path in sorted(SAMPLES.glob("*.jpg"))]
    found = list(whole)
    for image in whole:
        width, height = image.width // 2, image.height // 2
        for row in range(_GRID):
            for column in range(_GRID):
                left, top = column * width // (_GRID - 1), row * height // (_GRID - 1)
                found.append(image.crop((left, top, left + width, top + height)))
    return [_encoded(image) for image in found]


def _encoded(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
