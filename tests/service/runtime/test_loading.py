import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.card import Card, Window
from service.errors import DeviceError, ServableError
from service.runtime.device import Device, DeviceName, SessionPlan, plan_session
from service.runtime.host import MemoryLeft
from service.runtime.io_binding import CaptureLock, Memory
from service.runtime.job import Outputs, Run, Stoppable, Tensor
from service.runtime.loaded import Loaded
from service.runtime.loading import (
    LARGEST,
    ModelLoader,
    first_allowed,
    load_on_gpu,
    load_on_processor,
)
from service.runtime.low_priority import NICENESS, LowPriority
from service.runtime.patient_calls import patient_calling
from service.runtime.probing import find_device
from service.runtime.repository import Servable, scan_repository
from service.runtime.run_plan import HEAVY_MACS, RunPlan, build_of, choose_runs
from service.runtime.session import Session, open_session
from service.runtime.trial import Trial
from service.runtime.tuning import FEW_THREADS, best_batch
from tests.bad_networks import endless, endless_when_bright, failing
from tests.servables import color_card, color_model, own_largest_model, write_servable
from tests.service.runtime.clocks import ManualClock

CPU = Device("cpu")
OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "classify": ("logits", "probabilities"),
    "temporal": ("logits",),
    "detect": ("boxes",),
}


def load(one: Servable, **changes: Any) -> Loaded:
    settings = {"device": CPU, "largest": 4, "instances": 1, "cache": Path(), **changes}
    return ModelLoader(outputs=OUTPUTS, **settings).load(one)


def servable(root: Path, model: onnx.ModelProto | None = None, **card: object) -> Servable:
    changed: Card = color_card().model_copy(update=card)
    write_servable(root, model=model, card=changed)
    ((one,), _) = scan_repository(root)
    return replace(one, card=one.card.model_copy(update=card))


def test_a_loaded_network_gives_its_outputs_and_a_blank_image(tmp_path: Path) -> None:
    loaded = load(servable(tmp_path))
    assert (len(loaded.runs), loaded.largest, loaded.wide) == (1, 4, None)
    assert loaded.blank.shape == (8, 8, 3)
    assert loaded.blank.dtype == np.uint8
    assert not loaded.blank.any()
    assert set(loaded.runs[0](loaded.blank[None])) == {"logits", "probabilities", "features"}


@pytest.mark.parametrize(("settings", "card", "largest"), [(4, None, 4), (4, 2, 2), (40, None, 40)])
def test_the_card_limits_batches_before_the_settings_do(
    tmp_path: Path, settings: int, card: int | None, largest: int
) -> None:
    assert load(servable(tmp_path, max_batch=card), largest=settings).largest == largest


def test_a_task_that_the_service_does_not_know_is_refused_with_those_that_it_knows(
    tmp_path: Path,
) -> None:
    unknown = servable(tmp_path, task="segment")
    known = (
        r"'segment', which this service does not know. Known tasks: classify, detect, temporal\."
    )
    with pytest.raises(ServableError, match=known):
        load(unknown)


def test_a_file_that_the_memory_has_no_room_for_is_refused_and_not_loaded(tmp_path: Path) -> None:
    model = color_model()
    model.graph.initializer.append(
        helper.make_tensor("large", TensorProto.FLOAT, [1 << 20], bytes(4 << 20), raw=True)
    )
    one = servable(tmp_path, model)
    assert load(one, memory=lambda: MemoryLeft(9 << 20, 700 << 20)).runs
    with pytest.raises(ServableError, match=r"at least 7 MiB of memory, and 5 of 700 MiB are left"):
        load(one, memory=lambda: MemoryLeft(5 << 20, 700 << 20))


def test_a_certificate_of_another_graph_is_refused(tmp_path: Path) -> None:
    one = servable(tmp_path)
    one.path.write_bytes(one.path.read_bytes().replace(b"colors", b"colorz", 1))
    with pytest.raises(ServableError, match="changed after it was proved"):
        load(one)


def with_input(dtype: int, shape: list[int | str]) -> onnx.ModelProto:
    """Return a graph with one input `image`, and the outputs that a classifier has."""
    names = ("logits", "probabilities", "features")
    nodes = [helper.make_node("Cast", ["image"], [name], to=TensorProto.FLOAT) for name in names]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    given = helper.make_tensor_value_info("image", dtype, shape)
    graph = helper.make_graph(nodes, "input", [given], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (color_model(input_name="pixels_in"), r"inputs are \['pixels_in'\].*requires \['image'\]"),
        (
            with_input(TensorProto.FLOAT, ["N", 8, 8, 3]),
            r"image is tensor\(float\).*requires tensor\(uint8\)",
        ),
        (color_model(side=16), r"shape \(None, 16, 16, 3\), the card says \(None, 8, 8, 3\)"),
        (color_model(batch=1), "dynamic batch axis"),
        (color_model(batch=2), "dynamic batch axis"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused_with_the_difference(
    tmp_path: Path, model: onnx.ModelProto, fault: str
) -> None:
    with pytest.raises(ServableError, match=fault):
        load(servable(tmp_path, model))


def test_a_graph_without_a_batch_axis_is_served_one_image_at_a_time_if_its_card_says_so(
    tmp_path: Path,
) -> None:
    assert load(servable(tmp_path, color_model(batch=1), max_batch=1)).largest == 1


def test_a_fixed_batch_of_more_than_one_is_never_served(tmp_path: Path) -> None:
    with pytest.raises(ServableError, match="dynamic batch axis"):
        load(servable(tmp_path, color_model(batch=2), max_batch=1))


def test_a_graph_that_lacks_an_output_of_its_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServableError, match=r"a detect graph lacks the outputs \['boxes'\]"):
        load(servable(tmp_path, task="detect"))


def temporal(root: Path, shape: list[int | str]) -> Servable:
    given = helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["features"], ["logits"])], "head", [given], [logits]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    window = Window(frames=5, stride=1, fps=2)
    return servable(
        root,
        model,
        task="temporal",
        input=None,
        backbone="backbone",
        backbone_sha256="0" * 64,
        window=window,
    )


def test_a_temporal_head_gets_a_blank_window_of_features(tmp_path: Path) -> None:
    blank = load(temporal(tmp_path, ["N", 5, 7])).blank
    assert blank.shape == (5, 7)
    assert blank.dtype == np.float32
    assert not blank.any()


@pytest.mark.parametrize("shape", [["N", 4, 7], ["N", 5, "F"], ["N", 5], ["N", "T", 7]])
def test_a_temporal_head_with_another_window_than_its_card_says_is_refused(
    tmp_path: Path, shape: list[int | str]
) -> None:
    with pytest.raises(ServableError, match=r"the card says \(None, 5, features\)"):
        load(temporal(tmp_path, shape))


class Timed:
    """Counts seconds by a clock of its own: one image takes `narrow` on one thread, `wide` on all."""

    def __init__(self, narrow: float, wide: float = 0.0) -> None:
        self.clock = ManualClock(0)
        self.narrow = self._run(narrow)
        self.wide = self._run(wide)
        self.plans: list[SessionPlan] = []

    def _run(self, seconds: float) -> Run:
        def run(batch: Tensor) -> Outputs:
            self.clock.advance(seconds * len(batch))
            return {}

        return run

    def _open_wide(self, plan: SessionPlan) -> Run:
        self.plans.append(plan)
        return self.wide

    def choose(self, **changes: Any) -> Loaded:
        settings = {"limit": 16, "largest": 16, "instances": 0, "threads": 8, **changes}
        return choose_runs(
            self.narrow,
            self._open_wide,
            np.zeros(1, np.uint8),
            clock=self.clock,
            narrow_clock=self.clock,
            **settings,
        )


def test_by_default_each_thread_runs_a_batch() -> None:
    tiny = Timed(narrow=0.001)
    loaded = tiny.choose()
    assert loaded.runs == (tiny.narrow,) * 8
    assert loaded.wide is None
    assert not tiny.plans, "below 2 ms more threads are not tried"


def test_a_given_number_of_instances_is_kept() -> None:
    assert len(Timed(narrow=0.001).choose(instances=3).runs) == 3
    assert len(Timed(narrow=0.01, wide=0.01).choose(instances=3).runs) == 3
    assert len(Timed(narrow=0.2, wide=0.02).choose(instances=3).runs) == 3


def test_on_one_thread_nothing_is_spread() -> None:
    heavy = Timed(narrow=0.2, wide=0.1)
    loaded = heavy.choose(threads=1)
    assert (loaded.runs, loaded.wide, heavy.plans) == ((heavy.narrow,), None, [])


@pytest.mark.parametrize("seconds", [0.002, 0.05])
def test_a_single_image_gets_all_cores_where_that_is_clearly_faster(seconds: float) -> None:
    network = Timed(narrow=seconds, wide=seconds * 0.79)
    loaded = network.choose()
    assert (loaded.runs, loaded.wide) == ((network.narrow,) * 8, network.wide)
    assert Timed(narrow=seconds, wide=seconds * 0.81).choose().wide is None


def test_threads_of_a_wide_run_spin_unless_others_may_run_beside_it() -> None:
    for seconds, spins in ((0.05, "1"), (0.2, "0")):
        network = Timed(narrow=seconds, wide=seconds)
        network.choose()
        (plan,) = network.plans
        assert plan.intra_threads == 8
        assert plan.entries["session.intra_op.allow_spinning"] == spins


def test_a_heavy_network_that_spreads_well_runs_once_at_a_time_on_all_threads() -> None:
    heavy = Timed(narrow=0.8, wide=0.11)
    loaded = heavy.choose()
    assert (loaded.runs, loaded.wide) == ((heavy.wide,), None)
    assert Timed(narrow=0.8, wide=0.4).choose().runs[1:], "this one does not"


def test_the_largest_batch_is_measured_unless_it_is_given() -> None:
    constant = Timed(narrow=0.001)
    assert constant.choose(largest=0, limit=8).largest == 8
    slow = Timed(narrow=0.02)
    assert slow.choose(largest=0, threads=1).largest == 1, "two take longer than 25 ms"
    assert slow.choose(largest=16, threads=1).largest == 16


def test_where_nothing_is_given_the_limit_is_ours(tmp_path: Path) -> None:
    assert 1 <= load(servable(tmp_path), largest=0).largest <= LARGEST


def test_on_a_cpu_with_several_threads_a_tiny_network_runs_on_each(tmp_path: Path) -> None:
    loaded = load(servable(tmp_path), instances=0, threads=3)
    assert len(loaded.runs) == 3


class Opener:
    """Opens a servable in the CPU's memory by whatever plan, and remembers the plans; may refuse to capture graphs."""

    def __init__(self, path: Path, *, allows_graphs: bool = True) -> None:
        self.plans: list[SessionPlan] = []
        self._path = path
        self._allows_graphs = allows_graphs

    def __call__(self, plan: SessionPlan) -> Session:
        self.plans.append(plan)
        if plan.graphs and not self._allows_graphs:
            raise ServableError("a part of it runs elsewhere")
        here = plan_session(CPU, largest=1, threads=1, cache=Path())
        return Session(open_session(self._path, CPU, here).onnxruntime, plan)


def on_gpu(one: Servable, opener: Opener, name: DeviceName = "cuda", **changes: Any) -> Loaded:
    device = changes.pop("device", Device(name))
    settings = {"limit": 4, "instances": 0, "cache": Path(), "graphs": True, **changes}
    return load_on_gpu(
        one,
        device,
        opener,
        memory=Memory("cpu"),
        capture_lock=CaptureLock(),
        **settings,
    )


def test_on_a_gpu_each_instance_that_captures_graphs_has_a_session_of_its_own(
    tmp_path: Path,
) -> None:
    one = servable(tmp_path)
    opener = Opener(one.path)
    loaded = on_gpu(one, opener, instances=3)
    assert (len(loaded.runs), loaded.largest, loaded.blank.shape) == (3, 4, (8, 8, 3))
    assert [plan.graphs for plan in opener.plans] == [True] * 9, (
        "sizes 1, 2 and 4 of three instances"
    )
    for run in loaded.runs:
        assert run(loaded.blank[None])["logits"].shape == (1, 3)


def test_on_a_gpu_instances_without_graphs_share_a_session(tmp_path: Path) -> None:
    one = servable(tmp_path)
    opener = Opener(one.path)
    loaded = on_gpu(one, opener, graphs=False)
    assert len(loaded.runs) == 2, "one is copied while the other is computed"
    assert [plan.graphs for plan in opener.plans] == [False] * 3, (
        "a session for each of the sizes 1, 2 and 4"
    )


def test_a_network_that_can_not_be_captured_is_served_without_graphs(tmp_path: Path) -> None:
    one = servable(tmp_path)
    opener = Opener(one.path, allows_graphs=False)
    assert len(on_gpu(one, opener).runs) == 2
    assert [plan.graphs for plan in opener.plans] == [True, False, False, False]


def test_a_small_gpu_has_fewer_sizes(tmp_path: Path) -> None:
    one = servable(tmp_path)
    room = 8 * one.size_bytes
    for sessions, opened in ((6, 6), (5, 4), (3, 2)):
        opener = Opener(one.path)
        loaded = on_gpu(one, opener, device=Device("cuda", memory_bytes=sessions * room))
        assert len(opener.plans) == opened
        assert loaded.runs[0](np.zeros((3, 8, 8, 3), np.uint8))["logits"].shape == (3, 3)


def test_tensorrt_gets_the_shape_of_images_and_none_of_windows(tmp_path: Path) -> None:
    image, window = servable(tmp_path / "a"), temporal(tmp_path / "b", ["N", 5, 7])
    for one, profile in ((image, "image:4x8x8x3"), (window, None)):
        opener = Opener(one.path)
        on_gpu(one, opener, "tensorrt")
        (plan,) = opener.plans
        assert plan.providers[0][1].get("trt_profile_max_shapes") == profile


class TickingClock(ManualClock):
    """Advances by 10 ms whenever it is read, so that every run seems to take as long."""

    def __call__(self) -> float:
        self.advance(0.01)
        return self.now


def on_processor(one: Servable, opener: Opener, name: DeviceName, **changes: Any) -> Loaded:
    settings = {"limit": 4, "largest": 4, "instances": 0, "threads": 3, "cache": Path(), **changes}
    if "clock" in settings:
        settings["narrow_clock"] = settings["clock"]
    return load_on_processor(one, Device(name), opener, **settings)


def test_an_openvino_session_has_a_stream_for_each_thread_and_serves_as_many_batches(
    tmp_path: Path,
) -> None:
    one = servable(tmp_path)
    opener = Opener(one.path)
    loaded = on_processor(one, opener, "openvino")
    assert [plan.intra_threads for plan in opener.plans] == [3]
    assert (len(loaded.runs), loaded.largest, loaded.wide) == (3, 4, None)
    assert len(on_processor(one, opener, "openvino", instances=2).runs) == 2


def test_the_largest_batch_on_openvino_is_measured_unless_it_is_given(tmp_path: Path) -> None:
    one = servable(tmp_path)
    for largest, expected in ((0, 2), (3, 3)):
        settings = {"limit": 3, "largest": largest, "clock": TickingClock()}
        loaded = on_processor(one, Opener(one.path), "openvino", **settings)
        assert loaded.largest == expected, "a power of two where it is measured"


def test_on_a_cpu_a_session_for_all_cores_is_tried_beside_that_for_one(tmp_path: Path) -> None:
    one = servable(tmp_path)
    for name, threads in (("cpu", [1, 3]), ("openvino", [3])):
        opener = Opener(one.path)
        on_processor(one, opener, "cpu" if name == "cpu" else "openvino", clock=TickingClock())
        assert [plan.intra_threads for plan in opener.plans] == threads


def no_clock() -> float:
    raise AssertionError("something was measured")


def test_what_was_measured_of_a_network_counts_for_one_that_is_built_alike(tmp_path: Path) -> None:
    one = servable(tmp_path)
    plans: dict[object, RunPlan] = {}
    first, again = Opener(one.path), Opener(one.path)
    settings = {"largest": 0, "plans": plans}
    measured = on_processor(one, first, "cpu", clock=TickingClock(), **settings)
    newer = replace(one, version=2)
    known = on_processor(newer, again, "cpu", clock=no_clock, **settings)
    assert again.plans == first.plans[:1], "the other was tried and not kept"
    assert (len(known.runs), known.largest, known.cores, known.wide is None) == (
        len(measured.runs),
        measured.largest,
        measured.cores,
        measured.wide is None,
    )
    other = replace(one, card=one.card.model_copy(update={"precision": "int8"}))
    with pytest.raises(AssertionError, match="something was measured"):
        on_processor(other, Opener(one.path), "cpu", clock=no_clock, **settings)


def with_macs(one: Servable, macs: int, precision: str = "fp32") -> Servable:
    cost = one.card.cost.model_copy(update={"macs": macs})
    return replace(one, card=one.card.model_copy(update={"cost": cost, "precision": precision}))


def test_a_network_whose_card_says_that_it_is_heavy_is_opened_once_and_not_timed(
    tmp_path: Path,
) -> None:
    heavy = with_macs(servable(tmp_path), HEAVY_MACS)
    for largest, limit, expected in ((0, 4, 1), (3, 3, 3)):
        opener = Opener(heavy.path)
        settings = {"limit": limit, "largest": largest, "threads": 2, "plans": {}}
        loaded = on_processor(heavy, opener, "cpu", clock=no_clock, **settings)
        assert [plan.intra_threads for plan in opener.plans] == [2]
        assert not opener.plans[0].memory_pattern, "its second run would take as much again"
        assert (len(loaded.runs), loaded.largest, loaded.cores) == (1, expected, 2)


@pytest.mark.parametrize(
    ("macs", "precision", "threads"),
    [
        (HEAVY_MACS - 1, "fp32", 2),
        (HEAVY_MACS, "int8", 2),
        (HEAVY_MACS, "fp32", 1),
        (HEAVY_MACS, "fp32", FEW_THREADS + 1),
    ],
)
def test_whether_a_network_is_heavy_is_measured_where_its_card_does_not_show_it(
    tmp_path: Path, macs: int, precision: str, threads: int
) -> None:
    one = with_macs(servable(tmp_path), macs, precision)
    with pytest.raises(AssertionError, match="something was measured"):
        on_processor(one, Opener(one.path), "cpu", clock=no_clock, threads=threads)


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


class Priorities(Opener):
    """Remembers with how many threads each session was opened, and how low the priority was then."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.found: list[tuple[int, int]] = []

    def __call__(self, plan: SessionPlan) -> Session:
        self.found.append((plan.intra_threads, niceness()))
        return super().__call__(plan)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
@pytest.mark.parametrize("plan", [None, RunPlan(4, together=True, wide=False, spin=False)])
def test_beside_the_traffic_only_sessions_without_threads_open_at_a_low_priority(
    tmp_path: Path, plan: RunPlan | None
) -> None:
    one, own = servable(tmp_path), niceness()
    opener = Priorities(one.path)
    plans: dict[object, RunPlan] = {} if plan is None else {(build_of(one), None): plan}
    settings = {"clock": TickingClock(), "plans": plans, "calling": LowPriority()}
    loaded = on_processor(one, opener, "cpu", **settings)
    assert opener.found == [(1, min(19, own + NICENESS)), (3, own)]
    assert loaded.checked, "its first run was that of a blank image, aside"


def test_a_model_whose_runs_take_all_cores_is_opened_once_where_a_request_waits_for_it(
    tmp_path: Path,
) -> None:
    one = servable(tmp_path)
    opener = Opener(one.path)
    plans: dict[object, RunPlan] = {
        (build_of(one), None): RunPlan(4, together=True, wide=False, spin=False)
    }
    loaded = on_processor(one, opener, "cpu", plans=plans)
    assert [plan.intra_threads for plan in opener.plans] == [3]
    assert (loaded.cores, loaded.checked) == (3, False)


STARVED = """
import json, os, signal, sys, time
if os.nice(0) != {own}:
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGALRM)
print(json.dumps({{"reason": "{reason}"}}))
"""
"""A trial at a low priority does not end in time, one at the usual priority has this verdict."""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_beside_the_traffic_a_trial_has_a_low_priority_and_another_one_if_it_is_late(
    tmp_path: Path,
) -> None:
    one, own = servable(tmp_path / "models"), niceness()

    def loader(program: str, seconds: float) -> ModelLoader:
        trial = Trial(seconds, 2**30, tmp_path / "trials", helper=(sys.executable, "-c", program))
        return ModelLoader(CPU, OUTPUTS, Path(), largest=4, instances=1, trial=trial)

    says = "import json, os; print(json.dumps({'reason': f'niceness {os.nice(0)}'}))"
    with pytest.raises(ServableError, match=f"niceness {min(19, own + NICENESS)}$"):
        loader(says, 60).load_beside(one)
    with pytest.raises(ServableError, match=f"niceness {own}$"):
        loader(says, 60).load(one)
    with pytest.raises(ServableError, match=r"as it should not$"):
        loader(STARVED.format(own=own, reason="as it should not"), 0.2).load_beside(one)
    assert loader(STARVED.format(own=own, reason=""), 0.2).load_beside(one).checked


def test_what_does_not_end_at_a_low_priority_runs_again_at_that_of_all(tmp_path: Path) -> None:
    runs: list[int] = []
    stopped = threading.Event()

    class Starved:
        def stop(self, _: int) -> None:
            stopped.set()

    def run() -> int:
        runs.append(threading.get_ident())
        if threading.get_ident() != here:
            assert stopped.wait(10)
            raise RuntimeError("Exiting due to terminate flag being set to true.")
        return 5

    here = threading.get_ident()
    calling = patient_calling(tmp_path, [Starved()], LowPriority(), seconds=0.05)
    assert calling(run) == 5
    assert runs[1:] == [here] != runs[:1]
    with pytest.raises(ServableError, match=r"its first run failed: integer division"):
        patient_calling(tmp_path, [], LowPriority())(lambda: 1 // 0)


def test_beside_the_traffic_a_network_that_answers_nothing_finite_is_refused(
    tmp_path: Path,
) -> None:
    model = color_model()
    model.graph.initializer[0].CopyFrom(helper.make_tensor("scale", TensorProto.FLOAT, [], [0.0]))
    one = servable(tmp_path, model=model)
    with pytest.raises(ServableError, match="output logits is not finite, for a blank image"):
        ModelLoader(outputs=OUTPUTS, device=CPU, largest=4, instances=1, cache=Path()).load_beside(
            one
        )


def test_a_network_without_an_answer_for_a_blank_image_alone_is_loaded_beside_the_traffic(
    tmp_path: Path,
) -> None:
    one = servable(tmp_path, model=own_largest_model())
    loader = ModelLoader(outputs=OUTPUTS, device=CPU, largest=4, instances=1, cache=Path())
    assert loader.load_beside(one).checked


@pytest.mark.parametrize(
    ("chosen", "runs", "cores"),
    [
        (RunPlan(8, together=False, wide=False, spin=False), ["narrow"] * 3, 1),
        (RunPlan(8, together=False, wide=True, spin=False), ["narrow"] * 3, 1),
        (RunPlan(8, together=True, wide=True, spin=False), ["wide"], 3),
    ],
)
def test_a_plan_is_applied_as_it_was_measured_and_warms_what_it_opens(
    chosen: RunPlan, runs: list[str], cores: int
) -> None:
    opened: list[SessionPlan] = []
    warmed: list[tuple[int, ...]] = []

    def narrow(_: Tensor) -> Outputs:
        return {}

    def open_wide(plan: SessionPlan) -> Run:
        opened.append(plan)

        def run(batch: Tensor) -> Outputs:
            warmed.append(batch.shape)
            return {}

        return run

    blank = np.zeros((8, 8, 3), np.uint8)
    loaded = chosen.applied(narrow, open_wide, blank, instances=0, threads=3)
    assert ["narrow" if run is narrow else "wide" for run in loaded.runs] == runs
    assert (loaded.largest, loaded.cores) == (8, cores)
    assert (loaded.wide is not None) is (chosen.wide and not chosen.together)
    assert [plan.intra_threads for plan in opened] == [3] * chosen.wide
    assert warmed == [(1, 8, 8, 3)] * (chosen.wide and not chosen.together), "a check warms that"


def test_a_plan_remembers_what_a_measurement_came_to() -> None:
    def run(_: Tensor) -> Outputs:
        return {}

    blank = np.zeros(1, np.uint8)
    assert RunPlan.of(Loaded((run,) * 3, 8, blank)) == RunPlan(
        8, together=False, wide=False, spin=False
    )
    assert RunPlan.of(Loaded((run,), 4, blank, run)) == RunPlan(
        4, together=False, wide=True, spin=False
    )
    assert RunPlan.of(Loaded((run,), 2, blank, cores=3)).together


def refusing(*refused: str) -> Callable[[str], str]:
    def open_as(plan: str) -> str:
        if plan in refused:
            raise DeviceError(f"no {plan}")
        return plan

    return open_as


def test_the_best_plan_that_a_network_allows_is_used_and_the_log_says_why_no_better_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        assert first_allowed(["graphs", "plain"], refusing("graphs"), "resnet50") == "plain"
    assert "resnet50 is served in a plainer way, since no graphs" in caplog.text
    assert first_allowed(["graphs", "plain"], refusing(), "resnet50") == "graphs"


def test_where_no_plan_is_allowed_the_error_of_the_plainest_is_raised() -> None:
    with pytest.raises(DeviceError, match="no plain"):
        first_allowed(["graphs", "plain"], refusing("graphs", "plain"), "resnet50")


def test_a_bug_is_not_mistaken_for_a_network_that_does_not_allow_a_plan() -> None:
    def broken(_: str) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        first_allowed(["graphs", "plain"], broken, "resnet50")


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_without_the_gpu_nothing_is_served_from_the_cpu_instead(tmp_path: Path, name: str) -> None:
    with contextlib.suppress(DeviceError):
        find_device(name)
        pytest.skip(f"{name} works here")
    device = Device("cuda" if name == "cuda" else "tensorrt")
    with pytest.raises((DeviceError, ServableError), match="memory of cuda"):
        load(servable(tmp_path), device=device, largest=2, cache=tmp_path, graphs=True)


def test_a_network_that_fails_in_its_first_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    one = servable(tmp_path, failing())
    with pytest.raises(ServableError, match=r"first run failed: .* idx=9 must be within") as caught:
        load(one)
    assert "ONNXRuntimeError" not in str(caught.value)


def test_a_network_that_never_ends_is_stopped_and_refused(tmp_path: Path) -> None:
    one = servable(tmp_path, endless())
    with pytest.raises(ServableError, match=r"its first run did not end within 0\.1 s"):
        load(one, first_runs_seconds=0.1)


def test_a_run_that_is_stopped_ends_and_the_next_one_of_its_thread_runs(tmp_path: Path) -> None:
    loaded = load(servable(tmp_path, endless_when_bright()))
    (run,) = loaded.runs
    assert isinstance(run, Stoppable)
    thread = threading.get_ident()
    run.stop(thread)  # between two runs it does nothing
    run(loaded.blank[None])
    over = threading.Event()

    def stop() -> None:
        while not over.wait(0.05):
            run.stop(thread)

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(Exception, match="terminate flag"):
        run(loaded.blank[None] + 255)
    over.set()
    stopper.join()
    assert run(loaded.blank[None])["logits"].shape == (1, 3)


def test_a_batch_that_does_not_fit_into_the_memory_is_not_the_largest() -> None:
    def run(batch: Tensor) -> Outputs:
        if len(batch) > 4:
            raise MemoryError
        return {}

    blank = np.zeros(1, np.uint8)
    assert best_batch(run, blank, 32, alone=0.001, clock=lambda: 0.0) == 4


def test_a_batch_that_fails_otherwise_ends_the_loading() -> None:
    def run(batch: Tensor) -> Outputs:
        raise ZeroDivisionError(len(batch))

    with pytest.raises(ZeroDivisionError):
        best_batch(run, np.zeros(1, np.uint8), 32, alone=0.001)
