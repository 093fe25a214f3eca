"""Memory or space that runs out is said with its figures and the next step, in whatever words a library raises it."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from exporter.errors import ExportError, ShortageError, WriteError
from exporter.shortage import shortage, shortages_named

HUGE = 2**58
"""Bytes that no machine has."""


def numpy_array() -> None:
    np.zeros(HUGE, np.uint8)


def torch_tensor() -> None:
    torch.zeros(HUGE, dtype=torch.uint8)


def bytes_object() -> None:
    bytearray(HUGE)


def graph_of_onnx_runtime() -> None:
    size = np.array([2**19, 2**19, 2**18], np.int64)
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["zeros"])]
    entry = helper.make_tensor_value_info("size", TensorProto.INT64, [3])
    made = helper.make_tensor_value_info("zeros", TensorProto.FLOAT, [None] * 3)
    model = helper.make_model(
        helper.make_graph(nodes, "zeros", [entry], [made]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"size": size}
    )


@pytest.mark.parametrize(
    ("use", "figure"),
    [
        (numpy_array, "268435456.00 GiB more"),
        (torch_tensor, "268435456.00 GiB more"),
        (graph_of_onnx_runtime, "268435456.00 GiB more"),
        (bytes_object, "an allocation failed"),
    ],
)
def test_memory_that_runs_out_is_said_with_the_figure(use: Callable[[], None], figure: str) -> None:
    with pytest.raises(ShortageError, match=figure) as refused, shortages_named():
        use()
    assert "it holds" in str(refused.value)
    assert "--largest-batch" in str(refused.value)


def network_that_does_not_run() -> None:
    try:
        torch_tensor()
    except RuntimeError as error:
        raise ExportError("The network does not run. Is --height right?") from error


def test_a_shortage_behind_another_error_is_what_is_said() -> None:
    with pytest.raises(ShortageError, match="ran out of memory"), shortages_named():
        network_that_does_not_run()


def test_a_full_disk_is_named_with_its_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(ShortageError, match=r"no space on the disk.*TMPDIR"),
        shortages_named(),
        Path("/dev/full").open("wb") as file,
    ):
        file.write(bytes(2**20))
    full = OSError(28, "No space left on device", str(tmp_path / "x.bin"))
    assert f"files in {tmp_path} (" in str(shortage(full))


def test_other_errors_stay_what_they_are() -> None:
    for error in (ValueError("no"), WriteError("full"), ExportError("wrong")):
        with pytest.raises(type(error), match=str(error)), shortages_named():
            raise error
    assert shortage(ImportError("cannot allocate memory in static TLS block")) is None
    assert shortage(FileNotFoundError(2, "No such file or directory", "net.onnx")) is None


NETWORK = """
import torch
class Greedy(torch.nn.Module):
    def forward(self, images):
        large = torch.zeros(2**34) + images.mean()
        return large[:4].reshape(1, 4)
"""


@pytest.mark.slow
def test_an_export_at_a_limit_of_memory_ends_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(NETWORK)
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    words = "python:greedy:Greedy --weights none --task classify --name greedy --labels labels.txt"
    done = subprocess.run(
        [sys.executable, "-m", "exporter.cli", *words.split(), "--height", "8", "--width", "8"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35)),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "64.00 GiB more could not be allocated" in done.stdout
    assert "its limit (ulimit -v) is 32.00 GiB" in done.stdout
    assert not (tmp_path / "models").exists()
