"""What the config.json of a folder of timm states about its network, as options."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exporter.guessing.granted import Granted
from exporter.sources.timm_resizing import INTERPOLATIONS, POLICIES

DEFAULT_CLASSES = 1000


def timm_words(content: Mapping[str, Any], config: Path) -> list[Granted]:
    """Return the options that a config.json answers.

    Args:
        content: of the file.
        config: the file.
    """
    why = f"stated in {config}"
    known = content.get("pretrained_cfg") or {}
    granted = []
    arguments = _arguments(content)
    if arguments:
        granted.append(Granted("arg", arguments, why))
    if content.get("label_names"):
        granted.append(Granted("labels", str(config), why))
    granted += [Granted(name, value, why) for name, value in _input(known)]
    return granted + [
        Granted(name, ",".join(str(one) for one in known[name]), why)
        for name in ("mean", "std")
        if known.get(name)
    ]


def _arguments(content: Mapping[str, Any]) -> list[str]:
    """Return the keyword arguments with which the network was built, as the command line has them."""
    stated = dict(content.get("model_args") or {})
    classes = content.get("num_classes")
    if classes not in (None, 0, DEFAULT_CLASSES):  # none: an embedder
        stated["num_classes"] = classes
    kinds = (bool, int, float, str, list)
    return [
        f"{name}={json.dumps(value)}" for name, value in stated.items() if isinstance(value, kinds)
    ]


def _input(known: Mapping[str, Any]) -> Iterator[tuple[str, int | str]]:
    """Yield the options for the size of the input and how an image is fitted to it."""
    size = known.get("input_size")
    if not size:
        return
    _, height, width = size
    yield "height", height
    yield "width", width
    policy = POLICIES.get(known.get("crop_mode") or "center", "crop")
    yield "resize", policy
    if policy == "crop" and known.get("crop_pct"):
        yield "shorter_side", int(max(height, width) / known["crop_pct"])
    if known.get("interpolation") in INTERPOLATIONS:
        yield "interpolation", known["interpolation"]
