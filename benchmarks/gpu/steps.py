"""The steps of a run, in order, and how the time is shared out among them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

ENVIRONMENT, RESNET = "environment", "resnet50"
MEASURED = ("efficientnet-lite0", RESNET)
"""The networks whose speed is measured beside PyTorch's."""
TORCH = ("torch", "torchvision")
HEAVY_MODELS = frozenset({"ssdlite-mobilenet-v2", "u2netp", *MEASURED})


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `function` runs in a process of its own, with a share of the time by `weight`.

    It is skipped where a package that it `needs` is not installed.
    """

    name: str
    function: str
    weight: float
    arguments: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def all_steps(models: Sequence[str]) -> tuple[Step, ...]:
    """Return the steps for the models of the repository; what matters most comes first."""
    others = [name for name in models if name not in MEASURED]
    return (
        Step(ENVIRONMENT, "benchmarks.gpu.environment:describe", 3),
        Step("network", "benchmarks.gpu.networks:make_resnet", 3),
        *(_check(name) for name in MEASURED),
        *(_step("rates", "benchmarks.gpu.rates:measure", name, 9) for name in MEASURED),
        *(
            step
            for name in MEASURED
            for step in (
                _step("service", "benchmarks.gpu.serving:serve", name, 9),
                _torch("naive", "benchmarks.gpu.serving:serve_naive", name, 7),
                _torch("torch", "benchmarks.gpu.torch_rates:measure", name, 6),
            )
        ),
        Step("decoding", "benchmarks.gpu.decoding:measure", 2),
        Step("torch-decoding", "benchmarks.gpu.torch_decoding:measure", 3, needs=TORCH),
        Step("capture", "benchmarks.gpu.capture:capture_beside", 10),
        *(_check(name) for name in others),
        Step("answers", "benchmarks.gpu.answers:compare", 16),
        *(
            _step("layouts", "benchmarks.gpu.layouts:measure", name, 8)
            for name in (*MEASURED, "u2netp")
        ),
        *(
            _step("service-workers", "benchmarks.gpu.serving:serve_workers", name, 7)
            for name in MEASURED[:1]
        ),
        *(
            _step("service-fast", "benchmarks.gpu.serving:serve_fast", name, 7)
            for name in MEASURED[:1]
        ),
        *(
            _step("service-fp16", "benchmarks.gpu.serving:serve_half", name, 7)
            for name in MEASURED[-1:]
        ),
        *(
            _torch("torch-compile", "benchmarks.gpu.torch_rates:measure_compiled", name, 6)
            for name in MEASURED
        ),
    )


def _check(model: str) -> Step:
    weight = 10 if model in HEAVY_MODELS else 3
    return _step("check", "benchmarks.gpu.checks:check", model, weight)


def _torch(kind: str, function: str, model: str, weight: float) -> Step:
    """Return a step in which PyTorch runs a network, for which it may need timm."""
    needs = TORCH if model == RESNET else (*TORCH, "timm")
    return replace(_step(kind, function, model, weight), needs=needs)


def _step(kind: str, function: str, model: str, weight: float) -> Step:
    return Step(f"{kind} {model}", function, weight, {"model": model})
