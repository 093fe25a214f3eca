"""What an export results in: a written servable, and the measured cost of each precision."""

from dataclasses import dataclass
from pathlib import Path

from exporter.network import Unstated
from exporter.recipe import Precision, VariantPrecision
from service.card import Card

MEASURED_BATCHES = (1, 8)
"""The batches at which a precision is timed, where the graph computes as many."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One precision on this machine's CPU.

    `megabytes` is the file's size, `milliseconds` the time of a run by batch size, `agreement` the metric against
    fp32 (0–1), `in_float` the number of layers that are not quantized, `written` whether this one was chosen.
    """

    precision: Precision
    megabytes: float
    milliseconds: dict[int, float]
    agreement: float
    in_float: int = 0
    written: bool = False


@dataclass(frozen=True, slots=True)
class MadeVariant:
    """A variant: its file's size, the time of an image on this machine's CPU, and its figures against fp32.

    `agreement` has the figures of `service.heads.agreement`; `in_float` is the number of layers that are not quantized;
    `refused` says which figures are beyond their limits, empty where the variant was written.
    """

    precision: Precision | VariantPrecision
    megabytes: float
    milliseconds: float
    agreement: dict[str, float]
    in_float: int = 0
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """A servable that was proved and written, what was measured of each requested precision, and what may be wrong.

    `activation` is what makes probabilities of the raw scores, in words, where the task has such. `assumed` is what
    nothing states, besides what the card says of mean, std and boxes.
    """

    path: Path
    card: Card
    precisions: tuple[Measured, ...] = ()
    hints: tuple[str, ...] = ()
    variants: tuple[MadeVariant, ...] = ()
    activation: str | None = None
    assumed: tuple[Unstated, ...] = ()
