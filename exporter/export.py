"""The exporter's river: recipe → network → graph → proof → file."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from exporter.cost import count_cost
from exporter.errors import RecipeError
from exporter.finishing import finish
from exporter.network import Network
from exporter.pictures import photographs, pictures_in
from exporter.proof import Claim, prove
from exporter.recipe import Recipe
from exporter.sources.registry import load_network
from exporter.steps import Steps
from exporter.writing import graph_digest, write_servable
from service.card import Card


@dataclass(frozen=True, slots=True)
class Exported:
    """A servable that was proved and written."""

    path: Path
    card: Card


def export(recipe: Recipe, path: Path, steps: Steps) -> Exported:
    """Make the servable that a recipe asks for and put it at `path`; nothing is written before it is proved.

    Raises:
        ExportError: it can not be made, or not be proved; the message names the argument and the mend.
    """
    network = load_network(recipe, steps)
    labels = _labels(recipe, network)
    steps.begin("Graft input and head")
    model, stages = finish(network)
    cost = count_cost(model)
    steps.begin("Prove it on real pictures")
    pictures = _pictures(recipe, network)
    digest = graph_digest(model)
    certificate = prove(Claim(model, network, recipe.task, recipe.proof), pictures, digest, steps)
    facts = network.facts
    try:
        card = Card(
            name=recipe.name,
            task=recipe.task,
            title=recipe.title or facts.title,
            description=recipe.description or facts.description,
            labels=labels,
            multi_label=recipe.multi_label,
            licence=recipe.licence or facts.licence or "not stated",
            source=recipe.origin or facts.origin,
            input=network.picture,
            background_id=recipe.segment.background_id,
            max_batch=network.max_batch,
            stages=tuple(stages),
            cost=cost,
            scores=recipe.scores or facts.scores or {},
            certificate=certificate,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{where}: {first['msg']}") from error
    steps.begin("Write the servable")
    write_servable(path, model, card)
    return Exported(path, card)


def _labels(recipe: Recipe, network: Network) -> tuple[str, ...]:
    labels = recipe.label_list() or network.facts.labels or ()
    wanted = network.head.classes
    if wanted is not None and len(labels) != wanted:
        raise RecipeError(
            f"labels: {len(labels)} are given, the network tells {wanted} classes apart. "
            "Give one label for each class, in the order of the network's outputs"
        )
    return labels


def _pictures(recipe: Recipe, network: Network) -> tuple[bytes, ...]:
    if recipe.proof.pictures is not None:
        return pictures_in(recipe.folder / recipe.proof.pictures, recipe.proof.limit)
    return network.proof or photographs(recipe.proof.limit)
