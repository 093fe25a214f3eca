"""A proved fp32 graph → faster variants beside it, each judged by the figures that the service judges it by.

A variant is no other version of the servable: the service uses it where it agrees on its own processor and is faster,
and the servable itself everywhere else. docs/decisions/0027 and 0028 say how.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from exporter.bf16 import as_computed, to_bf16
from exporter.errors import WriteError
from exporter.half import halve
from exporter.int8 import EIGHT_BITS, quantize
from exporter.network import Array, Head, Outputs
from exporter.outcome import MadeVariant
from exporter.precision import milliseconds_of, outputs_of_each
from exporter.progress import Progress
from exporter.proof import tool_versions
from exporter.ranges import RULES
from exporter.recipe import Task, VariantPrecision
from exporter.writing import NOTHING, WRITTEN_DIGEST, graph_digest, write_file, write_servable
from service.card import REFERENCE_FILE, Accuracy, Card, Certificate, Variant
from service.heads.agreement import (
    BOXES,
    CLASSES,
    MASKS,
    VECTORS,
    Agreement,
    keeps_accuracy,
)

AGREEMENTS: Mapping[Task, Agreement] = {
    "classify": CLASSES,
    "segment": MASKS,
    "detect": BOXES,
    "embed": VECTORS,
}

Rows = list[dict[str, Array]]
MeasureAccuracy = Callable[[onnx.ModelProto], Accuracy]


@dataclass(frozen=True, slots=True)
class Original:
    """The servable that variants are made of.

    Attributes:
        path: its file, which exists.
        model: its graph in fp32.
        card: its card.
        head: what the network gives.
        calibration: frames to quantize with, uint8 (N, H, W, 3).
        reference: other frames, on which every variant is judged, here and at each service.
        accuracy: measures a graph on labeled images; None where there are none.
    """

    path: Path
    model: onnx.ModelProto
    card: Card
    head: Head
    calibration: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    accuracy: MeasureAccuracy | None = None


def write_variants(
    original: Original, wanted: Sequence[VariantPrecision], progress: Progress
) -> tuple[MadeVariant, ...]:
    """Write the variants that agree beside a servable, with the reference frames; return what each reached.

    The servable itself is the first row. A variant that does not agree is not written, and one of an earlier export is
    removed.

    Raises:
        WriteError: no space or no permission; no variant is left, and the servable is.
    """
    judge = _Judge(original)
    made: list[tuple[MadeVariant, onnx.ModelProto, Card]] = []
    for precision in dict.fromkeys(wanted):
        progress.begin(f"Make the variant in {precision}")
        made.append(judge.judged(precision, *_reduced(original, precision, judge, progress)))
    rows = (_row_of(original), *(one for one, _, _ in made))
    kept = [one for one in made if not one[0].refused]
    for one, _, _ in made:
        _path_of(original, one.precision).unlink(missing_ok=True)
    if not kept:
        return rows
    try:
        _write(original, kept)
    except WriteError as error:
        raise WriteError(
            f"{str(error).removesuffix(NOTHING).removesuffix('.')}. No variant was written; the servable "
            f"{original.path} is whole without them. Export it again for the variants"
        ) from error
    return rows


def _write(original: Original, kept: Sequence[tuple[MadeVariant, onnx.ModelProto, Card]]) -> None:
    frames = original.path.with_name(REFERENCE_FILE)
    with ExitStack() as undo:
        sha256 = _write_reference(frames, original.reference)
        undo.callback(frames.unlink, missing_ok=True)
        for one, model, card in kept:
            variant = Variant(
                of_sha256=original.card.certificate.graph_sha256,
                reference_sha256=sha256,
                agreement=one.agreement,
            )
            signed = card.model_copy(update={"variant": variant})
            path = _path_of(original, one.precision)
            write_servable(path, model, signed)
            undo.callback(path.unlink, missing_ok=True)
        undo.pop_all()


def _row_of(original: Original) -> MadeVariant:
    milliseconds = milliseconds_of(original.model, original.reference)
    return MadeVariant("fp32", original.model.ByteSize() / 1e6, milliseconds, {})


def _path_of(original: Original, precision: str) -> Path:
    return original.path.with_name(f"{precision}.onnx")


def _reduced(
    original: Original, precision: VariantPrecision, judge: "_Judge", progress: Progress
) -> tuple[onnx.ModelProto, onnx.ModelProto, int]:
    """Return the model in a lower precision, one that shows here what it will compute, and its layers in float."""
    if precision == "fp16":
        half = halve(original.model, judge.closeness, 1.0, progress)
        return half.model, half.model, half.in_float
    if precision == "bf16":
        short = to_bf16(original.model)
        return short, as_computed(short), 0
    found = quantize(
        original.model,
        original.calibration,
        judge.closeness,
        1.0,
        progress,
        last_layer=original.head.task == "classify",
        levels=EIGHT_BITS,
        rules=RULES,
    )
    return found.model, found.model, found.in_float


class _Judge:
    """Compares graphs with the original on its reference frames."""

    def __init__(self, original: Original) -> None:
        self._original = original
        self._agreement = AGREEMENTS[original.head.task]
        self._expected = outputs_of_each(original.model, original.head, original.reference)

    def figures(self, found: Sequence[Outputs]) -> dict[str, float]:
        rows, expected = _rows(found), _rows(self._expected)
        return self._agreement.measure(rows, expected, self._original.card)

    def closeness(self, model: onnx.ModelProto) -> float:
        """Return how near a graph comes to the limits, 1 where it is within all of them."""
        figures = self.figures(self._outputs(model))
        low = [figures[name] / least for name, least in self._agreement.at_least.items()]
        high = [most / max(figures[name], most) for name, most in self._agreement.at_most.items()]
        return float(np.clip(min(*low, *high, 1.0), 0.0, 1.0))

    def judged(
        self,
        precision: VariantPrecision,
        model: onnx.ModelProto,
        computed: onnx.ModelProto,
        in_float: int,
    ) -> tuple[MadeVariant, onnx.ModelProto, Card]:
        """Return what a variant reached, its model, and its card without what makes it a variant."""
        original = self._original
        found = self._outputs(computed)
        figures = self.figures(found)
        accuracy = original.accuracy(computed) if original.accuracy is not None else None
        card = original.card.model_copy(
            update={
                "precision": precision,
                "accuracy": accuracy,
                "certificate": self._certificate(model, found),
            }
        )
        refused = self._agreement.shortfall(figures, reduced=True)
        if refused and keeps_accuracy(card, original.card):
            refused = ""
        made = MadeVariant(
            precision,
            model.ByteSize() / 1e6,
            milliseconds_of(model, original.reference),
            {name: round(figure, 5) for name, figure in figures.items()},
            in_float,
            refused,
        )
        return made, model, card

    def _certificate(self, model: onnx.ModelProto, found: Sequence[Outputs]) -> Certificate:
        original, head = self._original, self._original.head
        pairs = list(zip(found, self._expected, strict=True))
        return Certificate(
            reference=f"{original.card.name} in fp32, graph {original.card.certificate.graph_sha256[:12]}",
            batches=(1,),
            max_difference=max(head.result_difference(mine, truth) for mine, truth in pairs),
            tolerance=1.0,
            metric=head.metric,
            agreement=float(np.mean([head.agreement(*pair, 1.0)[0] for pair in pairs])),
            images=len(pairs),
            tools=tool_versions(),
            date=datetime.now(UTC).date(),
            graph_sha256=graph_digest(model),
            digest=WRITTEN_DIGEST,
        )

    def _outputs(self, model: onnx.ModelProto) -> list[Outputs]:
        return outputs_of_each(model, self._original.head, self._original.reference)


def _rows(batches: Sequence[Outputs]) -> Rows:
    return [{name: values[0] for name, values in batch.items()} for batch in batches]


def _write_reference(path: Path, frames: NDArray[np.uint8]) -> str:
    """Write the frames in one rename, and return the digest of the file."""
    stream = BytesIO()
    np.save(stream, frames, allow_pickle=False)
    content = stream.getbuffer()
    write_file(path, content)
    return hashlib.sha256(content).hexdigest()
