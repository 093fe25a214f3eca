"""What an ONNX file's metadata states about the values that its network reads in place of pixels."""

import onnx

from exporter.network import EVERY_PART, Unstated
from exporter.recipe import Pixels

NOMINAL_RANGES = {
    "NominalRange_0_255": Pixels(scale=1.0),
    "Normalized_0_1": Pixels(),
    "Normalized_1_1": Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
}
"""`Image.NominalPixelRange` of ONNX's docs/MetadataProps.md; `NominalRange_16_235` is none of ours."""

COLORS = {"Gray8": "gray", "Rgb8": "rgb", "Bgr8": "bgr"}
"""`Image.BitmapPixelFormat` of the same page, as far as a servable can read it."""


def stated_pixels(model: onnx.ModelProto) -> Pixels | None:
    """Return the pixel values that the metadata state, None where they state none.

    Ultralytics' networks read RGB in 0–1; its exporter names itself in the metadata.
    """
    written = _written(model)
    pixels = NOMINAL_RANGES.get(written.get("Image.NominalPixelRange", ""))
    if pixels is None:
        return Pixels() if written.get("author") == "Ultralytics" else None
    color = COLORS.get(written.get("Image.BitmapPixelFormat", ""))
    return pixels if color is None else pixels.model_copy(update={"color": color})


def silent_parts(model: onnx.ModelProto) -> tuple[Unstated, ...]:
    """Return what a file can not state and does not: Ultralytics' networks are known."""
    written = _written(model)
    if written.get("author") == "Ultralytics":
        return ()
    is_known = written.get("Image.BitmapPixelFormat", "") in COLORS
    return tuple(part for part in EVERY_PART if not (is_known and part == "color"))


def _written(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}
