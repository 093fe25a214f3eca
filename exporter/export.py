"""The flow of an export: recipe → network → graph → proof → file."""

from pathlib import Path

import onnx

from exporter.assemble import assemble
from exporter.cards import make_card
from exporter.cost import count_cost
from exporter.errors import RecipeError
from exporter.heads.classify import ClassifyHead
from exporter.images import PHOTOGRAPHS_NAME, images_in, photographs
from exporter.network import Network
from exporter.outcome import Exported, Measured
from exporter.precision import TOLERANCES, reduce_precision
from exporter.progress import Progress
from exporter.proof import ImageSubject, prove, settled
from exporter.recipe import Precision, Recipe
from exporter.sources.registry import load_network
from exporter.temporal import export_temporal
from exporter.training_mode import refuse_training
from exporter.writing import write_servable


def export(recipe: Recipe, path: Path, progress: Progress) -> Exported:
    """Make the servable that a recipe describes; nothing is written before it is proved.

    Raises:
        ExportError: it can not be made or not be proved; the message names the option or field and the next step.
    """
    if recipe.task == "temporal":
        return Exported(path, export_temporal(recipe, path, progress))
    network = load_network(recipe, progress)
    labels = labels_for(recipe, network)
    progress.begin("Add preprocessing and head")
    subject = settled(ImageSubject.of(network, images_for(recipe, network)), len(labels))
    network = subject.network
    model, stages = assemble(network)
    refuse_training(model)
    cost = count_cost(model)
    progress.begin("Prove it on real images")
    certificate = prove(model, subject, recipe.proof, progress)
    model, precision, measured = _reduced(model, subject, recipe, progress)
    if precision != "fp32":
        progress.begin("Prove the reduced graph")
        certificate = prove(model, subject, recipe.proof, progress, TOLERANCES[precision])
    card = make_card(
        recipe,
        network.facts,
        labels=labels,
        multi_label=isinstance(network.head, ClassifyHead) and network.head.multi_label,
        input=network.image_input,
        background_id=network.background_id,
        max_batch=network.max_batch,
        stages=tuple(stages),
        cost=cost,
        precision=precision,
        certificate=certificate,
    )
    progress.begin("Write the servable")
    card = write_servable(path, model, card)
    return Exported(path, card, measured)


def _reduced(
    model: onnx.ModelProto, subject: ImageSubject, recipe: Recipe, progress: Progress
) -> tuple[onnx.ModelProto, Precision, tuple[Measured, ...]]:
    """Return the model in the precision that the recipe prefers, and what was measured of each."""
    if recipe.precision == ("fp32",):
        return model, "fp32", ()
    network = subject.network
    if recipe.proof.images is None and not network.proof:
        progress.warn(f"calibrated on {PHOTOGRAPHS_NAME}; give images of your own with --images")
    reduced, measured = reduce_precision(
        model, network.head, subject.inputs, recipe.precision, progress
    )
    return reduced.model, reduced.measured.precision, measured


def labels_for(recipe: Recipe, network: Network) -> tuple[str, ...]:
    """Return the recipe's labels, else the source's.

    Raises:
        RecipeError: their number is not that of the classes.
    """
    labels = recipe.label_list() or network.facts.labels or ()
    needed = network.head.classes
    if needed is None and network.head.task == "detect" and network.facts.labels:
        needed = len(network.facts.labels)
    if needed is not None and len(labels) != needed:
        raise RecipeError(
            f"labels: {len(labels)} are given, the network has {needed} classes. "
            "Give one label for each class, in the order of the network's outputs"
            + (", or two, where the score is that of the second one" if needed == 1 else "")
        )
    return labels


def images_for(recipe: Recipe, network: Network) -> tuple[bytes, ...]:
    """Return the encoded images to prove with: the recipe's, the source's own, or scikit-image's."""
    if recipe.proof.images is not None:
        return images_in(recipe.folder / recipe.proof.images, recipe.proof.limit)
    return network.proof or photographs(recipe.proof.limit)
