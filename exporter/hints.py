"""Hints at the end of an export: what a proof can not show but is probably wrong, its likely cause, and the option."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.one_output import COLUMNS, ROWS, SEVEN, SIX
from exporter.heads.row_check import ROW_ORDERS
from exporter.heads.select_head import READ_AS, ROW_FORMS
from exporter.network import Borrowed, Head
from exporter.outcome import MadeVariant
from exporter.recipe import Pixels
from exporter.recipe_tables import DetectRecipe
from exporter.transforms import pixel_values
from service.card import BoxForm, ImageInput, Normalization

LEAST_VARIATION = 0.05
"""The standard deviation of the values that every network in use exceeds on photographs; 0–1 gives about 0.25."""

BLANK = 2.0
"""The standard deviation, in 0–255, below which images are blank themselves."""

FAR = 10.0
FAR_BYTES = 260.0
"""Bytes, with or without a mean subtracted, stay within this."""

ENOUGH_IMAGES = 8
CLOSER = "Does --scale fit --mean and --std? Mean and std of 0–255 go with --scale 1"


def variant_hints(variants: Sequence[MadeVariant]) -> tuple[str, ...]:
    """Return why each variant that does not agree was not written."""
    return tuple(
        f"the variant in {one.precision} is not written: {one.refused}. Calibrate on more images of your own with "
        "--images, or measure with --labeled: half a point of accuracy may be lost"
        for one in variants
        if one.refused
    )


def assumption_hints(normalization: Normalization, *, measured: bool) -> list[str]:
    """Return what is assumed of the pixel values, if anything is, and how to state it."""
    if normalization.assumption is None:
        return []
    shows = (
        "The accuracy that was measured shows whether they are right"
        if measured
        else "Measure whether they are right on images with known answers, with --labeled"
    )
    how = (
        "State them with --mean and --std (0 and 1 if the network really reads pixels without them)"
    )
    return [f"{normalization.assumption}. {how}. {shows}"]


_STATING = {
    "size": "--height and --width",
    "resize": "--resize and --shorter-side",
    "interpolation": "--interpolation",
}
"""The options that state each part of the image input."""


def score_hints(head: Head, labels: Sequence[str], *, measured: bool) -> list[str]:
    """Return that a classifier's only score is assumed to be a logit, if it is, and how to state it."""
    if not isinstance(head, ClassifyHead) or not head.assumes_logit or measured:
        return []
    assumed = (
        "The network has one score, and nothing says what it is: it is assumed to be a logit, whose sigmoid is the "
        f"probability of {labels[-1]!r}"
    )
    otherwise = (
        "If it is a measured number, as an age or a quality (regression), these probabilities mean nothing, and no "
        "task serves it"
    )
    return [f"{assumed}. --activation sigmoid states it. {otherwise}"]


def frame_hints(borrowed: Borrowed | None, image_input: ImageInput) -> list[str]:
    """Return that parts of the image input are those of other weights, if they are, and how to state them."""
    if borrowed is None or not borrowed.parts:
        return []
    options = ", ".join(_STATING[part] for part in borrowed.parts)
    are, others = ("are", "others") if len(borrowed.parts) > 1 else ("is", "another")
    assumed = f"{borrowed.words} of the input ({image_input.words}) {are} assumed: {borrowed.whose}"
    doubt = f"A training may have used {others}, which the certificate can not show"
    said = f". The file of the weights says {', '.join(borrowed.beside)}" if borrowed.beside else ""
    return [f"{assumed}. {doubt}{said}. To state what it used: {options}"]


def box_hints(
    loaded: Head, settled: Head, boxes: BoxForm | None, *, nms_free: bool, measured: bool
) -> list[str]:
    """Return what is assumed of a detector's boxes, and what real images showed that is unusual for its outputs.

    Args:
        loaded: the head before real images were seen.
        settled: the same after that.
        boxes: how the boxes are read.
        nms_free: whether each object has one box.
        measured: whether the accuracy was measured.
    """
    if boxes is None or not isinstance(loaded, DetectHead) or not isinstance(settled, DetectHead):
        return []
    hints = _seen_of_boxes(loaded.recipe, settled.recipe.decoder, boxes)
    which = settled.recipe.background
    if which != loaded.recipe.background:
        hints.append(
            f"the {which} label is that of the background, and the {which} column of the scores is read so, "
            f"--background {which}"
        )
    if settled.doubted is not None:
        hints.append(
            f"--background {which} is believed, but {settled.doubted.words}, as that of a background is: boxes that "
            f"show nothing may be objects. Is it --background {settled.doubted.which}?"
        )
    if loaded.recipe.nms_free and not nms_free:
        hints.append(
            "each object was expected to have one box, but real images show boxes that must be suppressed: requests "
            "do it. --nms-free states that they are objects of their own"
        )
    if settled.tested_by is not None and not measured:
        images, found = settled.tested_by
        one, those = ("image", "that image") if images == 1 else ("images", "these images")
        hints.append(
            f"--box-format {boxes.format} is believed, but hardly tested: on {images} {one} the network finds {found} "
            f"clear object{'' if found == 1 else 's'}, and {those} moved and mirrored do not rule out every other "
            "format. Give photographs of what it finds with --images, or measure with --labeled"
        )
    if boxes.assumption is not None:
        options = " and ".join(_option(boxes, part) for part in boxes.assumed)
        states, it = (
            ("states it", "it is") if len(boxes.assumed) == 1 else ("state them", "they are")
        )
        unseen = (
            "Too little was found to see whether an object gets several boxes: give images of what it finds, --images; "
            "if it gets several, state --no-nms-free. "
            if "nms_free" in boxes.assumed
            else ""
        )
        shows = (
            f"The accuracy that was measured shows whether {it} right"
            if measured
            else f"Measure whether {it} right on images with known answers, with --labeled"
        )
        hints.append(f"{boxes.assumption}. {unseen}{options} {states}. {shows}")
    return hints


def _option(boxes: BoxForm, part: str) -> str:
    """Return the option that states a part of the boxes' form as it was assumed."""
    match part:
        case "nms_free":
            return "--nms-free"
        case "background":
            return "--background none"
    return f"--box-{part} {getattr(boxes, part)}"


def _seen_of_boxes(recipe: DetectRecipe, decoder: str, boxes: BoxForm) -> list[str]:
    """Return what real images showed of boxes that the shape of the outputs, or its usual form, does not say."""
    read = f"boxes are read as {boxes.words}, as real images show"
    if recipe.decoder == ROWS:
        read = f"boxes are read as {boxes.words}" if "format" in boxes.assumed else read
        return [f"{read}: --decoder {'yolox' if boxes.format == 'grid' else 'yolov5'}"]
    usual = BoxForm(format=recipe.box_format, unit=recipe.box_unit)
    hints = []
    if recipe.decoder in {SIX, SEVEN}:
        if decoder != READ_AS[recipe.decoder]:
            hints.append(
                f"a row is read as {ROW_ORDERS[decoder]}, as real images show: --decoder {decoder}"
            )
        usual = BoxForm.model_validate(
            {name.removeprefix("box_"): value for name, value in ROW_FORMS[decoder].items()}
        )
    if (usual.format, usual.unit) != (boxes.format, boxes.unit):
        hints.append(f"{read}; --decoder {decoder} usually has {usual.words}")
    if recipe.decoder == COLUMNS:
        hints.append(
            "the fifth value of a box is read as its objectness, as real images show: --decoder yolov5_columns"
        )
    return hints


def input_hints(
    frames: NDArray[np.uint8], pixels: Pixels, own_factor: float | None = None
) -> list[str]:
    """Return hints about the values that the network reads for these frames, uint8 (N, H, W, 3).

    Before its first layer the network multiplies them by `own_factor`, if it has one.
    """
    if float(frames.std()) < BLANK:
        return ["The images that were proved with are almost blank. Give others with --images"]
    values = pixel_values(frames[:ENOUGH_IMAGES], pixels)
    low, high = float(values.min()), float(values.max())
    within = (
        f"The values that the network reads are {low:.4g} to {high:.4g} on the images of the proof"
    )
    # The channels may lie apart, so that only the variation within each one shows anything.
    axes = (0, 2, 3) if pixels.layout == "NCHW" else (0, 1, 2)
    spread = float(values.std(axis=axes).max())
    if spread < LEAST_VARIATION:
        typical = "networks are trained with about 0.2 to 1"
        return [
            f"{within}, and hardly vary: their standard deviation is {spread:.2g}, {typical}. {CLOSER}"
        ]
    if own_factor is not None and spread * own_factor < LEAST_VARIATION:
        own = f"It multiplies them by {own_factor:.4g} itself before its first layer, where they hardly vary"
        return [f"{within}. {own}. Does it read bytes? That is --scale 1 --mean 0 --std 1"]
    furthest = max(abs(low), abs(high))
    if furthest <= FAR or (furthest <= FAR_BYTES and _are_bytes(pixels)):
        return []
    return [
        f"{within}, far outside the −3 to 3 of most networks. {CLOSER}; without them, 0–1 is --scale {1 / 255:.4g}"
    ]


def _are_bytes(pixels: Pixels) -> bool:
    """Return whether the values are meant as bytes: the mean, if any, is one of bytes too."""
    steps = pixels.scale / max(pixels.std)
    mean = max(pixels.mean)
    return steps > 0.5 and (mean == 0 or mean > 1)
