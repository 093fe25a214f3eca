"""`transformers:PATH_OR_CONFIG`: a network of Transformers, with what its configuration states."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from exporter.errors import ExportError, RecipeError, SourceError, WeightsError
from exporter.file_kind import file_kind
from exporter.library_warnings import ignore_library_warnings
from exporter.network import Facts, Network
from exporter.progress import Progress
from exporter.recipe import Recipe, Task
from exporter.recipe_tables import DetectRecipe, SegmentRecipe
from exporter.sources.transformers_boxes import own_detections, read_scores
from exporter.sources.transformers_configs import (
    CONFIG,
    has_weights,
    is_placeholder,
    labels_of,
    placeholders,
    read_config,
    refuse_missing_shards,
    refuse_other_task,
    task_of,
)
from exporter.sources.transformers_images import ProcessedImages, processed_images
from exporter.sources.transformers_modules import (
    Pretrained,
    Processor,
    first_outputs,
    raw_module,
)
from exporter.torch_network import TorchModel, torch_network
from exporter.weights import load_weights
from service.card import ImageInput

Library = Any
"""The module `transformers`."""

Automatic = Any
"""One of its classes such as AutoModelForImageClassification."""

Config = Any
"""The configuration of a network, one class for each kind."""

ATTENTION = "eager"
"""Matrix products and a softmax, in place of PyTorch's fused attention: the same values, and Swin can be captured."""

NO_WEIGHTS = "none"
_SHOWN = 5

_MORE_THAN_IMAGES = {
    "oneformer": 'the text "the task is semantic"',
    "videomt": "several frames of a video",
}

_AUTOMATIC: dict[Task, tuple[str, ...]] = {
    "classify": ("AutoModelForImageClassification",),
    "segment": ("AutoModelForSemanticSegmentation", "AutoModelForUniversalSegmentation"),
    "detect": ("AutoModelForObjectDetection",),
}
"""The classes of Transformers that build a network for each task."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the configuration is: a folder, or a config.json alone, which has no weights beside it."""

    folder: Path
    weights: bool


def load(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return the network in a folder that `save_pretrained` wrote, or that a config.json alone describes.

    Raises:
        SourceError: Transformers is not installed, or there is no such network.
        WeightsError: the weights are missing or do not fit.
        RecipeError: the network is for another task.
    """
    progress.begin("Build the network")
    library = _transformers()
    place = _place(recipe.folder / where)
    content = read_config(place.folder / CONFIG)
    _check_task(content, recipe)
    size = recipe.input
    sides = (size.height, size.width) if size.height and size.width else None
    with _as_source_error(where), ignore_library_warnings():
        model = _build(library, place, recipe)
    with _as_source_error(f"{where}: its image processor can not be used"):
        with ignore_library_warnings():
            processor = _processor(library, place, model)
        images = processed_images(processor, sides)
    if images.note:
        progress.warn(images.note)
    if _is_gray(model) and (of_colors := _differing(processor)):
        progress.warn(
            f"The network reads one channel, and the image processor states {' and '.join(of_colors)} for three that "
            "differ: the first of each is taken. Give --mean and --std if the network was trained with others"
        )
    with _as_source_error(where):
        known = _described(place, model.eval(), processor, images, recipe)
    if is_placeholder(known.facts.labels) and not recipe.label_list():
        progress.warn(
            f"{CONFIG} has no names for the classes, only LABEL_0 and so on. Give --labels FILE"
        )
    if content.get("problem_type") == "multi_label_classification":
        recipe = recipe.model_copy(update={"multi_label": True})
    return torch_network(known, recipe, progress)


@contextmanager
def _as_source_error(what: str) -> Iterator[None]:
    """Name the network in what Transformers raises for settings that it does not expect: errors of any class.

    Raises:
        SourceError: for each of these in the block.
    """
    try:
        yield
    except (ExportError, MemoryError):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
        if not why or isinstance(error, LookupError | TypeError):
            why = f"{type(error).__name__} {why}".strip()
        raise SourceError(f"transformers:{what}: {why}") from error


def _transformers() -> Library:
    if find_spec("transformers") is None:
        raise SourceError(
            "transformers is not installed. In a clone: .venv/bin/pip install -e '.[transformers]'"
        )
    import transformers  # noqa: PLC0415 - an optional dependency that takes seconds to load

    logging: Any = transformers.logging  # its functions have no types
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return transformers


def _place(path: Path) -> _Place:
    if path.is_dir() and (path / CONFIG).is_file():
        return _Place(path, has_weights(path))
    if path.is_file() and path.suffix == ".json":
        return _Place(path.parent, weights=False)
    what = "has no config.json" if path.is_dir() else "is no folder and no config.json"
    raise SourceError(
        f"transformers:{path}: this {what}. Give a folder that save_pretrained wrote; for a network on a hub, "
        "download it first: hf download NAME --local-dir FOLDER"
    )


def _check_task(content: dict[str, Any], recipe: Recipe) -> None:
    if recipe.task not in _AUTOMATIC:
        raise RecipeError(
            f"--task {recipe.task}: a network of Transformers is exported for {', '.join(_AUTOMATIC)}. The features "
            "of a classifier are one of its outputs: export it with --task classify"
        )
    stated = task_of(content)
    if stated is not None and stated != recipe.task:
        name = ", ".join(content["architectures"])
        raise RecipeError(f"--task {recipe.task}: config.json states {name}, which is for {stated}")
    refuse_other_task(content)
    if content.get("model_type") in _MORE_THAN_IMAGES:
        what = _MORE_THAN_IMAGES[content["model_type"]]
        raise SourceError(
            f"{content['model_type']} reads {what} beside the image. Export it as python:package.module:callable with "
            "a forward that has this inside and returns maps (N, K, h, w)"
        )
    if content.get("problem_type") == "regression":
        raise RecipeError("config.json states problem_type regression: this is no classifier")
    if content.get("auto_map"):
        raise SourceError(
            "config.json names code of its own (auto_map), which would run. Export the network as "
            "python:package.module:callable"
        )


def _build(library: Library, place: _Place, recipe: Recipe) -> Pretrained:
    config = library.AutoConfig.from_pretrained(place.folder, **recipe.arguments)
    for field in ("use_pretrained_backbone",):
        if getattr(config, field, False):
            setattr(config, field, False)
    _name_classes(config, read_config(place.folder / CONFIG))
    config.architectures = config.architectures or []  # None ends in a TypeError for LeViT and DeiT
    automatic = _automatic(library, config, recipe.task)
    if recipe.weights is None and place.weights:
        _check_files(place.folder)
        return _pretrained(automatic, place.folder, config)
    if recipe.weights is None:
        raise WeightsError(
            f"{place.folder.name}: there is no model.safetensors beside config.json. Give --weights FILE, or --weights "
            "none for random ones"
        )
    torch.manual_seed(0)
    model: Pretrained = automatic.from_config(config, attn_implementation=ATTENTION)
    if recipe.weights != NO_WEIGHTS:
        load_weights(model, recipe.locate(recipe.weights, "weights"))
    return model


def _name_classes(config: Config, content: dict[str, Any]) -> None:
    """Give a configuration the classes of its `label2id`, where it has no `id2label` and this names all of them."""
    named = content.get("label2id")
    if content.get("id2label") is not None or not isinstance(named, dict) or not named:
        return
    if sorted(map(str, named.values())) == sorted(map(str, range(len(named)))):
        config.id2label = {int(class_id): str(label) for label, class_id in named.items()}


def _check_files(folder: Path) -> None:
    """Refuse weights that are something else, such as a Git LFS pointer, truncated, or not all there.

    Raises:
        WeightsError: names the file, what it is, and the next step.
    """
    refuse_missing_shards(folder)
    shards = [*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")]
    for path in sorted(shards):
        try:
            kind = file_kind(path)
        except OSError as error:
            raise WeightsError(
                f"{folder.name}: {path.name} can not be read: {error.strerror}"
            ) from error
        if not kind.is_weights:
            raise WeightsError(f"{folder.name}: {path.name} {kind.sentence}")


def _automatic(library: Library, config: Config, task: Task) -> Automatic:
    for name in _AUTOMATIC[task]:
        automatic = getattr(library, name)
        if type(config) in automatic._model_mapping:  # noqa: SLF001 - there is no public question
            return automatic
    raise SourceError(
        f"Transformers has no {config.model_type} for --task {task}; see transformers.{_AUTOMATIC[task][0]}"
    )


def _pretrained(automatic: Automatic, folder: Path, config: Config) -> Pretrained:
    """Return the network with the folder's weights, all of them.

    Raises:
        WeightsError: weights are missing, which Transformers would fill with random ones.
    """
    model, loaded = automatic.from_pretrained(
        folder,
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        attn_implementation=ATTENTION,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        dtype=torch.float32,
    )
    missing = sorted(map(str, loaded["missing_keys"]))
    other = sorted(str(key[0]) for key in loaded.get("mismatched_keys", ()))
    if missing or other:
        raise WeightsError(
            f"{folder.name}: the weights do not fit config.json."
            + _listed(" The file lacks", missing)
            + _listed(" Of another shape are", other)
            + _other_classes(loaded.get("mismatched_keys", ()), config.num_labels)
            + _other_channels(
                loaded.get("mismatched_keys", ()), getattr(config, "num_channels", None)
            )
        )
    return model


def _processor(library: Library, place: _Place, model: Pretrained) -> Processor:
    """Return the folder's image processor, else the one that Transformers has for this kind of network."""
    if _states_processor(place):
        processor = library.AutoImageProcessor.from_pretrained(
            place.folder, backend="pil", trust_remote_code=False
        )
        if _is_gray(model):
            _repeat_values(processor)
        return processor
    names = library.models.auto.image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES
    known = names.get(model.config.model_type)
    if known is None:
        raise SourceError(
            f"Transformers has no image processor for {model.config.model_type}. Put preprocessor_config.json beside "
            "config.json"
        )
    name = known.get("pil") or known["torchvision"]
    side = getattr(model.config, "image_size", None)
    size = {}
    if isinstance(side, int) and "height" in dict(getattr(library, name)().size):
        size = {"size": {"height": side, "width": side}}
    return getattr(library, name)(**size)


def _is_gray(model: Pretrained) -> bool:
    return getattr(model.config, "num_channels", None) == 1


def _differing(processor: Processor) -> list[str]:
    """Return which of mean and std a processor states with another value for each color."""
    named = {"a mean": "image_mean", "a std": "image_std"}
    values = {name: getattr(processor, field, None) for name, field in named.items()}
    return [
        name
        for name, given in values.items()
        if isinstance(given, (list, tuple)) and len(set(given)) > 1
    ]


def _repeat_values(processor: Processor) -> None:
    """Give a processor of gray images its one mean and std three times, since it is compared on images in RGB."""
    for field in ("image_mean", "image_std"):
        values = getattr(processor, field, None)
        if isinstance(values, (list, tuple)) and len(values) == 1:
            setattr(processor, field, [*values] * 3)


def _states_processor(place: _Place) -> bool:
    stated = ("preprocessor_config.json", "processor_config.json")
    return any((place.folder / name).is_file() for name in stated)


def _described(
    place: _Place,
    model: Pretrained,
    processor: Processor,
    images: ProcessedImages,
    recipe: Recipe,
) -> TorchModel:
    labels = labels_of(model.config.id2label) or placeholders(model.config.num_labels)
    untrained = ", untrained" if recipe.weights == NO_WEIGHTS else ""
    facts = Facts(
        title=place.folder.resolve().name,
        origin=f"transformers:{place.folder.resolve().name} ({model.config.model_type}{untrained})",
        labels=labels,
    )
    frame = recipe.image_input(images.image_input)
    known = TorchModel(
        raw_module(model, recipe.task, frame),
        facts,
        images.image_input,
        images.pixels,
        images.transform,
        borrowed=_defaults_of(place, processor),
        size_is_known=getattr(model.config, "image_size", None) == images.image_input.height,
    )
    if recipe.task == "segment":
        background = 0 if labels and labels[0].lower() == "background" else None
        return replace(known, segment=SegmentRecipe(background_id=background))
    if recipe.task == "detect":
        own = images.transform and own_detections(model, processor, images.transform)
        boxes = _boxes(model, processor, frame)
        if labels and boxes.background == "last":
            known = replace(known, facts=replace(facts, labels=(*labels, "")))
        return replace(known, detect=boxes, postprocessed=own)
    return known


def _defaults_of(place: _Place, processor: Processor) -> str | None:
    """Return whose defaults size, mean and std are where the folder says nothing of its images, as a Trainer's."""
    if _states_processor(place):
        return None
    return (
        f"the defaults of {type(processor).__name__} ({place.folder.resolve().name} has no "
        "preprocessor_config.json)"
    )


def _boxes(model: Pretrained, processor: Processor, frame: ImageInput) -> DetectRecipe:
    """Return the form of a detector's outputs: each query is an object, and its scores are what its processor reads."""
    queries, columns = first_outputs(model, frame)["logits"].shape[1:]
    reading = read_scores(model, processor, queries, columns)
    return DetectRecipe(
        decoder="pair",
        box_format="cxcywh",
        score_activation="softmax" if reading.softmax else "sigmoid",
        background="last" if reading.softmax else "none",
        one_class_a_box=reading.softmax,
        candidates=reading.candidates,
        nms_free=True,
    )


def _other_classes(
    mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]], given: int
) -> str:
    """Return in words that the weights are those of another number of classes than the config gives, if they are.

    Args:
        mismatched: the name of each weight of another shape, its shape in the file, and in the network.
        given: the number of classes that the config gives.
    """
    for _, theirs, ours in mismatched:
        if len(theirs) == len(ours) and tuple(theirs[1:]) == tuple(ours[1:]) and ours[0] == given:
            return (
                f" The weights have {theirs[0]} classes, and {CONFIG} gives {given}: its id2label must name each class "
                f"from 0 to {theirs[0] - 1}"
            )
    return ""


def _other_channels(
    mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]], given: int | None
) -> str:
    """Return in words that the weights read another number of channels than the config gives, if they do."""
    for _, theirs, ours in mismatched:
        if len(theirs) == len(ours) == 4 and ours[0] == theirs[0] and ours[1] == given:
            how = f"--arg num_channels={theirs[1]}"
            return f" The weights read {theirs[1]} channels, and {CONFIG} gives {given}: {how}"
    return ""


def _listed(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{what} {', '.join(keys[:_SHOWN])}{more}."
