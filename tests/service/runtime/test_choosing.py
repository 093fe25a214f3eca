"""Which way serves: on real networks of a few nodes, whose runs take what a test says by a clock of its own."""

import os
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.card import Accuracy
from service.errors import ServableError
from service.heads.agreement import CLASSES
from service.logs import LOGGER
from service.runtime.candidates import Candidate
from service.runtime.chip import Chip
from service.runtime.choice import Choice, Way
from service.runtime.choosing import Chooser
from service.runtime.device import Device, SessionPlan, plan_session
from service.runtime.job import Outputs
from service.runtime.low_priority import NICENESS, LowPriority
from service.runtime.measuring import MeasuredRun, open_candidate
from service.runtime.repository import Servable, scan_repository
from service.runtime.session import Session, open_session
from tests.servables import color_card, color_model, write_servable
from tests.service.runtime.clocks import ManualClock
from tests.variants import color_frames, scaled_model, write_reference, write_variant

OUTPUTS = ("logits", "probabilities")
CPU, OPENVINO, CUDA = Device("cpu"), Device("openvino"), Device("cuda")
AMX = Chip("a processor", ("amx_bf16", "amx_int8"))


@dataclass
class Timed:
    """A session whose runs take `cost` seconds of a clock."""

    session: Session
    clock: ManualClock
    cost: float

    def __call__(self, batch: NDArray[Any]) -> Outputs:
        self.clock.advance(self.cost * len(batch))
        return self.session(batch)

    def stop(self, thread: int) -> None:
        self.session.stop(thread)


@dataclass
class Machine:
    """Opens every candidate on the CPU, whatever its device, and remembers which; `cost` is by precision and device."""

    cost: Mapping[str, float] = field(default_factory=dict)
    clock: ManualClock = field(default_factory=ManualClock)
    opened: list[str] = field(default_factory=list)
    plans: list[SessionPlan] = field(default_factory=list)
    broken: str = ""

    def open_as(self, candidate: Candidate, plan: SessionPlan) -> MeasuredRun:
        name = f"{candidate.precision} {candidate.device.name}"
        self.opened.append(name)
        self.plans.append(plan)
        if name == self.broken:
            raise ServableError("it does not load here")
        here = replace(plan, providers=(("CPUExecutionProvider", {}),), plugin_options={})
        allowed = replace(here, allowed_providers=frozenset({"CPUExecutionProvider"}))
        session = open_session(candidate.servable.path, CPU, allowed)
        return Timed(session, self.clock, self.cost.get(name, 0.01))


def chooser(machine: Machine, cache: Path, *devices: Device, **changes: Any) -> Chooser:
    settings: dict[str, Any] = {
        "devices": devices or (CPU,),
        "comparisons": {"classify": CLASSES},
        "cache": cache,
        "chip": AMX,
        "clock": machine.clock,
        "saturates": lambda: False,
        "open_as": machine.open_as,
        **changes,
    }
    return Chooser(**settings)


def choose(one: Servable, by: Chooser) -> tuple[Candidate, Choice]:
    candidate, choice = by.choose(one, OUTPUTS, lambda _: None)
    assert choice is not None
    return candidate, choice


def way(choice: Choice, precision: str, device: str = "cpu") -> Way:
    (found,) = [one for one in choice.ways if (one.precision, one.device) == (precision, device)]
    return found


@pytest.fixture
def servable(tmp_path: Path) -> Servable:
    write_servable(tmp_path / "models")
    ((one,), _) = scan_repository(tmp_path / "models")
    return one


def test_the_fastest_variant_that_agrees_serves_and_its_figures_are_those_of_the_frames(
    servable: Servable, tmp_path: Path
) -> None:
    write_variant(servable.path, "int8", scaled_model(1.01))
    machine = Machine({"fp32 cpu": 0.02, "int8 cpu": 0.008})

    candidate, choice = choose(servable, chooser(machine, tmp_path))

    assert candidate.servable.path.name == "int8.onnx"
    found = way(choice, "int8")
    assert (found.serves, found.refused) == (True, "")
    assert found.speedup == pytest.approx(2.5)
    assert found.milliseconds == pytest.approx(8)
    assert choice.frames == 12
    frames = color_frames().astype(np.float64).mean(axis=(1, 2))
    truth, mine = (np.exp(frames / 25.5 * by) for by in (1, 1.01))
    truth, mine = (one / one.sum(axis=1, keepdims=True) for one in (truth, mine))
    best = truth.argmax(axis=1)
    change = np.abs(truth - mine)[np.arange(12), best].mean()
    assert found.agreement["probability_change"] == pytest.approx(change, abs=1e-5)
    assert (found.agreement["top_class"], found.agreement["clear"]) == (1, 12)
    assert way(choice, "fp32").speedup == 1


def test_a_faster_variant_with_other_answers_is_refused_with_its_figure(
    servable: Servable, tmp_path: Path
) -> None:
    write_variant(servable.path, "int8", scaled_model(-1))
    machine = Machine({"fp32 cpu": 0.02, "int8 cpu": 0.001})

    candidate, choice = choose(servable, chooser(machine, tmp_path))

    assert candidate.servable is servable
    assert way(choice, "fp32").serves
    assert "top_class 0 where at least 1 is needed" in way(choice, "int8").refused
    assert way(choice, "int8").milliseconds is None


def test_too_few_frames_with_a_clear_class_prove_nothing(
    servable: Servable, tmp_path: Path
) -> None:
    write_variant(servable.path, "int8", color_model(), frames=color_frames(7))
    candidate, choice = choose(servable, chooser(Machine({"fp32 cpu": 9}), tmp_path))
    assert candidate.servable is servable
    assert "clear 7 where at least 8 is needed" in way(choice, "int8").refused


def test_a_variant_that_is_hardly_faster_does_not_serve(
    servable: Servable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_variant(servable.path, "int8", color_model())
    machine = Machine({"fp32 cpu": 0.0104, "int8 cpu": 0.01})
    with caplog.at_level("INFO", LOGGER):
        candidate, choice = choose(servable, chooser(machine, tmp_path))
    assert candidate.servable is servable
    assert way(choice, "int8").refused == ""
    assert "could be served in int8 on cpu as well: 1.04 times as fast" in caplog.text


def test_labeled_images_of_the_export_prove_a_variant_that_answers_here_as_it_did_there(
    tmp_path: Path,
) -> None:
    root = tmp_path / "labeled"
    accuracy = Accuracy(images=1000, scores={"top1": 0.75})
    path = write_servable(root, card=color_card().model_copy(update={"accuracy": accuracy}))
    ((one,), _) = scan_repository(root)
    reached = {"top_class": 1.0, "probability_change": 0.051}

    def choice_with(top1: float, change: float) -> Way:
        write_variant(
            path,
            "int8",
            scaled_model(1.5),
            accuracy=Accuracy(images=1000, scores={"top1": top1}),
            agreement=reached | {"probability_change": change},
        )
        machine = Machine({"fp32 cpu": 0.02, "int8 cpu": 0.001})
        return way(choose(one, chooser(machine, tmp_path / "cache"))[1], "int8")

    here = choice_with(0.7, 1.0).agreement["probability_change"]
    assert here > 0.03
    assert choice_with(0.746, here).serves
    assert not choice_with(0.744, here).serves  # it loses more than half a point
    assert not choice_with(
        0.746, here - 0.02
    ).serves  # it computes something else than at the export


def test_what_was_measured_is_kept_for_the_same_files_and_processor(
    servable: Servable, tmp_path: Path
) -> None:
    path = write_variant(servable.path, "int8", color_model())
    machine = Machine({"fp32 cpu": 0.02})
    first = choose(servable, chooser(machine, tmp_path))
    assert machine.opened

    machine.opened.clear()
    assert choose(servable, chooser(machine, tmp_path)) == first
    assert machine.opened == []

    choose(servable, chooser(machine, tmp_path, chip=Chip("another", ())))
    assert machine.opened
    machine.opened.clear()
    write_variant(servable.path, "int8", scaled_model(1.001))
    choose(servable, chooser(machine, tmp_path))
    assert machine.opened
    machine.opened.clear()
    path.unlink()
    _, choice = choose(servable, chooser(machine, tmp_path))
    assert [one.precision for one in choice.ways] == ["fp32"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[", b"x" * (2 << 20)])
def test_a_damaged_file_of_a_choice_is_measured_again(
    servable: Servable, tmp_path: Path, content: bytes
) -> None:
    write_variant(servable.path, "int8", color_model())
    machine = Machine({"fp32 cpu": 0.02})
    choose(servable, chooser(machine, tmp_path))
    for file in (tmp_path / "precision").glob("*.json"):
        file.write_bytes(content)
    machine.opened.clear()
    choose(servable, chooser(machine, tmp_path))
    assert machine.opened


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: write_reference(folder, color_frames(9)), "changed after the export"),
        (lambda folder: (folder / "reference.npy").unlink(), "reference.npy can not be read"),
        (lambda folder: (folder / "int8.onnx").write_bytes(b"\x0a\x03abc"), "carries no card"),
        (
            lambda folder: write_variant(
                folder / "model.onnx", "int8", color_model(), of_sha256="a" * 64
            ),
            "variant of another graph",
        ),
        (
            lambda folder: write_variant(
                folder / "model.onnx",
                "int8",
                color_model(),
                frames=np.zeros((9, 4, 4, 3), np.uint8),
            ),
            r"holds no frames of \(8, 8, 3\)",
        ),
        (
            lambda folder: write_variant(folder / "model.onnx", "fp16", color_model()).replace(
                folder / "int8.onnx"
            ),
            "not that of a variant in int8",
        ),
    ],
    ids=["frames", "no frames", "no card", "another graph", "other frames", "misnamed"],
)
def test_a_variant_that_is_not_what_was_proved_is_refused_and_the_model_is_served(
    servable: Servable, tmp_path: Path, spoil: Any, reason: str
) -> None:
    write_variant(servable.path, "int8", color_model())
    spoil(servable.path.parent)
    candidate, choice = choose(servable, chooser(Machine(), tmp_path))
    assert candidate.servable is servable
    (refused,) = [one for one in choice.ways if one.precision == "int8"]
    assert re.search(reason, refused.refused), refused.refused


def test_a_variant_that_the_service_does_not_admit_is_not_opened(
    servable: Servable, tmp_path: Path
) -> None:
    write_variant(servable.path, "int8", color_model())
    machine = Machine()

    def admit(one: Servable) -> None:
        raise ServableError(f"{one.path.name} asks for too much")

    _, choice = chooser(machine, tmp_path).choose(servable, OUTPUTS, admit)
    assert choice is not None
    assert "int8.onnx asks for too much" in choice.ways[1].refused
    assert not any("int8" in name for name in machine.opened)


def test_a_candidate_that_does_not_open_is_refused_and_the_others_are_measured(
    servable: Servable, tmp_path: Path
) -> None:
    write_variant(servable.path, "int8", color_model())
    machine = Machine({"fp32 cpu": 0.02, "int8 openvino": 0.001}, broken="int8 cpu")
    candidate, choice = choose(servable, chooser(machine, tmp_path, CPU, OPENVINO))
    assert way(choice, "int8", "cpu").refused == "it does not load here"
    assert (candidate.precision, candidate.device.name) == ("int8", "openvino")


def test_without_variants_the_provider_is_measured(servable: Servable, tmp_path: Path) -> None:
    machine = Machine({"fp32 cpu": 0.015, "fp32 openvino": 0.01})
    candidate, choice = choose(servable, chooser(machine, tmp_path, CPU, OPENVINO))
    assert (candidate.precision, candidate.device.name) == ("fp32", "openvino")
    assert way(choice, "fp32", "openvino").speedup == pytest.approx(1.5)

    slower = Machine({"fp32 cpu": 0.01, "fp32 openvino": 0.015})
    candidate, _ = choose(servable, chooser(slower, tmp_path / "other", CPU, OPENVINO))
    assert candidate.device.name == "cpu"


def test_bf16_is_tried_by_openvino_on_a_processor_that_has_it(
    servable: Servable, tmp_path: Path
) -> None:
    write_variant(servable.path, "bf16", color_model())
    machine = Machine({"fp32 cpu": 0.02, "fp32 openvino": 0.02, "bf16 openvino": 0.004})
    candidate, _ = choose(servable, chooser(machine, tmp_path, CPU, OPENVINO))
    assert (candidate.precision, candidate.arithmetic) == ("bf16", "bf16")
    plan = machine.plans[machine.opened.index("bf16 openvino")]
    assert '"INFERENCE_PRECISION_HINT": "bf16"' in plan.plugin_options["load_config"]

    without = Machine()
    choose(servable, chooser(without, tmp_path, CPU, OPENVINO, chip=Chip("old", ("avx2",))))
    assert "bf16 openvino" not in without.opened


def test_on_a_gpu_fp32_tf32_and_fp16_are_compared_with_the_cpu(
    servable: Servable, tmp_path: Path
) -> None:
    write_variant(servable.path, "fp16", color_model())
    machine = Machine({"fp32 cuda": 0.02, "tf32 cuda": 0.01, "fp16 cuda": 0.005})

    candidate, choice = choose(servable, chooser(machine, tmp_path, CUDA))

    assert (candidate.precision, candidate.servable.path.name) == ("fp16", "fp16.onnx")
    assert "fp32 cpu" in machine.opened  # the truth
    option = {
        name: plan.providers[0][1].get("use_tf32")
        for name, plan in zip(machine.opened, machine.plans, strict=True)
    }
    assert option == {"fp32 cpu": None, "fp32 cuda": "0", "tf32 cuda": "1", "fp16 cuda": "0"}
    assert way(choice, "tf32", "cuda").speedup == pytest.approx(2)


def test_tf32_is_not_tried_without_frames_to_prove_it_on(
    servable: Servable, tmp_path: Path
) -> None:
    machine = Machine({"fp32 cuda": 0.02, "tf32 cuda": 0.01})
    candidate, choice = choose(servable, chooser(machine, tmp_path, CUDA))
    assert candidate.arithmetic == "fp32"
    assert way(choice, "tf32", "cuda").refused.startswith("there are no reference frames")


@pytest.mark.parametrize("fastest", ["seven bits", "exact products"])
def test_where_products_of_bytes_overflow_weights_have_seven_bits_or_products_are_exact(
    servable: Servable, tmp_path: Path, fastest: str
) -> None:
    write_variant(servable.path, "int8", color_model())

    class Overflowing(Machine):
        def open_as(self, candidate: Candidate, plan: SessionPlan) -> MeasuredRun:
            run = super().open_as(candidate, plan)
            assert isinstance(run, Timed)
            names = {"seven bits": candidate.seven_bits, "exact products": candidate.exact_products}
            run.cost = 0.001 if names[fastest] else 0.02
            return run

    by = chooser(Overflowing(), tmp_path, saturates=lambda: True)
    candidate, choice = choose(servable, by)
    assert candidate.seven_bits is (fastest == "seven bits")
    assert candidate.exact_products is (fastest == "exact products")
    assert [one.seven_bits for one in choice.ways] == [False, False, True]
    bits = " with seven bits" if candidate.seven_bits else ""
    assert str(choice.served) == f"int8{bits} on cpu"


def test_where_they_do_not_overflow_the_file_is_loaded_as_it_is(
    servable: Servable, tmp_path: Path
) -> None:
    write_variant(servable.path, "int8", color_model())
    machine = Machine({"fp32 cpu": 0.02, "int8 cpu": 0.001})
    candidate, choice = choose(servable, chooser(machine, tmp_path))
    assert (candidate.seven_bits, candidate.exact_products) == (False, False)
    assert len(choice.ways) == 2


def test_a_candidate_is_opened_as_it_says(servable: Servable) -> None:
    """The entry is ONNX Runtime's own, from onnxruntime_session_options_config_keys.h."""
    plan = plan_session(CPU, largest=1, threads=1, cache=Path())
    exact = open_candidate(Candidate("int8", CPU, servable, exact_products=True), plan)
    assert exact.plan.entries["session.x64quantprecision"] == "1"
    plain = open_candidate(Candidate("int8", CPU, servable), plan)
    assert "session.x64quantprecision" not in plain.plan.entries


def test_a_network_of_another_task_is_served_as_it_is(servable: Servable, tmp_path: Path) -> None:
    machine = Machine()
    candidate, choice = chooser(machine, tmp_path, comparisons={}).choose(
        servable, OUTPUTS, lambda _: None
    )
    assert (candidate.servable, candidate.device, choice) == (servable, CPU, None)
    assert machine.opened == []


def test_processes_that_start_together_measure_once(servable: Servable, tmp_path: Path) -> None:
    write_variant(servable.path, "int8", color_model())
    machines = [Machine({"fp32 cpu": 0.02}) for _ in range(3)]
    found: list[Candidate] = []

    def start(machine: Machine) -> None:
        found.append(choose(servable, chooser(machine, tmp_path))[0])

    threads = [threading.Thread(target=start, args=(one,)) for one in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {str(one) for one in found} == {str(found[0])}
    assert len(found) == 3
    assert sum(bool(one.opened) for one in machines) == 1


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@dataclass
class Priorities(Machine):
    """Notes the niceness of each thread that opens or runs a candidate, by precision and device."""

    found: dict[str, set[int]] = field(default_factory=dict)

    def open_as(self, candidate: Candidate, plan: SessionPlan) -> MeasuredRun:
        found = self.found.setdefault(f"{candidate.precision} {candidate.device.name}", set())
        found.add(niceness())
        opened = super().open_as(candidate, plan)

        class Noted:
            def __call__(self, batch: NDArray[Any]) -> Outputs:
                found.add(niceness())
                return opened(batch)

            def stop(self, thread: int) -> None:
                opened.stop(thread)

        return Noted()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_beside_the_traffic_ways_on_a_cpu_are_compared_and_timed_at_a_low_priority(
    servable: Servable, tmp_path: Path
) -> None:
    write_variant(servable.path, "int8", scaled_model(1.01))
    own, machine = niceness(), Priorities({"fp32 cpu": 0.02, "int8 cpu": 0.008})
    waiting, mine = ManualClock(), machine.clock
    by = chooser(machine, tmp_path, clock=waiting, narrow_clock=mine)

    candidate, choice = by.choose(servable, OUTPUTS, lambda _: None, LowPriority())

    low = {min(19, own + NICENESS)}
    assert machine.found == {"fp32 cpu": low, "int8 cpu": low}
    assert candidate.precision == "int8"
    assert choice is not None
    assert way(choice, "int8").milliseconds == pytest.approx(8), "timed by its own thread's clock"


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_beside_the_traffic_a_device_with_threads_of_its_own_keeps_the_usual_priority(
    servable: Servable, tmp_path: Path
) -> None:
    own, machine = niceness(), Priorities({"fp32 cpu": 0.02, "fp32 openvino": 0.008})
    by = chooser(machine, tmp_path, CPU, OPENVINO, narrow_clock=lambda: 1 / 0)

    candidate, _ = by.choose(servable, OUTPUTS, lambda _: None, LowPriority())

    assert machine.found["fp32 openvino"] == {own}
    assert min(19, own + NICENESS) in machine.found["fp32 cpu"], "compared before the turns"
    assert candidate.device == OPENVINO


def test_beside_the_traffic_a_way_that_can_not_be_opened_is_refused_with_its_reason(
    servable: Servable, tmp_path: Path
) -> None:
    write_variant(servable.path, "int8", scaled_model(1.01))
    machine = Machine(broken="int8 cpu")
    by = chooser(machine, tmp_path, narrow_clock=machine.clock)
    candidate, choice = by.choose(servable, OUTPUTS, lambda _: None, LowPriority())
    assert candidate.servable is servable
    assert choice is not None
    assert way(choice, "int8").refused == "it does not load here"
