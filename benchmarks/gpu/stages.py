"""Where the service's time goes: the sums of its own metrics over a load."""

import re
from dataclasses import dataclass
from typing import Any

STAGES = ("decode", "queue", "infer", "head")
_SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Sums:
    """What a model's images have spent and how they were batched, since the service began.

    Attributes:
        seconds: by stage, over all images.
        images: that were answered.
        batches: that were run.
        batched: images in these batches.
    """

    seconds: dict[str, float]
    images: float
    batches: float
    batched: float


def read_sums(metrics: str, model: str) -> Sums:
    """Return the sums of a model from the text of `/metrics`."""
    seconds = dict.fromkeys(STAGES, 0.0)
    found = {"images": 0.0, "batches": 0.0, "batched": 0.0}
    for name, given, number in _SAMPLE.findall(metrics):
        labels = dict(_LABEL.findall(given))
        if labels.get("model") != model:
            continue
        value = float(number)
        match name, labels.get("stage"):
            case "foveal_stage_seconds_sum", str(stage) if stage in seconds:
                seconds[stage] += value
            case "foveal_stage_seconds_count", "infer":
                found["images"] += value
            case "foveal_batch_size_count", _:
                found["batches"] += value
            case "foveal_batch_size_sum", _:
                found["batched"] += value
    return Sums(seconds, **found)


def spent(before: Sums, after: Sums, elapsed: float) -> dict[str, Any]:
    """Return the milliseconds of each stage for an image, the images in a batch, and how many threads decoded at once.

    Args:
        before: the sums before a load.
        after: those after it.
        elapsed: seconds between them.
    """
    images = after.images - before.images
    batches = after.batches - before.batches
    seconds = {stage: after.seconds[stage] - before.seconds[stage] for stage in STAGES}
    return {
        "stage_ms": {s: round(t * 1e3 / max(images, 1), 3) for s, t in seconds.items()},
        "images_a_batch": round((after.batched - before.batched) / max(batches, 1), 2),
        "decoding_threads": round(seconds["decode"] / elapsed, 2),
    }
