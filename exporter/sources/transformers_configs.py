"""What a config.json of Transformers states, read without Transformers: the task and the labels."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.errors import RecipeError, SourceError, WeightsError
from exporter.recipe import Task

CONFIG = "config.json"

_TASKS: dict[str, Task] = {
    "ForImageClassification": "classify",
    "ForImageClassificationWithTeacher": "classify",
    "ForSemanticSegmentation": "segment",
    "ForUniversalSegmentation": "segment",
    "ForInstanceSegmentation": "segment",
    "ForObjectDetection": "detect",
}
"""The task by the end of an architecture's name; MaskFormerForInstanceSegmentation is exported in its semantic form."""

_OTHERS = {
    "Model": "it is a backbone without a head for a task",
    "Backbone": "it is a backbone without a head for a task",
    "ForMaskedImageModeling": "it is for pretraining, and has no head for a task",
    "ForPreTraining": "it is for pretraining, and has no head for a task",
    "ForSegmentation": "it is for panoptic segmentation",
    "ForDepthEstimation": "it estimates depth",
    "ForZeroShotObjectDetection": "it reads text beside the image",
    "ForZeroShotImageClassification": "it reads text beside the image",
    "ForConditionalGeneration": "it generates text",
    "ForCausalLM": "it generates text",
}
"""What other networks are for, by the end of an architecture's name."""

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def read_config(path: Path) -> dict[str, Any]:
    """Return the content of a config.json.

    Raises:
        SourceError: it is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise SourceError(f"{path} holds no JSON object")
    return content


def task_of(content: Mapping[str, Any]) -> Task | None:
    """Return the task of the first architecture that a config names and that has one, None where there is none."""
    for name in content.get("architectures") or ():
        for end, task in _TASKS.items():
            if str(name).endswith(end):
                return task
    return None


def other_task_of(content: Mapping[str, Any]) -> str | None:
    """Return in words what the architectures of a config are for, where none of them has a task of Foveal's.

    None where the config names no architecture, or one whose name says nothing.
    """
    for name in content.get("architectures") or ():
        for end, words in _OTHERS.items():
            if str(name).endswith(end):
                return words
        if "For" in str(name):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(name).rpartition("For")[2])
            return f"it is for {words.lower()}"
    return None


def refuse_other_task(content: Mapping[str, Any]) -> None:
    """Refuse a network for what Foveal does not do.

    Raises:
        RecipeError: the architectures that the config names are for that alone.
    """
    if task_of(content) is None and (other := other_task_of(content)) is not None:
        names = ", ".join(str(name) for name in content["architectures"])
        raise RecipeError(
            f"config.json states {names}: {other}. A network of Transformers is exported for classify, segment, detect"
        )


def labels_of(named: Mapping[Any, str] | None) -> tuple[str, ...] | None:
    """Return the labels of an `id2label` in the order of their ids; an id without one gets an empty label."""
    if not named:
        return None
    by_id = {int(class_id): str(label) for class_id, label in named.items()}
    return tuple(by_id.get(class_id, "") for class_id in range(max(by_id) + 1))


def placeholders(count: int) -> tuple[str, ...]:
    """Return the labels that Transformers makes up where nobody has named the classes."""
    return tuple(f"LABEL_{index}" for index in range(count))


def is_placeholder(labels: tuple[str, ...] | None) -> bool:
    """Return whether the labels are those that Transformers makes up where nobody has named the classes."""
    return bool(labels) and labels == placeholders(len(labels or ()))


_SHOWN = 3
"""The most missing files that a message names."""


def has_weights(folder: Path) -> bool:
    """Return whether weights are beside the config."""
    return any((folder / name).is_file() for name in _WEIGHTS)


def refuse_missing_shards(folder: Path) -> None:
    """Refuse a checkpoint in several files of which some are missing.

    Raises:
        WeightsError: names the missing files, the index that names them, and the next step.
    """
    for whole, index in zip(_WEIGHTS[::2], _WEIGHTS[1::2], strict=True):
        if (folder / whole).is_file():
            return
        if (folder / index).is_file():
            named = read_config(folder / index).get("weight_map")
            files = sorted(
                {str(name) for name in named.values()} if isinstance(named, dict) else ()
            )
            missing = [name for name in files if not (folder / name).is_file()]
            if missing:
                raise WeightsError(_missing(folder, index, missing, len(files)))
            return


def _missing(folder: Path, index: str, missing: Sequence[str], count: int) -> str:
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return (
        f"{folder.name}: {', '.join(missing[:_SHOWN])}{more}: {len(missing)} of the {count} files that {index} names "
        "are missing. Download the whole folder again (git lfs pull in a clone), or copy these files into it"
    )
