"""The int8 variant of EfficientNet-Lite0 and its reference frames, from photographs that are free of rights.

`python -m exporter.training.free_variant models/efficientnet-lite0/1` writes `int8.onnx` and `reference.npy` beside the
servable, which stays as it is. The frames are passed on with the model, so each photograph is in the public domain, CC0
or without known restrictions; NOTICE names them. None of those that the variant is calibrated with is among those that
it is judged on.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage import data

from exporter.encoding import as_png
from exporter.heads.classify import ClassifyHead
from exporter.outcome import MadeVariant
from exporter.progress import Progress, SilentProgress
from exporter.variants import Original, write_variants
from service.card import ImageInput
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded
from service.servable_file import read_card

CALIBRATED_WITH = ("rocket", "astronaut", "camera", "retina", "brick", "gravel")
JUDGED_ON = ("chelsea", "coffee", "hopper", "coins", "grass", "hubble_deep_field")
VIEWS: tuple[Callable[[Image.Image], Image.Image], ...] = (
    lambda image: image,
    lambda image: ImageOps.mirror(_part(image, 0.8, 0.5, 0.5)),
    lambda image: _part(image, 0.6, 0.0, 0.0),
    lambda image: _part(image, 0.6, 1.0, 1.0),
)
"""A photograph → the image whose frame is taken: whole, its middle from the other side, and two of its corners."""


def write_free_variant(path: Path, progress: Progress) -> tuple[MadeVariant, ...]:
    """Write the variant beside EfficientNet-Lite0's servable, and return what it reached.

    Raises:
        WriteError: no space or no permission.
    """
    card, model = read_card(path), onnx.load(path)
    del model.metadata_props[:]
    original = Original(
        path,
        model,
        card,
        ClassifyHead(len(card.labels)),
        frames_of(CALIBRATED_WITH, card.image_input),
        frames_of(JUDGED_ON, card.image_input),
    )
    return write_variants(original, ["int8"], progress)


def frames_of(names: Sequence[str], image_input: ImageInput) -> NDArray[np.uint8]:
    """Return a frame of each view of some photographs, uint8 (N, H, W, 3): first all of them whole."""
    return np.stack(
        [
            fit_encoded(as_png(np.asarray(view)), image_input, Limits())[0]
            for view in views_of(names)
        ]
    )


def views_of(names: Sequence[str]) -> Iterator[Image.Image]:
    """Yield the views of some photographs, RGB: first all of them whole."""
    photographs = [_photograph(name) for name in names]
    return (view(image) for view in VIEWS for image in photographs)


def _photograph(name: str) -> Image.Image:
    if name == "hopper":
        folder = Path(mpl.get_data_path()) / "sample_data"
        return Image.open(folder / "grace_hopper.jpg").convert("RGB")
    return Image.fromarray(getattr(data, name)()).convert("RGB")


def _part(image: Image.Image, share: float, across: float, down: float) -> Image.Image:
    """Return a share of both sides; 0 is the left or upper end of what is left over, 1 the other one."""
    width, height = round(image.width * share), round(image.height * share)
    left, top = round((image.width - width) * across), round((image.height - height) * down)
    return image.crop((left, top, left + width, top + height))


if __name__ == "__main__":
    *_, made = write_free_variant(Path(sys.argv[1]) / "model.onnx", SilentProgress())
    sys.exit(made.refused or 0)
