import contextlib
import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from service.errors import DeviceError, ServableError
from service.runtime.device import Device, SessionPlan, plan_session
from service.runtime.session import Session, connect, open_session, shrink_arena
from tests.servables import color_model, write_servable

CPU = Device("cpu")


def plan(**changes: object) -> SessionPlan:
    given = plan_session(CPU, largest=8, threads=1, cache=Path())
    fields = {name: getattr(given, name) for name in SessionPlan.__slots__}
    return SessionPlan(**{**fields, **changes})


def reds(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    batch = np.zeros((count, 8, 8, 3), np.uint8)
    batch[..., 0] = 255
    return batch


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return open_session(write_servable(tmp_path), CPU, plan())


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_any_batch_gives_a_row_for_each_image(session: Session, count: int) -> None:
    outputs = session(reds(count))
    assert outputs["probabilities"].shape == (count, 3)
    assert (outputs["probabilities"].argmax(axis=1) == 0).all()


def test_a_dynamic_axis_is_none(session: Session) -> None:
    assert session.inputs[0].shape == (None, 8, 8, 3)


def test_a_network_that_landed_elsewhere_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
    )
    path = tmp_path / "m.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    strict = plan(allowed_providers=frozenset({"CUDAExecutionProvider"}))
    with pytest.raises(DeviceError, match="1 MatMul on CPUExecutionProvider"):
        open_session(path, CPU, strict)


def test_a_file_that_is_no_network_is_not_servable(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ServableError, match="can not be loaded on cpu"):
        open_session(path, CPU, plan())


def test_the_outputs_are_described_by_name_type_and_shape(session: Session) -> None:
    found = [(output.name, output.dtype, output.shape) for output in session.outputs]
    assert found == [
        (name, "tensor(float)", (None, 3)) for name in ("logits", "probabilities", "features")
    ]
    assert session.plan == plan()


def test_a_graph_made_from_the_file_is_loaded_in_its_place(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    graph = color_model(side=4).SerializeToString()
    assert open_session(path, CPU, plan(), graph=graph).inputs[0].shape == (None, 4, 4, 3)


def test_shape_arithmetic_may_run_elsewhere(tmp_path: Path) -> None:
    elsewhere = plan(allowed_providers=frozenset({"CUDAExecutionProvider"}))
    assert open_session(write_servable(tmp_path), CPU, elsewhere)(reds(1))


def test_a_session_has_the_threads_and_entries_of_its_plan(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    options = connect(str(path), CPU, plan(intra_threads=3)).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.enable_mem_pattern, "as the plan for a CPU has it"
    split = connect(str(path), CPU, plan(memory_pattern=False)).get_session_options()
    assert not split.enable_mem_pattern
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory from /proc")
def test_what_a_run_needed_goes_back_to_the_system_when_the_arena_shrinks() -> None:
    graph = helper.make_graph(  # it expands one number to 100 MB
        [
            helper.make_node("Expand", ["x", "shape"], ["many"]),
            helper.make_node("ReduceMax", ["many"], ["y"], keepdims=1),
        ],
        "expanding",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [helper.make_tensor("shape", TensorProto.INT64, [1], [25_000_000])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = open_session(Path("expanding"), CPU, plan(), graph=model.SerializeToString())
    assert session(np.ones(1, np.float32))["y"] == 1
    del session
    kept = resident_bytes()
    shrink_arena()
    assert kept - resident_bytes() > 90e6


class Recorder:
    """A session that notes the graph of each run."""

    def __init__(self, session: Session) -> None:
        self.graphs: list[str] = []
        self._session = session.onnxruntime
        self.get_inputs, self.get_outputs = self._session.get_inputs, self._session.get_outputs

    def run(self, names: list[str], feed: dict[str, Any], options: ort.RunOptions) -> list[Any]:
        with contextlib.suppress(RuntimeError):  # an option that was not set
            self.graphs.append(options.get_run_config_entry("gpu_graph_id"))
        rows: list[Any] = self._session.run(names, feed, options)
        return rows


@pytest.mark.parametrize(("graphs", "noted"), [(True, ["-1", "-1"]), (False, [])])
def test_a_plain_run_of_a_session_that_captures_captures_nothing(
    session: Session, noted: list[str], *, graphs: bool
) -> None:
    """ONNX Runtime would take its first runs as graph 0, and answer the later ones with no outputs."""
    recorder = Recorder(session)
    captures = Session(recorder, plan(graphs=graphs))
    for _ in range(2):
        captures(reds(1))

    assert recorder.graphs == noted
