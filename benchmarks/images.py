"""The images to send: scikit-image's photographs at given sizes, encoded to the same bytes in every run."""

import uuid
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage
from PIL import Image, ImageOps

PHOTOGRAPHS = Path(skimage.__file__).parent / "data"
JPEG_QUALITY = 90
GRAIN = 6.0
"""Standard deviation of the noise added to the enlarged photograph, in 1/255. Enlarging smooths, and a smooth image
would decode faster than one from a camera."""
SEED = 7
PHOTOGRAPH_FILES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
MULTIPART_FILES = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png") * 2


def _photograph(name: str, width: int, height: int) -> Image.Image:
    with Image.open(PHOTOGRAPHS / name) as image:
        return ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.LANCZOS)


def _encoded(image: Image.Image, form: str) -> bytes:
    stream = BytesIO()
    image.save(stream, form, **({"quality": JPEG_QUALITY} if form == "JPEG" else {}))
    return stream.getvalue()


def _small_jpeg() -> bytes:
    return _encoded(_photograph("coffee.png", 640, 480), "JPEG")


def _camera_jpeg() -> bytes:
    pixels = np.asarray(_photograph("retina.jpg", 4000, 3000), np.float32)
    grain = np.random.default_rng(SEED).standard_normal(pixels.shape[:2], np.float32) * GRAIN
    grainy = np.clip(pixels + grain[:, :, None], 0, 255).astype(np.uint8)
    return _encoded(Image.fromarray(grainy), "JPEG")


def _large_png() -> bytes:
    return _encoded(_photograph("astronaut.png", 1024, 1024), "PNG")


def _tiny_png() -> bytes:
    return _encoded(_photograph("horse.png", 28, 28).convert("L"), "PNG")


def small_photographs(folder: Path) -> list[Path]:
    """Write several different 640×480 JPEGs to a folder, and return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in PHOTOGRAPH_FILES:
        file = folder / f"photograph-{Path(name).stem}.jpg"
        file.write_bytes(_encoded(_photograph(name, 640, 480), "JPEG"))
        files.append(file)
    return files


IMAGES: dict[str, Callable[[], bytes]] = {
    "640×480 JPEG": _small_jpeg,
    "4000×3000 JPEG": _camera_jpeg,
    "1024² PNG": _large_png,
    "28² PNG": _tiny_png,
}
EIGHT = "8 × 640×480 JPEG, multipart"


class Body:
    """A request's body, saved as a file for the load generator, and the encoded images in it."""

    def __init__(self, image: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if image == EIGHT:
            self.images = [
                _encoded(_photograph(name, 640, 480), "JPEG") for name in MULTIPART_FILES
            ]
            self.content, self.content_type = _multipart(self.images)
        else:
            self.content = IMAGES[image]()
            self.images = [self.content]
            self.content_type = "image/png" if image.endswith("PNG") else "image/jpeg"
        self.file = folder / f"{uuid.uuid5(uuid.NAMESPACE_OID, image).hex}.body"
        self.file.write_bytes(self.content)


def _multipart(files: list[bytes]) -> tuple[bytes, str]:
    boundary = uuid.uuid5(uuid.NAMESPACE_OID, EIGHT).hex
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="file"; filename="%d.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n%s\r\n" % (boundary.encode(), index, file)
        for index, file in enumerate(files)
    ]
    content = b"".join([*parts, b"--%s--\r\n" % boundary.encode()])
    return content, f"multipart/form-data; boundary={boundary}"
