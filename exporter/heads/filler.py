"""Rows of −1 that fill up a detector's list, as those of KerasCV and TensorRT have it, become rows of zeros."""

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np
from onnx import TensorProto

from exporter.graph import Graph, floats, integers
from exporter.heads.boxes import Candidates, Decoder
from exporter.heads.detect import DetectHead
from exporter.network import Array, Head

FILLER = -1.0


class FilledDecoder:
    """Another decoder's candidates; those whose score and class are −1 have a box, a score and a class of zeros."""

    def __init__(self, inner: Decoder) -> None:
        self._inner = inner

    def graft(self, graph: Graph, raw: Sequence[str]) -> Candidates[str]:
        found = self._inner.graft(graph, raw)
        assert found.classes is not None
        kinds = graph.add("Cast", [found.classes], to=TensorProto.FLOAT)
        filler, zero = (graph.constant("filler", floats(one)) for one in (FILLER, 0.0))
        both = [graph.add("Equal", [one, filler]) for one in (found.scores, kinds)]
        is_filler = graph.add("And", both)
        last = graph.constant("last_axis", integers(-1))
        of_box = graph.add("Unsqueeze", [is_filler, last])
        return Candidates(
            graph.add("Where", [of_box, zero, found.boxes]),
            graph.add("Where", [is_filler, zero, found.scores]),
            classes=graph.add("Where", [is_filler, zero, kinds]),
        )

    def split(self, raw: Sequence[Array]) -> Candidates[Array]:
        found = self._inner.split(raw)
        assert found.classes is not None
        is_filler = _is_filler(found.scores, found.classes)
        return Candidates(
            np.where(is_filler[..., None], 0, found.boxes).astype(found.boxes.dtype),
            np.where(is_filler, 0, found.scores).astype(found.scores.dtype),
            classes=np.where(is_filler, 0, found.classes).astype(found.classes.dtype),
        )


@overload
def settle_filler(head: DetectHead, outputs: Sequence[Sequence[Array]]) -> DetectHead: ...


@overload
def settle_filler(head: Head, outputs: Sequence[Sequence[Array]]) -> Head: ...


def settle_filler(head: Head, outputs: Sequence[Sequence[Array]]) -> Head:
    """Return the head with a decoder that leaves out the rows of −1, where real images show some.

    Args:
        head: of any task.
        outputs: the source's raw outputs for each of several real images.
    """
    if not isinstance(head, DetectHead) or head.is_known:
        return head
    for one in outputs:
        found = head.decoder.split(one)
        if found.classes is not None and _is_filler(found.scores, found.classes).any():
            return replace(head, decoder=FilledDecoder(head.decoder))
    return head


def _is_filler(scores: Array, classes: Array) -> Array:
    is_filler: Array = (scores == FILLER) & (classes == FILLER)
    return is_filler
