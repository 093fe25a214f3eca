"""What a GPU must reach, held against what a run measured."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.gpu.steps import MEASURED

OF_LOOP, OF_NAIVE = 0.9, 3.0
BATCH = 32
"""The largest batch of the service on a GPU."""
DECODING_SHARE = 0.8
"""From this share of what all cores decode on, the cores are the limit."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal; `reached` is None where it was not measured, or not on a GPU."""

    text: str
    measured: str
    reached: bool | None


def goals(content: Mapping[str, Any]) -> list[Goal]:
    """Return the goals. Where the CPU stood in for the GPU none of them is reached or missed."""
    stand_in = bool(content.get("stand_in", True))
    found = [_all_agree(content)]
    for model in MEASURED:
        found += [*_of_loop(content, model), *_of_naive(content, model), *_limit(content, model)]
    return [Goal(g.text, g.measured, None if stand_in else g.reached) for g in found]


def _findings(content: Mapping[str, Any], step: str) -> dict[str, Any]:
    found: dict[str, Any] = content["steps"].get(step, {}).get("findings", {})
    return found


def _all_agree(content: Mapping[str, Any]) -> Goal:
    held = [
        one["holds"]
        for step in content["steps"].values()
        for name, one in step.get("findings", {}).get("verdicts", {}).items()
        # None: no export in this precision passes, on whatever device.
        if name.endswith("it agrees with the CPU") and one["holds"] is not None
    ]
    measured = f"{held.count(True)} of {len(held)} networks and precisions"
    return Goal("everything agrees with the CPU", measured, all(held) if held else None)


def _of_loop(content: Mapping[str, Any], model: str) -> Iterator[Goal]:
    """The session of the service beside a loop that only copies and replays."""
    precisions = _findings(content, f"rates {model}").get("precisions", {})
    for precision, one in precisions.items():
        rates = one.get("rates", {})
        loop, session = rates.get("captured loop", {}), rates.get("session", {})
        common = [int(size) for size in session if size in loop and int(size) <= BATCH]
        if common:
            size = str(max(common))
            ratio = session[size] / loop[size]
            text = f"{model}, {precision}: the session has {OF_LOOP:g} of a captured loop at batch {size}"
            yield Goal(text, f"{ratio:.2f}", ratio >= OF_LOOP)


def _best(content: Mapping[str, Any], step: str) -> float:
    loads = _findings(content, step).get("clients", {})
    return max((one.get("images_per_second", 0.0) for one in loads.values()), default=0.0)


def _of_naive(content: Mapping[str, Any], model: str) -> Iterator[Goal]:
    service, naive = (_best(content, f"{name} {model}") for name in ("service", "naive"))
    if service and naive:
        text = f"{model}: {OF_NAIVE:g} times the throughput of FastAPI with PyTorch"
        yield Goal(text, f"{service / naive:.2f}", service / naive >= OF_NAIVE)


def _limit(content: Mapping[str, Any], model: str) -> Iterator[Goal]:
    """What bounds the service: the cores that decode, or not."""
    service, cores = _best(content, f"service {model}"), _findings(content, "decoding").get("cores")
    if service and cores:
        most = max(cores.values())
        share = service / most
        named = "the cores" if share >= DECODING_SHARE else "not the cores"
        text = f"{model}: what limits the service is named"
        measured = f"{named}: {service:,.0f} images/s of {most:,.0f} that all cores decode and resize ({share:.2f})"
        yield Goal(text, measured, reached=True)
