"""What a step is given, and how it says what it found."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.child import DETAIL, END, FINDINGS

Report = Callable[[Mapping[str, Any]], None]
"""Adds to what the step has found, at once: a step that is killed later keeps it."""

OWN_SHARE = 0.65
"""A step plans with this share of its time, so that it ends before it is killed."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a step is given.

    Attributes:
        function: what runs, as `module:function`.
        device: `cuda`, or `cpu` which stands in for it.
        seconds: how long the step may take before it is killed.
        out: the folder of the run.
        arguments: the step's own.
        began: when it began, by `time.monotonic`.
    """

    function: str
    device: str
    seconds: float
    out: Path
    arguments: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @property
    def stand_in(self) -> bool:
        """Whether the CPU stands in for the GPU: sizes are smaller, and figures say nothing about a GPU."""
        return self.device != "cuda"

    def left(self, share: float = 1.0) -> float:
        """Return the seconds that are left to plan with, or a share of them."""
        return max(0.0, self.began + OWN_SHARE * self.seconds - time.monotonic()) * share

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "out": str(self.out)})

    @classmethod
    def from_json(cls, text: str) -> "Order":
        content = json.loads(text)
        return cls(**{**content, "out": Path(content["out"]), "began": time.monotonic()})


class Channel:
    """Lines of JSON to the process that follows the step."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def report(self, found: Mapping[str, Any]) -> None:
        self._send({FINDINGS: found})

    def end(self, how: str, detail: str = "") -> None:
        self._send({END: how, DETAIL: detail})

    def _send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message, default=_plain).encode() + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]


def _plain(value: Any) -> Any:  # noqa: ANN401  # NumPy's numbers, without importing NumPy
    if hasattr(value, "item"):
        return value.item()
    return str(value)


def verdict(name: str, *, holds: bool | None, because: str) -> dict[str, Any]:
    """Return a finding that something holds, does not hold, or (None) can not be seen here."""
    return {"verdicts": {name: {"holds": holds, "because": because}}}
