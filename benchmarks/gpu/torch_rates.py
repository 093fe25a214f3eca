"""How many images a second PyTorch runs on the same device, from uint8 on the host to probabilities on the host."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from benchmarks.gpu.networks import largest_batch, network
from benchmarks.gpu.order import Order, Report
from benchmarks.gpu.rates import TURN_SECONDS, rate_of
from benchmarks.gpu.torch_networks import make
from service.runtime.device import padded_sizes
from service.runtime.host import granted_threads

SIDE = 224
Forward = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Way:
    """How PyTorch runs a network: its dtype, the layout of memory, and whether each size is a CUDA graph."""

    dtype: str
    channels_last: bool = True
    graphs: bool = False


WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "fp16, channels last, CUDA graphs": Way("float16", graphs=True),
        "bf16, channels last, CUDA graphs": Way("bfloat16", graphs=True),
        "TF32, channels last, CUDA graphs": Way("float32", graphs=True),
        "fp16, channels last": Way("float16"),
        "TF32, as most people run it": Way("float32", channels_last=False),
    }
)
WAYS_ON_CPU: Mapping[str, Way] = MappingProxyType(
    {
        "fp32, channels last": Way("float32"),
        "bf16, channels last": Way("bfloat16"),
        "fp32, as most people run it": Way("float32", channels_last=False),
    }
)


def measure(order: Order, report: Report) -> None:
    """Measure each way, at batches of 1 to 64."""
    ways = WAYS_ON_CPU if order.stand_in else WAYS
    for index, (name, way) in enumerate(ways.items()):
        until = time.monotonic() + order.left(1 / (len(ways) - index))
        _measure(name, way, order, until, report, compiled=False)


def measure_compiled(order: Order, report: Report) -> None:
    """Measure `torch.compile`: a step of its own, because it needs a C compiler or Triton, takes long and may hang."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(order.out / "cache" / "inductor"))
    way = Way("float32" if order.stand_in else "float16")
    until = time.monotonic() + order.left()
    _measure(f"{way.dtype}, channels last, torch.compile", way, order, until, report, compiled=True)


def _measure(
    name: str, way: Way, order: Order, until: float, report: Report, *, compiled: bool
) -> None:
    torch.set_num_threads(granted_threads())
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    model, device = order.arguments["model"], "cpu" if order.stand_in else "cuda"
    made = make(
        model, channels_last=way.channels_last, dtype=getattr(torch, way.dtype), device=device
    )
    forward: Forward = torch.compile(made, dynamic=False) if compiled else made
    largest = largest_batch(network(model, order.out).card, stand_in=order.stand_in)
    sizes = padded_sizes(largest)
    # Each size is compiled anew, which takes long.
    sizes = tuple(dict.fromkeys((1, largest))) if compiled else sizes
    for index, size in enumerate(sizes):
        if time.monotonic() > until:
            break
        host = torch.randint(0, 256, (size, SIDE, SIDE, 3), dtype=torch.uint8)
        with torch.inference_mode():
            run = _replayed(forward, host) if way.graphs else _plain(forward, host, device)
            left = (until - time.monotonic()) / (len(sizes) - index)
            rate = rate_of(run, size, min(TURN_SECONDS, max(0.05, left)))
        report({"rates": {name: {str(size): round(rate, 2)}}})


def _plain(forward: Forward, host: torch.Tensor, device: str) -> Callable[[], object]:
    given = host.pin_memory() if device == "cuda" else host
    return lambda: forward(given.to(device, non_blocking=True)).cpu()


def _replayed(forward: Forward, host: torch.Tensor) -> Callable[[], object]:
    """Return a run that replays a CUDA graph; https://pytorch.org/docs/stable/notes/cuda.html, "CUDA Graphs"."""
    pinned, given = host.pin_memory(), host.cuda()
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # PyTorch types it not
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            forward(given)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = forward(given)

    def run() -> object:
        given.copy_(pinned, non_blocking=True)
        graph.replay()
        return found.cpu()

    return run
