"""The ways in which a servable could be served here: in which precision, from which file, by which device."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from service.runtime.chip import Chip
from service.runtime.device import Arithmetic, Device
from service.runtime.repository import Servable

ServedPrecision = Literal["fp32", "tf32", "fp16", "bf16", "int8"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to serve a servable.

    Attributes:
        precision: what it is called in answers, logs and metrics.
        device: where it runs.
        servable: the file that is loaded: the servable itself, or a variant of it.
        arithmetic: see `service.runtime.device.Arithmetic`.
        seven_bits: whether its weights are halved when it is loaded, since the processor's products of bytes overflow.
        exact_products: the other remedy: ONNX Runtime multiplies unsigned bytes, which is slower and does not overflow.
    """

    precision: ServedPrecision
    device: Device
    servable: Servable
    arithmetic: Arithmetic | None = None
    seven_bits: bool = False
    exact_products: bool = False

    @property
    def is_reduced(self) -> bool:
        """Whether it computes in less than the servable's own precision."""
        return self.servable.card.variant is not None or self.arithmetic == "tf32"

    def __str__(self) -> str:
        bits = " with seven bits" if self.seven_bits else ""
        return f"{self.precision}{bits} on {self.device.name}"


def candidates_for(
    servable: Servable,
    variants: Mapping[str, Servable],
    devices: Collection[Device],
    chip: Chip,
    *,
    saturates: bool,
) -> Iterator[Candidate]:
    """Yield the ways to serve a servable; the first is the one that is taken where no other is faster and proved.

    Args:
        servable: a network for images.
        variants: its variants by precision.
        devices: where it may run, the preferred one first.
        chip: the processor.
        saturates: whether products of bytes overflow on it.
    """
    for device in devices:
        match device.name:
            case "cpu":
                yield Candidate(servable.card.precision, device, servable)
                if "int8" in variants:
                    yield from _in_int8(device, variants["int8"], saturates=saturates)
            case "openvino":
                yield Candidate(servable.card.precision, device, servable)
                if "bf16" in variants and chip.has_bf16:
                    yield Candidate("bf16", device, variants["bf16"], "bf16")
                if "int8" in variants:
                    yield Candidate("int8", device, variants["int8"])
            case "cuda":
                yield Candidate(servable.card.precision, device, servable, "fp32")
                yield Candidate("tf32", device, servable, "tf32")
                if "fp16" in variants:
                    yield Candidate("fp16", device, variants["fp16"], "fp32")
            case "tensorrt":  # it builds an engine for minutes for each that would be measured
                yield Candidate(servable.card.precision, device, servable)


def _in_int8(device: Device, variant: Servable, *, saturates: bool) -> Iterator[Candidate]:
    yield Candidate("int8", device, variant, exact_products=saturates)
    # Only weights in the file itself are changed.
    if saturates and variant.card.certificate.data_sha256 is None:
        yield Candidate("int8", device, variant, seven_bits=True)
