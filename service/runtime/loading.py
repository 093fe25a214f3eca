"""Servable → warm network: checks its certificate and its graph against the contract, and measures its speed."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from service.card import INPUT_NAME
from service.errors import DeviceError, ServableError, for_clients
from service.graph.bounds import MAX_TENSOR_BYTES, check_bounds
from service.graph.load_memory import require_room
from service.logs import LOGGER
from service.runtime.candidates import Candidate
from service.runtime.choosing import Chooser
from service.runtime.contract import (
    answer_check,
    blank_input,
    check_contract,
    outputs_of,
    require_certificate,
    weights_beside,
)
from service.runtime.device import (
    Arithmetic,
    Device,
    Layout,
    SessionPlan,
    affordable_sizes,
    plan_session,
    plans_on_gpu,
)
from service.runtime.first_runs import FIRST_RUNS_SECONDS, first_runs
from service.runtime.host import MemoryLeft, memory_left
from service.runtime.io_binding import BoundSession, CaptureLock, Memory
from service.runtime.layouts import FIRST, Layouts
from service.runtime.loaded import Loaded
from service.runtime.low_priority import Calling, LowPriority, at_once
from service.runtime.measuring import open_candidate
from service.runtime.patient_calls import PATIENCE_SECONDS, patient_calling
from service.runtime.repository import Servable
from service.runtime.run_plan import RunPlan, build_of, choose_runs, plan_of_heavy
from service.runtime.session import Session
from service.runtime.trial import Trial
from service.runtime.tuning import (
    FOR_REQUESTS,
    BatchSearch,
    Clock,
    best_batch,
    seconds_of,
    thread_clock,
)

log = logging.getLogger(LOGGER)

T = TypeVar("T")
U = TypeVar("U")
OpenNetwork = Callable[[SessionPlan], Session]
"""Opens a session of the network by a plan, and checks it against the contract."""

LARGEST = 32
"""The largest batch where neither the settings nor the card give one."""
WEIGHTS_SHARE = 8
"""Of a GPU's memory, one part in so many is for the weights of one network; each batch size has them for itself."""
UNKNOWN_ROOM = 1 << 30
"""Bytes for that where the memory is not known."""
INSTANCES_ON_GPU = 2
"""Two batches at once: one is copied while the other is computed."""


@dataclass(frozen=True, slots=True)
class ModelLoader:
    """Loads networks and runs each until it is warm.

    Attributes:
        device: where they shall run.
        outputs: by task, the names of the outputs that a graph for it must have.
        cache: folder for what a device compiles.
        largest: images in a batch at most; 0 measures it on a CPU and is 32 on a GPU.
        instances: batches that may run at once; 0: one for each thread on a CPU, 2 on a GPU.
        threads: how many threads may run at once.
        capture_lock: shared by all networks on a GPU; each run holds it.
        graphs: whether CUDA graphs may be captured.
        first_runs_seconds: how long the runs that warm and measure a network may take on a CPU.
        max_tensor_bytes: of a tensor that a graph makes out of a few constants.
        trial: tries a network in another process before this one; None: it is not tried.
        deterministic: whether each image runs alone and on one thread, so that its answer is the same in every batch.
        chooser: chooses precision and provider of each network; None: the file as it is, on `device`.
        search: how the largest batch is searched on a CPU.
        memory: returns how much memory a cgroup leaves to this process; None where none limits it.
    """

    device: Device
    outputs: Mapping[str, tuple[str, ...]]
    cache: Path
    largest: int = 0
    instances: int = 0
    threads: int = 1
    capture_lock: CaptureLock = field(default_factory=CaptureLock)
    graphs: bool = False
    first_runs_seconds: float = FIRST_RUNS_SECONDS
    max_tensor_bytes: int = MAX_TENSOR_BYTES
    trial: Trial | None = None
    deterministic: bool = False
    chooser: Chooser | None = None
    search: BatchSearch = FOR_REQUESTS
    memory: Callable[[], MemoryLeft | None] = memory_left
    _plans: dict[object, RunPlan] = field(default_factory=dict)
    _at_low_priority: LowPriority = field(default_factory=LowPriority)

    def load_beside(self, servable: Servable) -> Loaded:
        """Load a network beside the requests for others, which go first; see `load`."""
        return self.load(servable, beside=True)

    def load(self, servable: Servable, *, beside: bool = False) -> Loaded:
        """Load a network; blocking.

        Args:
            servable: what to load.
            beside: whether what takes long on a CPU runs at a low priority.

        Raises:
            ServableError: the card's task is not among `outputs`, the certificate does not match the graph, the graph
                breaks the contract or asks for too much, the memory has no room for it, the trial failed, or a first
                run fails.
            DeviceError: the network does not fully run on the device.
        """
        expected = outputs_of(servable, self.outputs)
        admit = partial(self._admit, expected=expected, beside=beside)
        admit(servable)
        if self.chooser is None:
            plain = Candidate(servable.card.precision, self.device, servable)
            return self._open(plain, expected, beside=beside)
        quiet = self._at_low_priority if beside else None
        candidate, choice = self.chooser.choose(servable, expected, admit, quiet)
        try:
            return replace(self._open(candidate, expected, beside=beside), choice=choice)
        except (ServableError, DeviceError) as error:
            if choice is None or choice.place == 0:
                raise
            log.error("%s can not be served in %s: %s", servable.name, choice.served, error)
            plain = Candidate(servable.card.precision, self.device, servable)
            choice = choice.without_served(for_clients(str(error), servable.path))
            return replace(self._open(plain, expected, beside=beside), choice=choice)

    def _admit(self, servable: Servable, expected: tuple[str, ...], *, beside: bool) -> None:
        """Refuse a file that is not to be loaded."""
        calling: Calling = self._at_low_priority if beside else at_once
        calling(partial(require_certificate, servable))
        check_bounds(
            servable.path, data=weights_beside(servable), max_tensor_bytes=self.max_tensor_bytes
        )
        self.require_room(servable.path)
        if self.trial is not None:
            if beside:  # a process inherits the priority of the thread that starts it
                calling = patient_calling(servable.path, (), calling, self.trial.seconds)
            calling(partial(self.trial.require, servable, expected))

    def require_room(self, path: Path) -> None:
        """Refuse a file for which this process has no memory; blocking. The kernel would end the process.

        Raises:
            ServableError: it does not fit, or is no ONNX file.
        """
        memory = self.memory()
        if memory is not None:
            on_cpu = self.device.name == "cpu"
            require_room(path, left=memory.left, limit=memory.limit, on_cpu=on_cpu)

    def _open(self, candidate: Candidate, expected: tuple[str, ...], *, beside: bool) -> Loaded:
        servable, sessions = candidate.servable, list[Session]()

        def open_network(plan: SessionPlan) -> Session:
            session = open_candidate(candidate, plan)
            check_contract(session, servable.card, servable.path, expected)
            sessions.append(session)
            return session

        # Other devices have threads of their own, which would keep the low priority.
        quietly = beside and candidate.device.name == "cpu"
        patience = min(PATIENCE_SECONDS, self.first_runs_seconds)
        calling: Calling = at_once
        if quietly:
            calling = patient_calling(servable.path, sessions, self._at_low_priority, patience)
        # On a GPU some devices compile for minutes.
        seconds = None if candidate.device.is_gpu else self.first_runs_seconds
        with first_runs(servable.path, sessions, seconds):
            loaded = self._load(candidate, open_network, calling)
        identity = f"{servable.card.certificate.graph_sha256} in {candidate}"
        return replace(loaded, signature=sessions[0].signature, identity=identity)

    def _load(self, candidate: Candidate, open_network: OpenNetwork, calling: Calling) -> Loaded:
        servable, device = candidate.servable, candidate.device
        limit = 1 if self.deterministic else servable.card.max_batch or self.largest or LARGEST
        if device.is_gpu:
            return load_on_gpu(
                servable,
                device,
                open_network,
                limit=limit,
                instances=self.instances,
                cache=self.cache,
                memory=Memory("cuda", device.index),
                capture_lock=self.capture_lock,
                graphs=self.graphs,
                deterministic=self.deterministic,
                arithmetic=candidate.arithmetic,
                layouts=Layouts(self.cache / "layouts"),
            )
        return load_on_processor(
            servable,
            device,
            open_network,
            limit=limit,
            largest=self.largest,
            instances=self.instances,
            threads=self.threads,
            cache=self.cache,
            deterministic=self.deterministic,
            arithmetic=candidate.arithmetic,
            plans=self._plans,
            calling=calling,
            search=self.search,
        )


def load_on_processor(
    servable: Servable,
    device: Device,
    open_network: OpenNetwork,
    *,
    limit: int,
    largest: int,
    instances: int,
    threads: int,
    cache: Path,
    deterministic: bool = False,
    arithmetic: Arithmetic | None = None,
    clock: Clock = time.perf_counter,
    narrow_clock: Clock = thread_clock,
    plans: dict[object, RunPlan] | None = None,
    calling: Calling = at_once,
    search: BatchSearch = FOR_REQUESTS,
) -> Loaded:
    """Open the network on a CPU, by ONNX Runtime itself or by OpenVINO; see `ModelLoader` for the arguments.

    `plans` has what was measured of earlier networks. One of the same build runs as they do without a measurement,
    which would take time from what is served.
    """
    # An OpenVINO session uses all cores, one stream each; in ONNX Runtime's own each run uses its caller's thread.
    streams = threads if device.name == "openvino" else 1
    plan = plan_session(device, largest=limit, threads=streams, cache=cache, arithmetic=arithmetic)
    beside = calling is not at_once
    measures = device.name == "cpu" and not deterministic
    build = build_of(servable), arithmetic
    known = plans.get(build) if measures and plans is not None else None
    if known is None and measures:
        known = plan_of_heavy(servable, limit=limit, largest=largest, threads=threads)
    if known is not None and known.together and not beside:  # one session is enough
        session = open_network(known.wide_plan(threads))
        blank = blank_input(session, servable.card)
        return known.on_all_cores(session, blank, instances=instances, threads=threads)
    session = calling(lambda: open_network(plan))
    blank = blank_input(session, servable.card)
    if beside:
        calling(lambda: answer_check(session, blank, servable.path))
    elif deterministic or known is not None:
        session(blank[None])
    if not measures:
        if not (deterministic or largest):
            alone = seconds_of(session, blank[None], clock)
            limit = best_batch(session, blank, limit, alone=alone, clock=clock, search=search)
        return Loaded((session,) * (instances or threads), limit, blank)
    if known is None:
        choose: Callable[..., Loaded] = partial(
            choose_runs,
            limit=limit,
            largest=largest,
            clock=clock,
            narrow_clock=narrow_clock,
            calling=calling,
            search=search,
        )
    else:
        choose = known.applied
    loaded = choose(session, open_network, blank, instances=instances, threads=threads)
    if plans is not None:
        plans[build] = known or RunPlan.of(loaded)
    return replace(loaded, checked=beside)


def load_on_gpu(
    servable: Servable,
    device: Device,
    open_network: OpenNetwork,
    *,
    limit: int,
    instances: int,
    cache: Path,
    memory: Memory,
    capture_lock: CaptureLock,
    graphs: bool,
    deterministic: bool = False,
    arithmetic: Arithmetic | None = None,
    layouts: Layouts | None = None,
) -> Loaded:
    """Open the network by the best plan that it allows; instances that capture graphs need a session each.

    `layouts` chooses how convolutions are computed; without it, channels come first.
    """
    frame = servable.card.input
    inputs = {INPUT_NAME: (frame.height, frame.width, 3)} if frame else {}

    def plans_with(layout: Layout) -> tuple[SessionPlan, ...]:
        return plans_on_gpu(
            device,
            largest=limit,
            cache=cache,
            inputs=inputs,
            graphs=graphs,
            deterministic=deterministic,
            arithmetic=arithmetic,
            layout=layout,
        )

    plans = plans_with(FIRST)
    if layouts is not None and not deterministic and _is_reduced(servable, arithmetic):
        layout = layouts.choose(
            servable, device, plans[-1], open_network, largest=limit, arithmetic=arithmetic
        )
        if layout != FIRST:
            # Graphs gain more than a layout: a network that is captured in the plain one only is served so.
            plans = tuple(chain.from_iterable(zip(plans_with(layout), plans, strict=True)))

    def open_instances(plan: SessionPlan) -> tuple[BoundSession, ...]:
        count = instances or INSTANCES_ON_GPU
        sessions = _session_makers(plan, device, open_network, count)
        copies = count if plan.graphs else 1
        sizes = affordable_sizes(
            plan.batch_sizes,
            servable.size_bytes * copies,
            device.memory_bytes // WEIGHTS_SHARE or UNKNOWN_ROOM,
        )
        blank = blank_input(sessions[0](sizes[-1]), servable.card)
        runs: list[BoundSession] = []
        for session_for in sessions:
            runs.append(BoundSession(session_for, sizes, blank, memory, capture_lock))
            sizes = runs[0].sizes  # those for which there was time
        return tuple(runs)

    runs = first_allowed(plans, open_instances, servable.name)
    return Loaded(runs, limit, runs[0].blank)


def _is_reduced(servable: Servable, arithmetic: Arithmetic | None) -> bool:
    """Return whether products are rounded: fp32 is not faster in another layout, and some kernels round it."""
    return arithmetic == "tf32" or servable.card.precision != "fp32"


def _session_makers(
    plan: SessionPlan, device: Device, open_network: OpenNetwork, count: int
) -> list[Callable[[int], Session]]:
    """Return for each instance how it gets the session of a batch size; see `BoundSession`.

    Captured graphs belong to one instance. Without them instances share the sessions. One engine of TensorRT is for all
    sizes.
    """
    by_size = device.name == "cuda"

    def maker() -> Callable[[int], Session]:
        opened: dict[int, Session] = {}

        def session_for(size: int) -> Session:
            key = size if by_size else 0
            if key not in opened:
                opened[key] = open_network(plan)
            return opened[key]

        return session_for

    if plan.graphs:
        return [maker() for _ in range(count)]
    return [maker()] * count


def first_allowed(plans: Sequence[T], open_as: Callable[[T], U], name: str) -> U:
    """Return what `open_as` makes of the first plan that the network allows; log why it does not allow the others.

    Raises:
        ServableError, DeviceError: it allows none; the error of the last plan.
    """
    for plan in plans[:-1]:
        try:
            return open_as(plan)
        except (ServableError, DeviceError) as error:
            log.info("%s is served in a plainer way, since %s", name, error)
    return open_as(plans[-1])
