"""A network on the device in a precision, opened as the service opens it; the CPU runs the same code as a stand-in."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from benchmarks.gpu.networks import Network, half_servable
from benchmarks.gpu.order import Order
from service.card import INPUT_NAME
from service.errors import DeviceError, ServableError
from service.runtime.contract import blank_input
from service.runtime.device import (
    CUDA_PROVIDER,
    Device,
    SessionPlan,
    padded_sizes,
    plan_session,
    plans_on_gpu,
)
from service.runtime.host import granted_threads
from service.runtime.io_binding import BoundSession, CaptureLock, Memory
from service.runtime.session import Session, open_session, preload_gpu_libraries, silence

Precision = Literal["fp32", "tf32", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_TF32: Mapping[str, str] = MappingProxyType({"fp32": "0", "tf32": "1", "fp16": "0"})
"""ONNX Runtime's `use_tf32`: the CUDA provider rounds the factors of products unless it is 0."""


def device_of(order: Order) -> Device:
    """Return the device of a step, with the GPU's libraries loaded."""
    silence()
    if order.stand_in:
        return Device("cpu")
    preload_gpu_libraries()
    return Device("cuda")


def memory_of(device: Device) -> Memory:
    return Memory("cuda" if device.is_gpu else "cpu", device.index)


def plan_of(
    one: Network,
    device: Device,
    precision: Precision,
    *,
    largest: int,
    graphs: bool,
    cache: Path,
) -> SessionPlan:
    """Return the service's own plan for a network, in a precision."""
    if not device.is_gpu:
        plan = plan_session(device, largest=largest, threads=granted_threads(), cache=cache)
        return replace(plan, batch_sizes=padded_sizes(largest), graphs=graphs)
    frame = one.card.input
    inputs = {INPUT_NAME: (frame.height, frame.width, 3)} if frame else {}
    plan = plans_on_gpu(device, largest=largest, cache=cache, inputs=inputs, graphs=graphs)[0]
    providers = tuple(
        (name, {**options, "use_tf32": _TF32[precision]} if name == CUDA_PROVIDER else options)
        for name, options in plan.providers
    )
    return replace(plan, providers=providers)


def open_on(
    one: Network, order: Order, device: Device, precision: Precision, *, largest: int, graphs: bool
) -> Session:
    """Open a network on the device.

    Raises:
        ServableError: it can not be loaded.
        DeviceError: heavy nodes would run elsewhere.
    """
    source = half_servable(one, order.out) if precision == "fp16" else one
    cache = order.out / "cache"
    plan = plan_of(one, device, precision, largest=largest, graphs=graphs, cache=cache)
    return open_session(source.path, device, plan)


def reference_session(one: Network, cache: Path) -> Session:
    """Open a network in fp32 on the CPU: what everything else is compared with."""
    cpu = Device("cpu")
    return open_session(
        one.path, cpu, plan_session(cpu, largest=1, threads=granted_threads(), cache=cache)
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """A network that is warm.

    Attributes:
        session: ONNX Runtime's.
        bound: runs batches in buffers at fixed addresses.
        graphs: whether its batches are replayed as CUDA graphs (on a CPU: whether that code runs).
        plainer: why it has no graphs; empty where it has.
    """

    session: Session
    bound: BoundSession
    graphs: bool
    plainer: str = ""


def warm(
    one: Network,
    order: Order,
    device: Device,
    precision: Precision,
    *,
    largest: int,
    capture_lock: CaptureLock,
) -> Opened:
    """Open a network and warm all its batch sizes, with graphs where it allows them; as `load_on_gpu` does.

    Raises:
        ServableError, DeviceError: it does not run even without graphs.
    """
    plainer = ""
    for graphs in (True, False):
        try:
            session = open_on(one, order, device, precision, largest=largest, graphs=graphs)
            blank = blank_input(session, one.card)
            bound = BoundSession(session, blank, memory_of(device), capture_lock)
        except (ServableError, DeviceError) as error:
            if not graphs:
                raise
            plainer = str(error)
        else:
            return Opened(session, bound, graphs, plainer)
    raise AssertionError("the loop returns or raises")
