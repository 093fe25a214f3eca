"""Networks of timm without a classifier: their configuration shows it, and timm takes seconds to load."""

from dataclasses import replace

import timm

from exporter.guessing.granted import Granted, is_given
from exporter.guessing.guess import Guess

_CLASSES = "num_classes="
_NONE = "num_classes=0"


def with_own_task(found: Guess) -> Guess:
    """Return the guess with task embed where the network has no classifier, and nobody stated a task or classes."""
    kind, _, where = found.source.partition(":")
    granted = {one.parameter: one.value for one in found.granted}
    if kind != "timm" or granted.get("task") != "classify" or is_given(found.values, "labels"):
        return found
    stated = [str(one) for one in found.values.get("arg") or () if str(one).startswith(_CLASSES)]
    if stated and stated[-1] != _NONE:
        return found
    if not stated and not _is_headless(where):
        return found
    task = Granted("task", "embed", f"timm's {where} has no classifier, its outputs are features")
    others = (one for one in found.granted if one.parameter != "task")
    return replace(found, values={**found.values, "task": "embed"}, granted=(task, *others))


def _is_headless(where: str) -> bool:
    try:
        known = timm.get_pretrained_cfg(where)
    except RuntimeError:  # there is no such tag, which the source says with those there are
        return False
    return known is not None and known.num_classes == 0
