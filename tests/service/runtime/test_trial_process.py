"""What the process of a trial does: it limits itself for good, runs three images, and says in words what failed."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.runtime.trial import HELPER
from service.runtime.trial_process import images, verdict
from tests.bad_networks import endless, endless_when_bright, failing
from tests.hostile_networks import huge_constant
from tests.live import MODELS
from tests.servables import SIDE, color_model, write_servable

OUTPUTS = ("logits", "probabilities")
GIB = 2**30
MIB = 2**20


def test_the_process_limits_itself_before_it_opens_the_file() -> None:
    """Its own limits, as the system reports them at the moment when the network is opened."""
    code = (
        "import json, resource, sys\n"
        "from service.runtime import trial_process as one\n"
        "one.verdict = lambda *_: json.dumps([resource.getrlimit(kind)[0] for kind in ("
        "resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)])\n"
        "one.main()"
    )
    order = {"path": "x", "outputs": [], "seconds": 7, "memory_bytes": GIB}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=True,
    )
    memory, *others = json.loads(json.loads(done.stdout)["reason"])
    assert others == [8, 0, 0]
    assert GIB < memory < 4 * GIB
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != memory  # not those of this process


@pytest.mark.parametrize("name", ["lenet5", "glance", "motion", "ssdlite-mobilenet-v2"])
def test_bundled_networks_pass(name: str) -> None:
    outputs = {"lenet5": OUTPUTS, "glance": ("features",), "motion": ("logits",)}
    path = MODELS / name / "1" / "model.onnx"
    assert verdict(path, list(outputs.get(name, ("boxes",))), "1 GiB") == ""


def test_the_images_are_black_white_and_noise() -> None:
    black, white, noise = images(np.zeros((8, 8, 3), np.uint8))
    assert (black.max(), white.min()) == (0, 255)
    assert noise.min() < 20
    assert noise.max() > 235
    assert noise.dtype == np.uint8


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_an_input_of_floats_is_noise_between_zero_and_one(kind: type[np.floating[Any]]) -> None:
    black, white, noise = images(np.zeros((3, 8, 8), kind))
    assert (black.max(), white.min(), white.max()) == (0, 1, 1)
    assert set(np.unique(noise).tolist()) == {0, 1}
    assert {one.dtype for one in (black, white, noise)} == {np.dtype(kind)}
    assert {one.shape for one in (black, white, noise)} == {(3, 8, 8)}


def test_noise_reaches_both_ends_and_is_the_same_each_time() -> None:
    first = list(images(np.zeros((64, 64, 3), np.uint8)))[2]
    assert (first.min(), first.max()) == (0, 255)
    assert np.array_equal(first, list(images(np.zeros((64, 64, 3), np.uint8)))[2])


def failing_on(level: float) -> onnx.ModelProto:
    """Return a network that fails on an image whose mean is this one, of 0–255."""
    model = color_model()
    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = ["colors" if name == "logits" else name for name in names]
    graph.initializer.extend(
        [
            helper.make_tensor("level", TensorProto.FLOAT, [], [level]),
            helper.make_tensor("data", TensorProto.FLOAT, [1], [0]),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["features"], ["mean"], keepdims=0),
            helper.make_node("Equal", ["mean", "level"], ["is_it"]),
            helper.make_node("Cast", ["is_it"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["data", "place"], ["nothing"]),
            helper.make_node("Add", ["colors", "nothing"], ["logits"]),
        ]
    )
    return model


@pytest.mark.parametrize("level", [0, 255])
def test_a_network_that_fails_on_one_of_the_images_is_found(tmp_path: Path, level: float) -> None:
    path = write_servable(tmp_path, model=failing_on(level))
    assert "data bounds" in verdict(path, list(OUTPUTS), "1 GiB")
    other = write_servable(tmp_path / "other", model=failing_on(100))
    assert verdict(other, list(OUTPUTS), "1 GiB") == ""


def tried(
    path: Path, *outputs: str, seconds: float = 20, memory_bytes: int = GIB
) -> tuple[int, str]:
    """Return how the process of a trial ended, and the reason that it wrote."""
    order = {
        "path": str(path), "outputs": list(outputs or OUTPUTS), "seconds": seconds, "memory_bytes": memory_bytes
    }  # fmt: skip
    done = subprocess.run(
        HELPER, input=json.dumps(order).encode(), capture_output=True, check=False
    )
    return done.returncode, json.loads(done.stdout)["reason"] if done.stdout else ""


def test_a_network_that_is_fine_has_an_empty_verdict(tmp_path: Path) -> None:
    assert tried(write_servable(tmp_path)) == (0, "")


def test_the_reason_of_our_own_errors_does_not_repeat_the_path(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    code, reason = tried(path, "boxes")
    assert (code, str(path) in reason) == (0, False)
    assert "lacks the outputs" in reason
    assert "its trial failed" not in reason


def test_the_reason_of_a_run_names_no_source_file(tmp_path: Path) -> None:
    _, reason = tried(write_servable(tmp_path, model=failing()))
    assert reason.startswith("its trial failed: ")
    assert "out of data bounds" in reason
    assert reason.endswith(".")
    assert "onnxruntime" not in reason.lower()


def test_too_little_memory_is_named_with_the_limit_in_mebibytes(tmp_path: Path) -> None:
    path = write_servable(tmp_path, model=huge_constant())
    assert tried(path, memory_bytes=1500 * MIB) == (
        0,
        "its trial needs more than 1,500 MiB of memory (FOVEAL_TRIAL_BYTES).",
    )


@pytest.mark.parametrize(
    "model", [endless(), endless_when_bright()], ids=["endless", "when bright"]
)
def test_a_network_that_does_not_end_is_ended_by_the_alarm(
    tmp_path: Path, model: onnx.ModelProto
) -> None:
    assert tried(write_servable(tmp_path, model=model), seconds=1.5) == (-signal.SIGALRM, "")


CONFINED = """
import json, resource, signal, sys
from service.runtime.trial_process import confine
for kind, limit in json.loads(sys.argv[1]).items():
    resource.setrlimit(getattr(resource, kind), (limit, limit))
before = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")][0]
confine(2.5, 500 << 20)
kinds = ("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_AS")
limits = {kind: resource.getrlimit(getattr(resource, kind)) for kind in kinds}
alarm = signal.getitimer(signal.ITIMER_REAL)
print(json.dumps([limits, before << 10, alarm, open("/proc/self/oom_score_adj").read().strip()]))
"""


def confined(**lower: int) -> Any:
    command = [sys.executable, "-c", CONFINED, json.dumps(lower)]
    done = subprocess.run(command, capture_output=True, check=True)
    return json.loads(done.stdout)


linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@linux
def test_the_limits_are_hard_ones_and_count_from_what_the_process_has() -> None:
    limits, before, (left, interval), score = confined()
    assert limits["RLIMIT_CPU"] == [4, 4], (
        "whole seconds, rounded up, and one for the alarm to come first"
    )
    assert limits["RLIMIT_FSIZE"] == limits["RLIMIT_CORE"] == [0, 0]
    soft, hard = limits["RLIMIT_AS"]
    assert soft == hard
    assert before + (500 << 20) <= soft < before + (520 << 20)
    assert 0 < left <= 2.5
    assert interval == 0
    assert score == "1000", "if memory runs out, this process is the one to end"


@linux
def test_a_lower_limit_that_is_set_already_stays_and_the_others_are_set() -> None:
    limits, *_ = confined(RLIMIT_CPU=3)
    assert limits["RLIMIT_CPU"] == [3, 3]
    assert limits["RLIMIT_CORE"] == [0, 0]
    assert limits["RLIMIT_AS"][0] > 0


def test_the_input_of_a_servable_has_the_side_of_its_card() -> None:
    assert [one.shape for one in images(np.zeros((SIDE, SIDE, 3), np.uint8))] == [
        (SIDE, SIDE, 3)
    ] * 3
