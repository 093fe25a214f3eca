"""A network on the device in a precision, opened as the service opens it; the CPU runs the same code as a stand-in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from benchmarks.gpu.networks import Network, half_servable
from benchmarks.gpu.order import Order
from service.card import INPUT_NAME
from service.errors import DeviceError, ServableError
from service.runtime.contract import blank_input
from service.runtime.device import (
    Arithmetic,
    Device,
    Layout,
    SessionPlan,
    padded_sizes,
    plan_session,
    plans_on_gpu,
)
from service.runtime.host import granted_threads
from service.runtime.io_binding import BoundSession, CaptureLock, Memory
from service.runtime.job import Outputs
from service.runtime.layouts import FIRST, Layouts
from service.runtime.repository import Servable
from service.runtime.session import Session, open_session, preload_gpu_libraries, silence

Precision = Literal["fp32", "tf32", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
ARITHMETIC: Mapping[Precision, Arithmetic] = MappingProxyType(
    {"fp32": "fp32", "tf32": "tf32", "fp16": "fp32"}
)


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
    layout: Layout = FIRST,
) -> SessionPlan:
    """Return the service's own plan for a network, in a precision."""
    if not device.is_gpu:
        plan = plan_session(device, largest=largest, threads=granted_threads(), cache=cache)
        return replace(plan, batch_sizes=padded_sizes(largest), graphs=graphs)
    frame = one.card.input
    inputs = {INPUT_NAME: (frame.height, frame.width, 3)} if frame else {}
    return plans_on_gpu(
        device,
        largest=largest,
        cache=cache,
        inputs=inputs,
        graphs=graphs,
        arithmetic=ARITHMETIC[precision],
        layout=layout,
    )[0]


def layout_of(
    one: Network, order: Order, device: Device, precision: Precision, *, largest: int
) -> Layout:
    """Return the layout that the service chooses for a network, in a precision.

    Raises:
        ServableError, DeviceError: the network does not load.
    """
    if precision == "fp32":
        return FIRST
    source = half_servable(one, order.out) if precision == "fp16" else one
    cache = order.out / "cache"
    plan = plan_of(one, device, precision, largest=largest, graphs=False, cache=cache)
    return Layouts(cache / "layouts").choose(
        Servable(source.name, 1, source.path, source.card),
        device,
        plan,
        lambda plan: open_session(source.path, device, plan),
        largest=largest,
        arithmetic=ARITHMETIC[precision],
    )


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
    layout = layout_of(one, order, device, precision, largest=largest)
    plan = plan_of(
        one, device, precision, largest=largest, graphs=graphs, cache=cache, layout=layout
    )
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
        sessions: ONNX Runtime's, by batch size.
        bound: runs batches in buffers at fixed addresses.
        graphs: whether its batches are replayed as CUDA graphs (on a CPU: whether that code runs).
        plainer: why it has no graphs; empty where it has.
    """

    sessions: Mapping[int, Session]
    bound: BoundSession
    graphs: bool
    plainer: str = ""

    def plain(self, batch: NDArray[Any]) -> Outputs:
        """Run a batch of a warm size without buffers and graphs."""
        return self.sessions[len(batch)](batch)


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
            sessions: dict[int, Session] = {}
            bound = bind(
                one,
                partial(open_on, one, order, device, precision, largest=largest, graphs=graphs),
                memory_of(device),
                capture_lock,
                sessions,
            )
        except (ServableError, DeviceError) as error:
            if not graphs:
                raise
            plainer = str(error)
        else:
            return Opened(sessions, bound, graphs, plainer)
    raise AssertionError("the loop returns or raises")


def bind(
    one: Network,
    open_session: Callable[[], Session],
    memory: Memory,
    capture_lock: CaptureLock,
    sessions: dict[int, Session],
) -> BoundSession:
    """Warm a network with a session for each batch size, all of which are put into `sessions`.

    Raises:
        ServableError, DeviceError: it does not run so.
    """
    first = open_session()
    sizes = first.plan.batch_sizes
    sessions[sizes[-1]] = first

    def session_for(size: int) -> Session:
        if size not in sessions:
            sessions[size] = open_session()
        return sessions[size]

    return BoundSession(session_for, sizes, blank_input(first, one.card), memory, capture_lock)
