"""How a detector's scores are read, by the postprocessing of its own image processor."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from exporter.errors import SourceError
from exporter.network import Outputs
from exporter.sources.transformers_modules import Pretrained, Processor

_FINISH = "post_process_object_detection"
_SAME = 1e-4


@dataclass(frozen=True, slots=True)
class Reading:
    """How the scores (Q, K) of queries become detections.

    With `softmax` each query has one class, and the last column is that of "no object"; otherwise each pair of query
    and class has a probability of its own. `candidates` are the best of them that are kept.
    """

    softmax: bool
    candidates: int


def read_scores(model: Pretrained, processor: Processor, queries: int, columns: int) -> Reading:
    """Return how the processor reads scores: it is tried on random ones.

    Raises:
        SourceError: it reads them in another way than with a softmax or a sigmoid.
    """
    softmax = columns == len(model.config.id2label) + 1
    finish = getattr(processor, _FINISH, None)
    if finish is None:
        return Reading(softmax, queries)
    logits = torch.randn(1, queries, columns, generator=torch.Generator().manual_seed(0))
    boxes = torch.full((1, queries, 4), 0.5)
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
    found = finish(outputs, threshold=0.0)[0]["scores"].sort(descending=True).values
    best = {
        True: logits.softmax(-1)[..., :-1].amax(-1).flatten(),
        False: logits.sigmoid().flatten(),
    }
    count = len(found)
    for is_softmax, scores in best.items():
        expected = scores.sort(descending=True).values[:count]
        if len(expected) == count and bool((found - expected).abs().max() <= _SAME):
            return Reading(is_softmax, count)
    raise SourceError(
        f"The image processor {type(processor).__name__} reads a detector's scores neither with a softmax nor with a "
        "sigmoid. Put that into the forward of a module of your own, and export it as python:package.module:callable"
    )


def own_detections(
    model: Pretrained,
    processor: Processor,
    pixels_of_image: Callable[[bytes], Any],
) -> Callable[[bytes], Outputs] | None:
    """Return the network with Transformers' own postprocessing as a function, None where it has none.

    Its boxes are in 0–1 of the frame, which they may reach beyond; every score above 0 is kept.
    """
    finish = getattr(processor, _FINISH, None)
    if finish is None:
        return None

    def detections(body: bytes) -> Outputs:
        pixels = torch.from_numpy(pixels_of_image(body))[None]
        with torch.inference_mode():
            found = finish(model(pixel_values=pixels), threshold=0.0)[0]
        order = torch.argsort(found["scores"], descending=True, stable=True)
        return {
            "boxes": found["boxes"][order].numpy()[None],
            "scores": found["scores"][order].numpy()[None],
            "classes": found["labels"][order].numpy()[None],
        }

    return detections
