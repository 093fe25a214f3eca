"""The flow of an export: recipe → network → graph → proof → file."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx

from exporter.assemble import assemble
from exporter.cards import make_card
from exporter.checks import check_labels, check_recipe
from exporter.cost import count_cost
from exporter.counted_labels import counted_hints
from exporter.cut_candidates import CutOff
from exporter.errors import ProofError, RecipeError
from exporter.heads.activation import activation_words
from exporter.heads.background import leaves_background_out, with_background_label
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.extra_column import refuse_one_more
from exporter.heads.other_decoders import refuse_wrong_axis
from exporter.heads.segment import SegmentHead
from exporter.hints import (
    Decisions,
    accuracy_hints,
    assumption_hints,
    better_hints,
    box_hints,
    frame_hints,
    input_hints,
    score_hints,
    variant_hints,
)
from exporter.images import PHOTOGRAPHS_NAME, images_in, photographs
from exporter.independence import require_independence
from exporter.labeled.alternatives import Better, better_pixels
from exporter.labeled.duplicates import judged_on_labeled
from exporter.labeled.label_order import order_hints
from exporter.labeled.measure import Measurement, check_labeled, measure_accuracy
from exporter.labeled.other_inputs import better_inputs
from exporter.labeled.reading import read_labeled
from exporter.labeled.turned import turned_hints
from exporter.network import Head, Network, Outputs
from exporter.outcome import Exported, MadeVariant, Measured
from exporter.precision import reduce_precision, tolerance_of
from exporter.progress import Progress
from exporter.proof import prove, run_graph
from exporter.recipe import Precision, Recipe
from exporter.reducible import require_reducible
from exporter.sessions import alternating_session
from exporter.settling import settled
from exporter.shortage import shortages_named
from exporter.sources.registry import load_network
from exporter.subject import ImageSubject
from exporter.temporal import export_temporal
from exporter.training_mode import refuse_training
from exporter.unstated import unstated_hints, unstated_parts
from exporter.variants import Original, write_variants
from exporter.writing import write_servable
from service.card import Accuracy, BoxForm, Card
from service.labeled.truth import LabeledImages


@shortages_named()
def export(
    recipe: Recipe, path: Path, progress: Progress, recipe_text: str | None = None
) -> Exported:
    """Make the servable that a recipe describes; nothing is written before it is proved.

    A recipe file with `recipe_text` is written beside it.

    Raises:
        ExportError: it can not be made or not be proved; the message names the option or field and the next step.
    """
    check_recipe(recipe, path)
    labeled = read_labeled(recipe)
    if recipe.task == "temporal":
        return Exported(path, export_temporal(recipe, path, progress, recipe_text))
    network = load_network(recipe, progress)
    labels = labels_for(recipe, network)
    require_reducible(network.graph, recipe)
    progress.begin("Add preprocessing and head")
    subject = settled(ImageSubject.of(network, images_for(recipe, network)), labels)
    loaded, network = network.head, subject.network
    if labeled is not None:
        check_labeled(labeled, network, labels)
        network = judged_on_labeled(network, labeled)
        subject = replace(subject, network=network)
    decisions, cut_off = Decisions(network.head, labels), CutOff(network.head)
    model, stages = assemble(network)
    refuse_training(model)
    if recipe.proof.largest == 1:
        subject = _alone_if_needed(model, subject, progress)
        network = subject.network
    cost = count_cost(model)
    progress.begin("Prove it on real images")

    def witness(found: Outputs, expected: Outputs) -> None:
        decisions.add(found)
        cut_off.add(found, expected)

    certificate = prove(model, subject, recipe.proof, progress, witness=witness)
    model, precision, measured = _reduced(model, subject, recipe, progress)
    if precision != "fp32":
        progress.begin("Prove the reduced graph")
        tolerance = tolerance_of(precision, network.head)
        certificate = prove(model, subject, recipe.proof, progress, tolerance)
    measurement, better, others = _measured(model, network, labels, labeled, progress)
    card = make_card(
        recipe,
        network.facts,
        labels=labels,
        multi_label=isinstance(network.head, ClassifyHead) and network.head.multi_label,
        input=network.image_input,
        background_id=network.background_id,
        nms_free=_is_nms_free(network.head),
        max_batch=network.max_batch,
        stages=tuple(stages),
        cost=cost,
        precision=precision,
        normalization=network.normalization,
        boxes=_box_form(network.head),
        cut=cut_off.cut,
        accuracy=measurement.accuracy if measurement is not None else None,
        certificate=certificate,
    )
    progress.begin("Write the servable")
    card = write_servable(path, model, card, recipe_text)
    variants: tuple[MadeVariant, ...] = ()
    if recipe.variants:
        original = _original(path, model, card, subject)
        if labeled is not None:
            accuracy = partial(
                _accuracy, network=network, labels=labels, labeled=labeled, progress=progress
            )
            original = replace(original, accuracy=accuracy)
        _warn_of_photographs(recipe, network, progress)
        variants = write_variants(original, recipe.variants, progress)
    unstated = unstated_parts(recipe, network)
    hints = (
        *input_hints(subject.inputs, network.pixels, network.own_factor),
        *decisions.hints(),
        *cut_off.hints(),
        *(accuracy_hints(measurement) if measurement is not None else ()),
        *(better_hints(better) if better is not None else ()),
        *others,
        *assumption_hints(network.normalization, measured=measurement is not None),
        *(unstated_hints(unstated, network) if measurement is None else turned_hints(measurement)),
        *(counted_hints(labels) if isinstance(recipe.labels, str) else ()),
        *score_hints(network.head, labels, measured=measurement is not None),
        *frame_hints(network.borrowed, network.image_input),
        *box_hints(
            loaded,
            network.head,
            card.boxes,
            nms_free=bool(card.nms_free),
            measured=measurement is not None,
        ),
    )
    return Exported(
        path,
        card,
        measured,
        (*hints, *variant_hints(variants)),
        variants,
        activation=activation_words(network.head),
        assumed=unstated,
    )


def _alone_if_needed(
    model: onnx.ModelProto, subject: ImageSubject, progress: Progress
) -> ImageSubject:
    """Return the subject for one image at a time, where the images of a batch change each other's answers."""
    session = alternating_session(model)
    comparison = subject.comparison
    try:
        require_independence(
            lambda inputs: run_graph(session, inputs, comparison.outputs),
            comparison,
            subject.inputs,
            subject.max_batch,
            subject.unit,
        )
    except ProofError:
        progress.warn(
            "the servable computes one image at a time (max_batch 1), as --largest-batch 1 allows: the images of a "
            "batch change each other's answers"
        )
        return replace(subject, network=replace(subject.network, max_batch=1))
    return subject


def _original(path: Path, model: onnx.ModelProto, card: Card, subject: ImageSubject) -> Original:
    """Return what variants are made of: every second frame to calibrate with, the others to judge by."""
    frames = subject.inputs
    calibration, reference = (frames[::2], frames[1::2]) if len(frames) > 1 else (frames, frames)
    return Original(path, model, card, subject.network.head, calibration, reference)


def _accuracy(
    model: onnx.ModelProto,
    network: Network,
    labels: tuple[str, ...],
    labeled: LabeledImages,
    progress: Progress,
) -> Accuracy:
    return measure_accuracy(model, network, labels, labeled, progress).accuracy


def _warn_of_photographs(recipe: Recipe, network: Network, progress: Progress) -> None:
    if recipe.proof.images is None and not network.proof:
        progress.warn(f"calibrated on {PHOTOGRAPHS_NAME}; give images of your own with --images")


def _measured(
    model: onnx.ModelProto,
    network: Network,
    labels: tuple[str, ...],
    labeled: LabeledImages | None,
    progress: Progress,
) -> tuple[Measurement | None, Better | None, tuple[str, ...]]:
    """Return what is measured on labeled images, whether other than the assumed pixel values are better, and hints.

    The hints are those of other colors, of other ways of resizing, and of another order of the labels.
    """
    if labeled is None:
        return None, None, ()
    progress.begin("Measure on labeled images")
    measurement = measure_accuracy(model, network, labels, labeled, progress)
    better = better_pixels(network, labels, labeled)
    inputs = better_inputs(
        network, labels, labeled, measurement, progress, values_too=better is None
    )
    explained = max((one.scores[0][1] for one in inputs), default=0.0)
    order = order_hints(measurement, labels, labeled, explained=explained)
    return measurement, better, (*(hint for one in inputs for hint in one.hints()), *order)


def _reduced(
    model: onnx.ModelProto, subject: ImageSubject, recipe: Recipe, progress: Progress
) -> tuple[onnx.ModelProto, Precision, tuple[Measured, ...]]:
    """Return the model in the precision that the recipe prefers, and what was measured of each."""
    if recipe.precision == ("fp32",):
        return model, "fp32", ()
    network = subject.network
    _warn_of_photographs(recipe, network, progress)
    reduced, measured = reduce_precision(
        model,
        network.head,
        subject.inputs,
        recipe.precision,
        progress,
        max_batch=network.max_batch,
    )
    return reduced.model, reduced.measured.precision, measured


def _is_nms_free(head: Head) -> bool | None:
    """Return True for a detector that gives each object one box, None for all others: their cards do not have it."""
    return True if isinstance(head, DetectHead) and head.recipe.nms_free else None


def _box_form(head: Head) -> BoxForm | None:
    """Return how a detector's boxes are read; None for other tasks."""
    if not isinstance(head, DetectHead):
        return None
    recipe = head.recipe
    assumed = (*head.assumed, *(("background",) if head.assumes_no_background else ()))
    return BoxForm(format=recipe.box_format, unit=recipe.box_unit, assumed=assumed)


def labels_for(recipe: Recipe, network: Network) -> tuple[str, ...]:
    """Return the recipe's labels, else the source's; a detector's background gets an empty one where it has none.

    Raises:
        RecipeError: their number is not that of the classes.
    """
    head, stated = network.head, recipe.label_list() or ()
    if (
        isinstance(head, SegmentHead)
        and head.channels == 1
        and stated
        and len(stated) != head.classes
    ):
        raise RecipeError(
            f"labels: {len(stated)} are given, and the network has one map, the score of the second of two classes. "
            "Give two labels, the background's first. If the map holds the class id of each pixel, export the network "
            "without its ArgMax, or name the output before it with --outputs"
        )
    needed = network.head.classes
    if isinstance(head, DetectHead):
        known = stated or network.facts.labels or ()
        refuse_one_more(head, len(known))
        if leaves_background_out(head, known):
            labels = check_labels(recipe, network.facts, head.columns - 1)
            return with_background_label(head, labels)
        refuse_wrong_axis(head, len(known))
        needed = needed or len(network.facts.labels or ()) or None
    return check_labels(recipe, network.facts, needed)


def images_for(recipe: Recipe, network: Network) -> tuple[bytes, ...]:
    """Return the encoded images to prove with: the recipe's, the source's own, or scikit-image's."""
    if recipe.proof.images is not None:
        return images_in(recipe.folder / recipe.proof.images, recipe.proof.limit)
    return network.proof or photographs(recipe.proof.limit)
