"""A batch in buffers at fixed addresses, run for real in the memory of the CPU."""

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from service.errors import DeviceError
from service.runtime.device import Device, plan_session
from service.runtime.io_binding import BoundSession, CaptureLock, Memory, page_lock
from service.runtime.job import Tensor
from service.runtime.session import Session, open_session
from tests.servables import write_servable
from tests.service.runtime.clocks import ManualClock

CPU = Device("cpu")
HERE = Memory("cpu")
PLAN = replace(plan_session(CPU, largest=8, threads=1, cache=Path()), batch_sizes=(1, 2, 4, 8))
BLANK = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return open_session(write_servable(tmp_path), CPU, PLAN)


def bind(session: Session, **changes: Any) -> BoundSession:
    return BoundSession(
        lambda _: session, session.plan.batch_sizes, BLANK, HERE, CaptureLock(), **changes
    )


def images(count: int) -> Tensor:
    return np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("graphs", [False, True])
def test_a_batch_in_place_gives_what_a_plain_run_gives(session: Session, *, graphs: bool) -> None:
    session.plan = replace(PLAN, graphs=graphs)
    bound = bind(session)
    for count in (8, 3, 1, 5, 2, 8):
        found, plain = bound(images(count)), session(images(count))
        assert found.keys() == plain.keys()
        for name, rows in plain.items():
            assert np.array_equal(found[name], rows), (count, name)


def test_a_batch_assembled_in_pinned_memory_is_not_copied(session: Session) -> None:
    bound = bind(session)
    room = bound.pinned_input(3)
    np.stack(list(images(3)), out=room)
    assert np.array_equal(bound(room)["logits"], session(images(3))["logits"])
    assert np.may_share_memory(room, bound.pinned_input(4)), "the room for the same warmed size"


def test_outputs_outlive_the_next_run(session: Session) -> None:
    bound = bind(session)
    first = bound(images(2))["logits"]
    kept = first.copy()
    bound(images(1)), bound(images(2)[::-1])
    assert np.array_equal(first, kept)


def test_two_bound_sessions_share_a_session_and_run_at_once(session: Session) -> None:
    pair = [bind(session) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:

        def many(lane: int) -> list[Tensor]:
            return [pair[lane](images(count))["logits"] for count in range(1, 9)]

        for found in threads.map(many, range(2)):
            for count, rows in enumerate(found, start=1):
                assert np.array_equal(rows, session(images(count))["logits"])


def test_host_buffers_are_locked_once_a_size(session: Session) -> None:
    locked: list[int] = []
    bound = bind(session, lock_pages=lambda buffer, _: locked.append(len(buffer)))
    bound(images(3))
    assert locked == [8, 1, 4, 2], "what is needed first"


def test_each_size_has_a_session_of_its_own_and_no_run_of_another_size(tmp_path: Path) -> None:
    """Another size destroys the plans of the convolutions that a captured graph calls."""
    path, runs = write_servable(tmp_path), dict[int, set[int]]()

    def session_for(size: int) -> Session:
        assert size not in runs or size == PLAN.batch_sizes[-1], "the first one says what it has"
        seen = runs.setdefault(size, set())
        found = open_session(path, CPU, replace(PLAN, graphs=True))
        found.onnxruntime = Watched(found.onnxruntime, seen)
        return found

    bound = BoundSession(session_for, PLAN.batch_sizes, BLANK, HERE, CaptureLock())
    for count in (8, 3, 1, 5, 2):
        bound(images(count))

    assert runs == {8: {8}, 4: {4}, 2: {2}, 1: {1}}


class Watched:
    """ONNX Runtime's session, with a note of the batch sizes that it is run with."""

    def __init__(self, session: Any, seen: set[int]) -> None:
        self._session, self._seen = session, seen
        self.io_binding = session.io_binding

    def run(self, names: list[str], feed: dict[str, Tensor], options: Any) -> Any:
        self._seen.update(len(batch) for batch in feed.values())
        return self._session.run(names, feed, options)

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self._session.run_with_iobinding(binding, options)
        self._seen.update(len(value.numpy()) for value in binding.get_outputs())


@pytest.mark.parametrize(("seconds", "sizes"), [(1.0, (1, 2, 4, 8)), (6.0, (1, 8)), (60.0, (1, 8))])
def test_sizes_that_take_long_to_prepare_are_left_out(
    session: Session, seconds: float, sizes: tuple[int, ...]
) -> None:
    clock = ManualClock()
    bound = bind(session, lock_pages=lambda *_: clock.advance(seconds), clock=clock)

    assert bound.sizes == sizes
    assert np.array_equal(bound(images(3))["logits"], session(images(3))["logits"])


def test_without_cuda_no_page_is_locked_and_nothing_breaks() -> None:
    assert page_lock(images(1), HERE) is False


class CudaRuntime:
    """Locks as CUDA's runtime does, or refuses; an error stays until it is read, as in CUDA."""

    def __init__(self, refusal: int = 0) -> None:
        self.refusal = refusal
        self.last_error = 0
        self.locked: list[int] = []

    def cudaSetDevice(self, index: ctypes.c_int) -> int:  # noqa: N802
        return index.value

    def cudaHostRegister(  # noqa: N802
        self, address: ctypes.c_void_p, size: ctypes.c_size_t, flags: ctypes.c_uint
    ) -> int:
        assert (size.value, flags.value) == (BLANK.nbytes, 1)
        self.last_error = self.refusal
        if not self.refusal:
            self.locked.append(address.value or 0)
        return self.refusal

    def cudaHostUnregister(self, address: ctypes.c_void_p) -> int:  # noqa: N802
        self.locked.remove(address.value or 0)
        return 0

    def cudaGetLastError(self) -> int:  # noqa: N802
        found, self.last_error = self.last_error, 0
        return found


def test_a_buffer_is_locked_until_it_is_freed() -> None:
    runtime, buffer = CudaRuntime(), BLANK.copy()

    assert page_lock(buffer, Memory("cuda"), lambda: runtime) is True
    assert runtime.locked == [buffer.ctypes.data]

    del buffer
    assert runtime.locked == []


def test_a_buffer_that_can_not_be_locked_leaves_no_error_for_the_next_launch() -> None:
    runtime, buffer = CudaRuntime(refusal=712), BLANK.copy()  # it is registered already

    assert page_lock(buffer, Memory("cuda"), lambda: runtime) is False
    assert runtime.last_error == 0
    del buffer  # and nothing is unlocked


def noise() -> bytes:
    """Return a network with other outputs each time, like a graph that was captured wrongly."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("RandomUniformLike", ["x"], ["logits"], low=-1.0, high=1.0),
        ],
        "noise",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 8, 8, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    serialized: bytes = model.SerializeToString()
    return serialized


def test_a_replay_with_other_outputs_is_refused(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    session = open_session(path, CPU, replace(PLAN, graphs=True), graph=noise())
    with pytest.raises(
        DeviceError, match=r"replayed CUDA graph's logits differs by .* from the plain"
    ):
        bind(session)


def test_outputs_whose_shape_depends_on_the_image_are_not_captured(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["image"], ["found"])],
        "found",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info("found", TensorProto.INT64, [4, "K"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path = write_servable(tmp_path)
    plain = open_session(
        path, CPU, replace(PLAN, batch_sizes=(1,)), graph=model.SerializeToString()
    )
    bound = bind(plain)
    for lit in (3, 5):
        image = BLANK[None].copy()
        image[0, 0, :lit, 0] = 255
        assert bound(image)["found"].shape[1] == lit
    plain.plan = replace(plain.plan, graphs=True)
    with pytest.raises(DeviceError, match="depend on the image"):
        bind(plain)


def test_a_capture_waits_for_every_run_and_keeps_the_next_ones_out() -> None:
    capture_lock, seen = CaptureLock(), list[str]()

    def capture() -> None:
        with capture_lock.exclusive():
            seen.append("capture")

    def late(passed: threading.Event) -> None:
        with capture_lock.shared():
            passed.set()
            seen.append("late run")

    def start_until_one_waits() -> threading.Thread:
        """Return a run that waits; those before it passed, since the capture had not begun to wait."""
        for _ in range(100):
            passed = threading.Event()
            thread = threading.Thread(target=late, args=(passed,))
            thread.start()
            if not passed.wait(0.5):
                return thread
            thread.join(5)
        raise AssertionError("no run waits for the capture")

    with capture_lock.shared():
        capturing = threading.Thread(target=capture)
        capturing.start()
        waiting = start_until_one_waits()
        assert "capture" not in seen
        seen.clear()
        seen.append("run")
    for thread in (capturing, waiting):
        thread.join(5)
    assert seen == ["run", "capture", "late run"]


def test_while_a_capture_waits_for_a_network_that_is_prepared_runs_go_on() -> None:
    capture_lock, captured, ran = CaptureLock(), threading.Event(), threading.Event()

    def capture() -> None:
        with capture_lock.exclusive():
            captured.set()

    def run() -> None:
        with capture_lock.shared():
            ran.set()

    with capture_lock.preparing():  # it may take minutes
        capturing = threading.Thread(target=capture)
        capturing.start()
        assert not captured.wait(0.5), "a capture waits for it"
        running = threading.Thread(target=run)
        running.start()
        assert ran.wait(10)
        assert not captured.is_set()
    for thread in (capturing, running):
        thread.join(10)
    assert captured.is_set()


def test_nothing_is_prepared_during_a_capture() -> None:
    capture_lock, prepared = CaptureLock(), threading.Event()

    def prepare() -> None:
        with capture_lock.preparing():
            prepared.set()

    with capture_lock.exclusive():
        preparing = threading.Thread(target=prepare)
        preparing.start()
        assert not prepared.wait(0.5)
    preparing.join(10)
    assert prepared.is_set()


def test_any_number_of_runs_pass_at_once() -> None:
    capture_lock, both = CaptureLock(), threading.Barrier(2, timeout=5)

    def run() -> None:
        with capture_lock.shared():
            both.wait()

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(run) for _ in range(2)]:
            done.result()
