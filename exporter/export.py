"""The exporter's river: recipe → network → graph → proof → file."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from exporter.assemble import finish
from exporter.cost import count_cost
from exporter.errors import RecipeError
from exporter.images import PHOTOGRAPHS_NAME, images_in, photographs
from exporter.network import Network
from exporter.precision import Measured, reduce_precision
from exporter.progress import Steps
from exporter.proof import UNBOUNDED, Claim, fit_all, prove
from exporter.recipe import Precision, Recipe
from exporter.sources.registry import load_network
from exporter.temporal import export_temporal
from exporter.training_mode import refuse_training
from exporter.writing import write_servable
from service.card import Card, Certificate, Cost, Stage


@dataclass(frozen=True, slots=True)
class Exported:
    """A servable that was proved and written, and what each precision asked for costs here."""

    path: Path
    card: Card
    precisions: tuple[Measured, ...] = ()


def export(recipe: Recipe, path: Path, steps: Steps) -> Exported:
    """Make the servable that a recipe asks for; nothing is written before it is proved.

    Raises:
        ExportError: it can not be made or not be proved; the message names argument and mend.
    """
    if recipe.task == "temporal":
        return Exported(path, export_temporal(recipe, path, steps))
    network = load_network(recipe, steps)
    labels = _labels(recipe, network)
    steps.begin("Graft input and head")
    model, stages = finish(network)
    refuse_training(model)
    cost = count_cost(model)
    images = _images(recipe, network)
    steps.begin("Prove it on real images")
    certificate = prove(Claim(model, network, recipe.task, recipe.proof), images, steps)
    measured: tuple[Measured, ...] = ()
    precision: Precision = "fp32"
    if recipe.precision != ("fp32",):
        if recipe.proof.images is None and not network.proof:
            steps.warn(f"calibrated on {PHOTOGRAPHS_NAME}; give your own by --images FOLDER")
        frames = fit_all(images, network.image_input)
        reduced, measured = reduce_precision(model, network.head, frames, recipe.precision, steps)
        model, precision = reduced.model, reduced.measured.precision
    if precision != "fp32":
        steps.begin("Prove the reduced graph")
        # A lower precision is held to its agreement; its largest difference is told, not bounded.
        bounds = recipe.proof.model_copy(update={"tolerance": UNBOUNDED})
        certificate = prove(Claim(model, network, recipe.task, bounds), images, steps)
    card = _card(
        recipe,
        network,
        precision,
        labels=labels,
        stages=stages,
        cost=cost,
        certificate=certificate,
    )
    steps.begin("Write the servable")
    write_servable(path, model, card)
    return Exported(path, card, measured)


def _card(
    recipe: Recipe,
    network: Network,
    precision: Precision,
    *,
    labels: tuple[str, ...],
    stages: list[Stage],
    cost: Cost,
    certificate: Certificate,
) -> Card:
    facts = network.facts
    try:
        return Card(
            name=recipe.name,
            task=recipe.task,
            title=recipe.title or facts.title,
            description=recipe.description or facts.description,
            labels=labels,
            multi_label=recipe.multi_label,
            license=recipe.license or facts.license or "not stated",
            source=recipe.origin or facts.origin,
            input=network.image_input,
            background_id=network.background_id,
            max_batch=network.max_batch,
            stages=tuple(stages),
            cost=cost,
            precision=precision,
            scores=recipe.scores or facts.scores or {},
            certificate=certificate,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{where}: {first['msg']}") from error


def _labels(recipe: Recipe, network: Network) -> tuple[str, ...]:
    labels = recipe.label_list() or network.facts.labels or ()
    wanted = network.head.classes
    if wanted is not None and len(labels) != wanted:
        raise RecipeError(
            f"labels: {len(labels)} are given, the network tells {wanted} classes apart. "
            "Give one label for each class, in the order of the network's outputs"
        )
    return labels


def _images(recipe: Recipe, network: Network) -> tuple[bytes, ...]:
    if recipe.proof.images is not None:
        return images_in(recipe.folder / recipe.proof.images, recipe.proof.limit)
    return network.proof or photographs(recipe.proof.limit)
