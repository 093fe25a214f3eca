"""A network on a GPU with buffers at fixed addresses: a batch is copied once each way and launched in one call.

Each batch size has an ONNX Runtime session of its own. The CUDA provider keeps one cuDNN plan for each convolution and
destroys it when a batch of another size comes: to build the next takes up to 40 ms for each convolution, and a CUDA
graph that was captured with the old plan calls kernels that are gone. On an H200 such a replay ended in `illegal memory
access` and `illegal instruction` for networks with depthwise convolutions. See decision 0036.

Source: https://onnxruntime.ai/docs/performance/tune-performance/iobinding.html and
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html, "CUDA Graph".
"""

import ctypes
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from service.errors import DeviceError
from service.logs import LOGGER
from service.runtime.device import GRAPH_ID, NO_GRAPH, RUNS_TO_CAPTURE
from service.runtime.job import Outputs, Tensor
from service.runtime.session import Session, run_options

log = logging.getLogger(LOGGER)

SAME = 1e-2
"""How far the outputs of a replayed graph may differ from a plain run's, as a share of their largest value: TF32
rounds."""
_CUDA_RUNTIMES = ("libcudart.so.13", "libcudart.so.12", "cudart64_13.dll", "cudart64_12.dll")
WARM_SECONDS = 10.0
"""After so long no further size is prepared: batches are padded to a larger one. cuDNN compiles kernels for depthwise
convolutions, which takes seconds for each size."""
_PORTABLE = 1
"""cudaHostRegisterPortable: the pages count as locked for every device."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Where buffers lie, in ONNX Runtime's names: `cuda` and its index; `cpu` runs the same code without a GPU."""

    device: str
    index: int = 0


def find_cuda_runtime() -> Any:  # noqa: ANN401  # a library, whose functions have no types
    """Return the library of CUDA's runtime, None where there is none."""
    for name in _CUDA_RUNTIMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def page_lock(
    buffer: Tensor, memory: Memory, find_runtime: Callable[[], Any] = find_cuda_runtime
) -> bool:
    """Lock a host buffer's pages until it is freed, so that the GPU reads it without a copy by the driver.

    Returns whether that worked. Where it did not, each batch is copied once more.
    """
    runtime = None if memory.device == "cpu" else find_runtime()
    if runtime is None:
        return False
    runtime.cudaSetDevice(ctypes.c_int(memory.index))
    address = ctypes.c_void_p(buffer.ctypes.data)
    size = ctypes.c_size_t(buffer.nbytes)
    if runtime.cudaHostRegister(address, size, ctypes.c_uint(_PORTABLE)) != 0:
        runtime.cudaGetLastError()  # else this thread's next launch of a kernel would report it
        log.info("CUDA can not lock host memory here. Each batch is copied once more.")
        return False
    weakref.finalize(buffer, runtime.cudaHostUnregister, address)
    return True


class CaptureLock:
    """Allows any number of runs and preparations at once, or one capture alone.

    A CUDA capture fails (error 900) if another thread allocates or copies meanwhile, even for another network. A
    capture that waits for the runs of others lets no further run begin, since these end soon. A preparation may take
    minutes: while a capture waits for one, runs go on.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._sharing = 0
        self._preparing = 0
        self._exclusive = False

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Hold off captures while a network is opened and run for the first time."""
        with self._condition:
            self._condition.wait_for(lambda: not self._exclusive)
            self._preparing += 1
        try:
            yield
        finally:
            with self._condition:
                self._preparing -= 1
                self._condition.notify_all()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold off captures while a network runs."""
        with self._condition:
            self._condition.wait_for(lambda: not self._exclusive)
            self._sharing += 1
        try:
            yield
        finally:
            with self._condition:
                self._sharing -= 1
                self._condition.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold off everything else on the device while a graph is captured."""
        with self._condition:
            self._condition.wait_for(lambda: not self._exclusive and not self._preparing)
            self._exclusive = True
            self._condition.wait_for(lambda: not self._sharing)
        try:
            yield
        finally:
            with self._condition:
                self._exclusive = False
                self._condition.notify_all()


@dataclass(slots=True)
class _Slot:
    """A batch size: its session, `pinned` on the host, `given` on the device, and the binding of the outputs."""

    session: Session
    pinned: Tensor
    given: ort.OrtValue
    binding: ort.IOBinding
    options: ort.RunOptions


class BoundSession:
    """Runs batches up to the largest warmed size, one at a time; several of these serve a network at once.

    A batch goes into the buffers of the next larger warmed size; the surplus rows are computed and cut off. Where the
    sessions capture graphs, each size is captured at the start and checked against a plain run. ONNX Runtime binds a
    captured graph to the thread that captured it, so everything runs on one thread that belongs to this object.

    Args:
        session_for: opens the network for a batch size, or returns the session that has it open; with `plan.graphs` no
            other object may use it. TensorRT builds one engine for all sizes, which may be one session.
        sizes: the batch sizes, ascending. The largest and the smallest are warmed, the others while there is time.
        blank: one input without the batch axis.
        memory: where the buffers lie.
        capture_lock: shared by all that run on the device.
        lock_pages: makes host memory readable for the device without another copy.
        clock: returns seconds.

    Raises:
        DeviceError: the network does not run like this, or a replayed graph gives other outputs.
    """

    def __init__(
        self,
        session_for: Callable[[int], Session],
        sizes: Sequence[int],
        blank: Tensor,
        memory: Memory,
        capture_lock: CaptureLock,
        *,
        lock_pages: Callable[[Tensor, Memory], object] = page_lock,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        session = session_for(sizes[-1])
        self.blank = blank
        self._session_for = session_for
        self._sizes = tuple(sizes)
        self._memory = memory
        self._capture_lock = capture_lock
        self._lock_pages = lock_pages
        self._clock = clock
        self._input = session.inputs[0].name
        self._names = [output.name for output in session.outputs]
        self._fixed = all(None not in output.shape[1:] for output in session.outputs)
        self._graphs = session.plan.graphs
        self._slots: dict[int, _Slot] = {}
        self._present: ort.RunOptions | None = None
        self._thread = ThreadPoolExecutor(1, "foveal-gpu")
        try:
            self._thread.submit(self._warm).result()
        except DeviceError:
            self._thread.shutdown()
            raise
        except Exception as error:  # ONNX Runtime raises untyped errors
            self._thread.shutdown()
            raise DeviceError(
                f"it does not run on fixed buffers in the memory of {memory.device}: {error}"
            ) from error

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batch sizes that are warm, ascending."""
        return tuple(sorted(self._slots))

    def pinned_input(self, count: int) -> Tensor:
        """Return a buffer for `count` inputs, (N, …), valid until the next run ends."""
        return self._slot(count).pinned[:count]

    def __call__(self, batch: Tensor) -> Outputs:
        """Run a batch (N, …) and return every output (N, …) by name; blocking."""
        return self._thread.submit(self._run, batch).result()

    def stop(self, thread: int) -> None:  # noqa: ARG002  # it has but one run at a time
        """Let the present run end with an error, as soon as the node that it is in has ended."""
        if self._present is not None:
            self._present.terminate = True

    # On this object's thread.

    def _warm(self) -> None:
        if self._graphs and not self._fixed:
            raise DeviceError("the shapes of its outputs depend on the image")
        largest, *others = sorted(self._sizes, reverse=True)
        began = self._clock()
        self._prepare(largest)
        for size in (*others[-1:], *others[:-1]):
            if len(self._slots) > 1 and self._clock() - began > WARM_SECONDS:
                log.info("batches are padded to %s: to prepare one takes long", self.sizes)
                break
            self._prepare(size)

    def _prepare(self, size: int) -> None:
        # The first runs may take minutes (cuDNN compiles, TensorRT builds), so other networks may run meanwhile; only a
        # capture must have the device alone.
        with self._capture_lock.preparing():
            slot = self._make_slot(size)
            if not self._graphs:
                self._compute(slot)
        if self._graphs:
            with self._capture_lock.exclusive():
                for _ in range(RUNS_TO_CAPTURE):
                    self._compute(slot)
                self._check(slot)
        self._slots[size] = slot

    def _make_slot(self, size: int) -> _Slot:
        session = self._session_for(size)
        device, index = self._memory.device, self._memory.index
        pinned = np.repeat(self.blank[None], size, axis=0)
        self._lock_pages(pinned, self._memory)
        given = ort.OrtValue.ortvalue_from_shape_and_type(pinned.shape, pinned.dtype, device, index)
        binding = session.onnxruntime.io_binding()
        binding.bind_ortvalue_input(self._input, given)
        plain = self._plain(session, pinned)
        if self._fixed:
            for name, rows in plain.items():
                found = ort.OrtValue.ortvalue_from_shape_and_type(
                    rows.shape, rows.dtype, device, index
                )
                binding.bind_ortvalue_output(name, found)
        # A session may be that of several sizes on a CPU in a GPU's place, so a graph is named by its size.
        options = _options(size if self._graphs else NO_GRAPH)
        return _Slot(session, pinned, given, binding, options)

    def _plain(self, session: Session, batch: Tensor) -> dict[str, Tensor]:
        rows = session.onnxruntime.run(self._names, {self._input: batch}, _options(NO_GRAPH))
        return dict(zip(self._names, rows, strict=True))

    def _run(self, batch: Tensor) -> Outputs:
        slot = self._slot(len(batch))
        if not np.may_share_memory(batch, slot.pinned):
            slot.pinned[: len(batch)] = batch
        with self._capture_lock.shared():
            found = self._compute(slot)
        return {name: rows[: len(batch)] for name, rows in found.items()}

    def _compute(self, slot: _Slot) -> dict[str, Tensor]:
        slot.given.update_inplace(slot.pinned)
        if not self._fixed:  # a binding keeps the last run's outputs, in their shape
            for name in self._names:
                slot.binding.bind_output(name, self._memory.device, self._memory.index)
        self._present = slot.options
        try:
            slot.session.onnxruntime.run_with_iobinding(slot.binding, slot.options)
        finally:
            self._present = None
            slot.options.terminate = False
        values = zip(self._names, slot.binding.get_outputs(), strict=True)
        return {name: self._to_host(value) for name, value in values}

    def _to_host(self, value: ort.OrtValue) -> Tensor:
        rows: Tensor = value.numpy()
        return rows.copy() if self._memory.device == "cpu" else rows  # on a CPU it is a view

    def _check(self, slot: _Slot) -> None:
        """Replay the graph on noise, which is not the input that it was captured with."""
        noise = np.random.default_rng(0)
        if slot.pinned.dtype == np.uint8:
            slot.pinned[:] = noise.integers(0, 256, slot.pinned.shape, np.uint8)
        else:
            slot.pinned[:] = noise.standard_normal(slot.pinned.shape)
        replayed = self._compute(slot)
        for name, expected in self._plain(slot.session, slot.pinned).items():
            if np.issubdtype(expected.dtype, np.floating):
                off = float(np.abs(replayed[name] - expected).max(initial=0.0))
                if not off <= SAME * float(np.abs(expected).max(initial=0.0)):
                    raise DeviceError(
                        f"a replayed CUDA graph's {name} differs by {off:g} from the plain run's"
                    )

    def _slot(self, count: int) -> _Slot:
        return self._slots[next(size for size in sorted(self._slots) if size >= count)]


def _options(graph: int) -> ort.RunOptions:
    options = run_options()
    options.add_run_config_entry(GRAPH_ID, str(graph))
    return options
