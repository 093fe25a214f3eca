"""The flow of an export: recipe → network → graph → proof → file."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx

from exporter.assemble import assemble
from exporter.cards import make_card
from exporter.checks import check_recipe
from exporter.class_labels import labels_for
from exporter.closing_hints import closing_hints
from exporter.cost import count_cost
from exporter.errors import ProofError
from exporter.heads.activation import activation_words
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.hints import (
    variant_hints,
)
from exporter.images import PHOTOGRAPHS_NAME, images_for
from exporter.independence import require_independence
from exporter.labeled.duplicates import judged_on_labeled
from exporter.labeled.findings import find_on_labeled
from exporter.labeled.measure import check_labeled, measure_accuracy
from exporter.labeled.reading import read_labeled
from exporter.network import Head, Network
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
from exporter.unstated import unstated_parts
from exporter.variants import Original, write_variants
from exporter.witness import Witness
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
    witness = Witness(network.head, labels)
    model, stages = assemble(network)
    refuse_training(model)
    if recipe.proof.largest == 1:
        subject = _alone_if_needed(model, subject, progress)
        network = subject.network
    cost = count_cost(model)
    progress.begin("Prove it on real images")
    certificate = prove(model, subject, recipe.proof, progress, witness=witness.see)
    model, precision, measured = _reduced(model, subject, recipe, progress)
    if precision != "fp32":
        progress.begin("Prove the reduced graph")
        tolerance = tolerance_of(precision, network.head)
        certificate = prove(model, subject, recipe.proof, progress, tolerance)
    findings = None
    if labeled is not None:
        findings = find_on_labeled(model, network, labels, labeled, progress)
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
        cut=witness.cut,
        accuracy=findings.accuracy if findings is not None else None,
        certificate=certificate,
    )
    progress.begin("Write the servable")
    card = write_servable(path, model, card, recipe_text)
    original = _original(path, model, card, subject)
    variants = _variants(original, network, recipe, labeled, progress)
    unstated = unstated_parts(recipe, network)
    hints = closing_hints(
        recipe, subject, card, witness, findings, loaded=loaded, unstated=unstated
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


def _variants(
    original: Original,
    network: Network,
    recipe: Recipe,
    labeled: LabeledImages | None,
    progress: Progress,
) -> tuple[MadeVariant, ...]:
    if not recipe.variants:
        return ()
    if labeled is not None:
        labels = original.card.labels
        accuracy = partial(
            _accuracy, network=network, labels=labels, labeled=labeled, progress=progress
        )
        original = replace(original, accuracy=accuracy)
    _warn_of_photographs(recipe, network, progress)
    return write_variants(original, recipe.variants, progress)


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
