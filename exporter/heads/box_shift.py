"""Whether what a detector finds follows the image where this is moved, mirrored or made smaller.

Boxes that are read wrongly do not: with x and y exchanged, y counted from the bottom, corners taken for sizes, and the
offsets of anchors. Where an image is moved, boxes are cut at the edge of the frame. A cut box has another center and
another size, so it also shows whether sizes are half.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.heads.box_form import BOX_WORDS, EXCHANGED
from exporter.heads.box_order import Run
from exporter.heads.box_readings import (
    XXYY,
    Reading,
    other_readings,
    scaled_readings,
    taken_reading,
)
from exporter.heads.box_unit import without
from exporter.heads.detect import DetectHead
from exporter.heads.found_again import CLEARLY, FEWEST, Found, Marks, Pair
from exporter.heads.moved_images import changed_images
from exporter.network import Array
from service.card import ImageInput

IMAGES = 8
"""So many images are changed, at most; those in which nothing is found are left out."""

USUAL = 3
"""So often each of them is changed at least: moved down to the right, moved up to the left, mirrored."""

RUNS = 40
"""So many changed images there are at most, if fewer do not decide."""

ENOUGH_AGAINST = 6
"""At least so many detections must contradict a form that is stated."""

CLEARLY_AGAINST = 0.3
"""A form that is stated must be worse by this much."""

OTHER_SCALE = 1.2
"""Numbers that move by more than this factor too far, or not far enough, are on another scale."""

UNCUT = 0.75
"""The quantile of how far numbers move: those of boxes that are cut move less, or not at all."""

FEWEST_STILL = 6
MOST_STILL = 0.9
"""So many boxes, and so large a share of all that are clear, stay where they are though other rows give them."""


def judge_changed(
    head: DetectHead,
    frames: NDArray[np.uint8],
    outputs: Sequence[Sequence[Array]],
    image_input: ImageInput,
    run: Run,
    *,
    is_stated: bool = False,
) -> DetectHead:
    """Return the head with x and y in the order that changed images show, and with what they can not show.

    Args:
        head: with its activation and the form of its boxes settled; one whose library settles the form is believed.
        frames: real images, uint8 (I, H, W, 3).
        outputs: the source's raw outputs for each of the first of them.
        image_input: the network's.
        run: computes the source's raw outputs for a batch of frames.
        is_stated: whether the form is stated: then only a clear contradiction counts, and boxes may stay in place.

    Raises:
        RecipeError: boxes do not follow the image, or do so only where they are read in another way. The message says
            what they seem to be, and the next step.
    """
    if head.recipe.box_format == "grid" or head.is_known:
        return head
    taken = taken_reading(head.recipe, image_input)
    plain = [Found.of(head, head.decoder.split(raw), taken) for raw in outputs]
    # Images in which nothing is found show nothing, whatever is done with them.
    shown = [pair for pair in zip(frames, plain, strict=False) if len(pair[1].found)][:IMAGES]
    pairs: list[Pair] = []
    marks: dict[Reading, Marks] = {}
    for more in _rounds(head, taken, shown, run):
        if not pairs:
            if not is_stated:
                _refuse_still(head, [pair for pair in more if pair.change.is_shift])
            marks = {one: Marks() for one in _readings(taken, more)}
        pairs += more
        for one, found in marks.items():
            found.add(more, taken, one)
        if (better := _better(pairs, marks, is_stated=is_stated)) is not None:
            return _with_other(head, *better, taken, is_stated=is_stated)
        if all(found.is_ruled_out() for found in marks.values()):
            return replace(head, is_form_seen=True)
    if head.is_form_seen or not is_stated:
        return head
    return replace(head, tested_by=(len(plain), sum(len(one.found) for one in plain)))


def _rounds(
    head: DetectHead, taken: Reading, shown: Sequence[tuple[NDArray[np.uint8], Found]], run: Run
) -> Iterator[list[Pair]]:
    """Yield what is found in all images after the usual changes, then after one more of each, and so on."""
    pairs: list[Pair] = []
    runs = 0
    rounds = zip(*(changed_images(frame) for frame, _ in shown), strict=True)
    for count, changed in enumerate(rounds, 1):
        if count > USUAL and runs + len(shown) > RUNS:
            return
        for (_, before), (frame, change) in zip(shown, changed, strict=True):
            again = Found.of(head, head.decoder.split(run(frame[None])), taken)
            pairs.append(Pair.of(taken, change, before, again))
        runs += len(shown)
        if count >= USUAL:
            yield pairs
            pairs = []


def _readings(taken: Reading, pairs: Sequence[Pair]) -> list[Reading]:
    """Return what boxes may be that are not what is taken, with the scale that moved images show if it is another."""
    ratios = [ratio for pair in pairs if pair.change.is_shift for ratio in pair.ratios()]
    if len(ratios) < FEWEST:
        return other_readings(taken)
    factor = float(np.quantile(ratios, UNCUT))
    is_other = 0 < factor < 1 / OTHER_SCALE or factor > OTHER_SCALE
    return [*other_readings(taken), *(scaled_readings(taken, factor) if is_other else ())]


def _better(
    pairs: Sequence[Pair], marks: Mapping[Reading, Marks], *, is_stated: bool
) -> tuple[Reading, list[str]] | None:
    """Return the reading in which what is found follows the images better than in the one that is taken, if any.

    Beside it are the formats that may be as good.
    """
    fewest, lead = (ENOUGH_AGAINST, CLEARLY_AGAINST) if is_stated else (FEWEST, CLEARLY)
    if not any(found.is_better(fewest, lead) for found in marks.values()):
        return None
    # The right reading may differ from the wrong one in few of them, as boxes of which x and y are about the same do.
    possible = [one for one, found in marks.items() if found.other and found.lead() > 0]
    seems = max(possible, key=lambda one: _least_lead(pairs, one, possible))
    rivals = [one for one in possible if one != seems and one.is_plain and seems.is_plain]
    unclear = [one for one in rivals if Marks().add(pairs, one, seems).lead() < CLEARLY]
    return seems, [one.form for one in unclear]


def _with_other(
    head: DetectHead, reading: Reading, unclear: list[str], taken: Reading, *, is_stated: bool
) -> DetectHead:
    """Return the head with x and y exchanged if nothing states their order; every other reading is refused."""
    if is_stated or unclear or reading != replace(taken, form=EXCHANGED[taken.form]):
        raise _contradiction(head, reading, unclear, is_stated=is_stated)
    recipe = head.recipe.model_copy(update={"box_format": reading.form})
    return replace(head, recipe=recipe, assumed=without(head, "format"), is_form_seen=True)


def _least_lead(pairs: Sequence[Pair], one: Reading, others: Sequence[Reading]) -> float:
    """Return by how much boxes are found again better in a reading than in the one that suits them best beside it.

    Most boxes, those that are not cut, suit several readings.
    """
    leads = (Marks().add(pairs, other, one).lead() for other in others if other != one)
    return min(leads, default=0.0)


def _refuse_still(head: DetectHead, pairs: Sequence[Pair]) -> None:
    still = sum(int(one.is_still.sum()) for one in pairs)
    clear = sum(int((one.is_still | ~one.stays).sum()) for one in pairs)
    if still >= FEWEST_STILL and still >= MOST_STILL * clear:
        raise RecipeError(
            "The boxes look like offsets from anchors: where an image is moved, other rows find what is in it, and "
            "give the same numbers. The anchors are not in the file. Export the network with its decoding, as its own "
            "library's detect or predict does. If they are boxes all the same, state "
            f"--box-format {head.recipe.box_format}"
        )


def _contradiction(
    head: DetectHead, reading: Reading, unclear: list[str], *, is_stated: bool
) -> RecipeError:
    form = head.recipe.box_format
    other = reading.form
    given = "" if other == form else f", and give --box-format {other}"
    if reading.factor != 1:
        unit = "pixels" if head.recipe.box_unit == "pixel" else "0 to 1 of the frame"
        middle = ", counted from the middle of the frame" if reading.is_centered else ""
        words = (
            f"its numbers were about {reading.factor:.2g} times those of {unit}{middle} ({other})"
        )
        step = f"Export the network with boxes in pixels of its input, or in 0 to 1 of it{given}"
    elif other == XXYY:
        words = "they were two corners, both x before both y"
        step = "Export the network with the columns in the order of x_min, y_min, x_max, y_max"
    elif reading.is_turned:
        words = f"y were counted from the bottom of the image ({other})"
        step = f"Export the network with height - y in place of y (1 - y in 0 to 1 of the frame){given}"
    elif reading.is_half:
        words = f"the sizes were half of width and height ({other})"
        step = f"Export the network with its sizes doubled{given}"
    else:
        words, step = f"they were {BOX_WORDS[other]}", f"Give --box-format {other}"
        if unclear:
            step += f", or {', '.join(unclear)}: more photographs of what it finds, with --images, show which is right"
    taken, believe = (
        ("stated", "prove the network on photographs of what it finds (--images FOLDER)")
        if is_stated
        else ("taken", f"state --box-format {form}")
    )
    return RecipeError(
        f"Boxes are {taken} to be {form}, {BOX_WORDS[form]}; but what the network finds in images that are moved or "
        f"mirrored lies where it should if {words}. {step}. If they are right all the same, {believe}"
    )
