"""What an export would do, before it does it: every value, and where it comes from. Nothing is proved or written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from exporter.class_labels import labels_for
from exporter.errors import RecipeError
from exporter.guessing.granted import Granted
from exporter.heads.activation import activation_words
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.images import PHOTOGRAPHS_NAME, images_for
from exporter.labeled.measure import check_labeled
from exporter.labeled.reading import read_labeled
from exporter.network import Network
from exporter.precision import TOLERANCES
from exporter.progress import Progress
from exporter.proof import BATCHES
from exporter.recipe import Recipe
from exporter.settling import settled
from exporter.sources.registry import load_network
from exporter.subject import ImageSubject
from service.card import BoxForm

_STATES_PIXELS = {"torchvision", "timm", "transformers", "train"}
"""The sources that know scale, mean and std."""

DEFAULT = "default"
_OWN_SCALE = "the network itself multiplies pixel values by {:.4g}"


@dataclass(frozen=True, slots=True)
class Explained:
    """One part of the servable, what it will be, and where that comes from."""

    part: str
    value: str
    origin: str


def explain(
    recipe: Recipe, path: Path, granted: Sequence[Granted], progress: Progress
) -> tuple[Explained, ...]:
    """Read the network, run it on a few images, and return what would be made of it.

    Raises:
        ExportError: what an export would be refused for before its proof.
    """
    if recipe.task == "temporal":
        raise RecipeError("--explain is for networks that read images, not for task temporal")
    labeled = read_labeled(recipe)
    network = load_network(recipe, progress)
    labels = labels_for(recipe, network)
    images = images_for(recipe, network)
    progress.begin("Look at the outputs on real images")
    network = settled(ImageSubject.of(network, images), labels).network
    if labeled is not None:
        check_labeled(labeled, network, labels)
    origins = _Origins(recipe, {one.parameter: one.why for one in granted})
    return tuple(
        _rows(
            recipe=recipe,
            path=path,
            network=network,
            labels=labels,
            images=len(images),
            origins=origins,
        )
    )


def show_explanation(rows: Sequence[Explained]) -> Table:
    """Return the table of an explanation."""
    table = Table(title="What the export would do", title_justify="left")
    for heading in ("", "value", "from"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(row.part, row.value, row.origin)
    return table


@dataclass(frozen=True, slots=True)
class _Origins:
    recipe: Recipe
    why: dict[str, str]

    def of(self, parameter: str, otherwise: str, *, table: str | None = None) -> str:
        """Return why an option has its value: it was given, taken for granted, or left to the source."""
        if parameter in self.why:
            return self.why[parameter]
        place = getattr(self.recipe, table) if table else self.recipe
        is_set = place is not None and parameter in place.model_fields_set
        return "--" + parameter.replace("_", "-") if is_set else otherwise

    def of_several(self, parameters: Sequence[str], otherwise: str, table: str) -> str:
        """Return the origins of the fields of a table, each once."""
        found = [self.of(one, otherwise, table=table) for one in parameters]
        return ", ".join(dict.fromkeys(found))


def _rows(
    *,
    recipe: Recipe,
    path: Path,
    network: Network,
    labels: tuple[str, ...],
    images: int,
    origins: _Origins,
) -> Iterator[Explained]:
    kind = recipe.source.partition(":")[0]
    stated = f"stated by {kind}"
    yield Explained("source", network.facts.origin, "given")
    yield Explained("file", f"{path} (not written now)", origins.of("name", "given"))
    yield Explained("task", recipe.task, origins.of("task", "given"))
    yield Explained("labels", _shown(labels), origins.of("labels", stated))
    yield Explained("input", network.image_input.words, _input_origin(network, origins, kind))
    values = stated if kind in _STATES_PIXELS else f"{DEFAULT}: {kind} does not state it"
    pixels, borrowed = network.pixels, network.borrowed
    for name, value in (
        ("scale", f"{pixels.scale:.6g}"),
        ("mean", _numbers(pixels.mean[: pixels.channels])),
        ("std", _numbers(pixels.std[: pixels.channels])),
        ("color", pixels.color),
        ("layout", pixels.layout),
    ):
        reads_bytes = name == "scale" and pixels.scale == 1 and network.own_factor is not None
        otherwise = _OWN_SCALE.format(network.own_factor) if reads_bytes else values
        if borrowed is not None and name in network.assumed:
            whose = borrowed.whose if borrowed.has_values else "nothing states it for one channel"
            otherwise = f"assumed: {whose}"
        if name == "layout" and kind == "onnx":
            otherwise = "the shape of the file's input"
        yield Explained(name, value, origins.of(name, otherwise, table="pixels"))
    yield Explained("outputs", ", ".join(network.head.outputs), f"task {recipe.task}")
    yield from _activation(recipe, network)
    if isinstance(network.head, DetectHead):
        yield from _boxes(recipe, network.head)
    precisions = ", ".join(f"{one} (within {TOLERANCES[one]:g})" for one in recipe.precision)
    yield Explained("precision", precisions, origins.of("precision", DEFAULT))
    largest = network.max_batch or recipe.proof.largest
    batches = sorted({*(one for one in BATCHES if one < largest), largest})
    whose = "--images" if recipe.proof.images is not None else PHOTOGRAPHS_NAME
    proof = (
        f"against {network.reference.name} at batch {', '.join(map(str, batches))} within "
        f"{recipe.proof.tolerance:g}, and on {images} image{'' if images == 1 else 's'}, of which "
        f"{recipe.proof.agreement:.0%} must agree"
    )
    yield Explained("proof", proof, "the source's own images" if network.proof else whose)


_INPUT_PARTS = {
    "height": "size",
    "width": "size",
    "resize": "resize",
    "shorter_side": "resize",
    "interpolation": "interpolation",
}
"""The fields of a recipe's image input, and the part of it that each belongs to."""


def _input_origin(network: Network, origins: _Origins, kind: str) -> str:
    """Return where the parts of the image input come from, with those that nothing states by their names."""
    borrowed, stated = network.borrowed, f"stated by {kind}"
    if borrowed is not None and borrowed.parts:
        known = [name for name, part in _INPUT_PARTS.items() if part not in borrowed.parts]
        found = dict.fromkeys(origins.of(one, stated, table="input") for one in known)
        if "size" in borrowed.parts:
            found.pop(stated, None)
        return ", ".join([*found, f"{borrowed.words} assumed: {borrowed.whose}"])
    if kind in _STATES_PIXELS:
        return origins.of_several(tuple(_INPUT_PARTS), stated, "input")
    given = {name: origins.of(name, "", table="input") for name in _INPUT_PARTS}
    found = dict.fromkeys(
        origin or stated for name, origin in given.items() if origin or _INPUT_PARTS[name] == "size"
    )
    parts = {_INPUT_PARTS[name] for name, origin in given.items() if origin}
    left = [part for part in ("resize", "interpolation") if part not in parts]
    if not left:
        return ", ".join(found)
    unknown = f"{kind} does not state {'it' if len(left) == 1 else 'them'}"
    return ", ".join([*found, f"{' and '.join(left)} {DEFAULT}: {unknown}"])


def _activation(recipe: Recipe, network: Network) -> Iterator[Explained]:
    value = activation_words(network.head)
    if value is None:
        return
    table = getattr(recipe, recipe.task, None)
    is_set = table is not None and {"activation", "score_activation"} & table.model_fields_set
    seen = "the graph's end and its values on images"
    if isinstance(network.head, ClassifyHead) and network.head.assumes_logit:
        seen = "assumed: nothing says what the one score is"
    if getattr(network.head, "assumes_softmax", False):
        seen = "assumed: nothing states it"
    yield Explained("activation", value, "--activation" if is_set else seen)


def _boxes(recipe: Recipe, head: DetectHead) -> Iterator[Explained]:
    """Yield how a detector's outputs are read, and what becomes of several boxes of an object."""
    stated = recipe.detect.model_fields_set
    known = "--decoder" if "decoder" in stated else "the outputs' shapes, and values on images"
    yield Explained("decoder", head.recipe.decoder, known)
    form = BoxForm(format=head.recipe.box_format, unit=head.recipe.box_unit)
    options = [
        "--" + name.replace("_", "-") for name in ("box_format", "box_unit") if name in stated
    ]
    if len(options) < 2:
        assumed = " and ".join(part for part in head.assumed if part != "nms_free")
        options.append(
            f"{assumed} assumed: nothing shows it" if assumed else "the source, or values on images"
        )
    yield Explained("boxes", form.words, ", ".join(options))
    suppression = "none: each object has one box" if head.recipe.nms_free else "in each request"
    why = "the form of the outputs, or values on images"
    if "nms_free" in stated:
        why = "--nms-free" if head.recipe.nms_free else "--no-nms-free"
    elif "nms_free" in head.assumed:
        why = "assumed by the form of the outputs: too little is found to show it"
    yield Explained("suppression", suppression, why)


def _shown(labels: tuple[str, ...]) -> str:
    if not labels:
        return "none"
    first = ", ".join(label or "–" for label in labels[:4])
    return f"{len(labels)}: {first}{', …' if len(labels) > 4 else ''}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{one:.4g}" for one in values)
