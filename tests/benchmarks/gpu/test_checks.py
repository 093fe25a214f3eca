"""The checks of a network, run in full on the CPU in place of a GPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.gpu.capture import Runner
from benchmarks.gpu.checks import Subject, check, misplaced, report_agreement
from benchmarks.gpu.comparison import reference_outputs
from benchmarks.gpu.journal import merge
from benchmarks.gpu.networks import inputs_of, largest_batch, network
from benchmarks.gpu.order import Order
from benchmarks.gpu.photographs import proof_images, request_body
from benchmarks.gpu.sessions import Opened, device_of, plan_of, reference_session, warm
from service.imaging.decode import Limits, open_image
from service.runtime.device import Device
from service.runtime.io_binding import CaptureLock


@pytest.mark.parametrize("model", ["lenet5", "motion"])
def test_every_check_of_a_network_runs_and_nothing_is_wrong(tmp_path: Path, model: str) -> None:
    found: dict[str, Any] = {}
    order = Order("", "cpu", 20, tmp_path, {"model": model})

    check(order, lambda one: merge(found, one))

    assert set(found["precisions"]) == {"fp32", "tf32", "fp16"}
    for precision in found["precisions"].values():
        assert precision["graphs"] is True
        assert precision["agreement"]["mean"] == 1.0
    assert "no memory leaks" in found["verdicts"]
    assert [what for what, one in found["verdicts"].items() if one["holds"] is False] == []


def test_heavy_operators_on_the_cpu_are_named_and_shape_arithmetic_is_not() -> None:
    found = {
        "CUDAExecutionProvider": {"Conv": 50},
        "CPUExecutionProvider": {"Conv": 2, "Shape": 3, "Gemm": 1},
    }

    assert misplaced(found) == ["2 Conv on the CPU", "1 Gemm on the CPU"]
    assert misplaced({"CUDAExecutionProvider": {"Conv": 50}}) == []


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", "0"), ("tf32", "1")])
def test_on_a_gpu_the_plan_is_the_services_own_with_the_precision(
    tmp_path: Path, precision: Any, tf32: str
) -> None:
    one = network("lenet5", tmp_path)

    plan = plan_of(one, Device("cuda"), precision, largest=32, graphs=True, cache=tmp_path)

    options = dict(plan.providers)["CUDAExecutionProvider"]
    assert (options["use_tf32"], options["enable_cuda_graph"]) == (tf32, "1")
    assert plan.graphs
    assert plan.batch_sizes == (1, 2, 4, 8, 16, 32)


def test_a_runner_counts_outputs_that_change_while_it_runs(tmp_path: Path) -> None:
    """A capture that disturbs it would change them; here the image changes instead."""
    one, order = network("lenet5", tmp_path), Order("", "cpu", 20, tmp_path)
    opened = warm(one, order, device_of(order), "tf32", largest=2, capture_lock=CaptureLock())
    batch = np.zeros((1, 32, 32, 3), np.uint8)
    runner = Runner(Opened(opened.sessions, opened.bound, graphs=True), batch)
    batch[:, :16] = 255  # from now on it gets another image
    runner.start()
    assert runner.began.wait(10)
    runner.stop()

    assert runner.wrong == runner.runs > 0
    assert not runner.error


def test_where_the_cpu_stands_in_batches_are_of_sizes_that_fit() -> None:
    sizes = {
        name: largest_batch(network(name, Path()).card, stand_in=True)
        for name in ("lenet5", "u2netp")
    }

    assert sizes == {"lenet5": 64, "u2netp": 1}
    assert largest_batch(network("u2netp", Path()).card, stand_in=False) == 64


def test_the_body_of_a_request_is_a_jpeg_of_the_stated_size() -> None:
    opened = open_image(request_body(), Limits())

    assert (opened.file.format, opened.file.size) == ("JPEG", (640, 480))


def test_there_are_as_many_different_images_as_a_gpu_is_checked_with() -> None:
    images = proof_images(64)

    assert len(images) == len(set(images)) == 64


@pytest.mark.parametrize(
    ("right_on_cpu", "holds"), [(True, False), (False, None)], ids=["GPU to blame", "fp16 to blame"]
)
def test_fp16_that_is_refused_on_the_cpu_too_is_no_fault_of_the_gpu(
    tmp_path: Path,
    *,
    right_on_cpu: bool,
    holds: bool | None,
) -> None:
    one, order = network("lenet5", tmp_path), Order("", "cpu", 20, tmp_path)
    inputs = inputs_of(one, 6)
    right = reference_outputs(reference_session(one, tmp_path), inputs)
    turned = {name: -rows for name, rows in right.items()}
    expected = right if right_on_cpu else turned

    def on_gpu(batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {name: np.full_like(rows[: len(batch)], 0.5) for name, rows in right.items()}

    found: dict[str, Any] = {}
    subject = Subject(one, inputs, expected, largest=4)
    report_agreement(subject, on_gpu, "fp16", order, lambda more: merge(found, more))

    said = found["verdicts"]["fp16: it agrees with the CPU"]
    assert said["holds"] is holds
    assert ("fp16 on the CPU is refused too" in said["because"]) is not right_on_cpu
