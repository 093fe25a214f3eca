from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from service.errors import DeviceError, ServableError
from service.runtime.device import Device, SessionPlan, plan_session
from service.runtime.session import Session, find_device, open_session, try_device
from tests.servables import write_servable

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
def test_any_batch_gives_a_row_a_image(session: Session, count: int) -> None:
    outputs = session.run(reds(count))
    assert outputs["probabilities"].shape == (count, 3)
    assert (outputs["probabilities"].argmax(axis=1) == 0).all()


def test_the_dynamic_axis_is_told_as_none(session: Session) -> None:
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


def test_the_cpu_always_works() -> None:
    assert try_device("cpu").name == "cpu"


@pytest.mark.parametrize("name", ["openvino", "cuda", "tensorrt"])
def test_a_device_asked_for_by_name_works_or_says_why_and_what_to_do(name: str) -> None:
    try:
        assert find_device(name).name == name
    except DeviceError as error:
        assert name in str(error)  # which of the two holds depends on the machine
        assert any(mend in str(error) for mend in ("install", "Install", "FOVEAL_DEVICE"))


def test_auto_takes_one_that_works() -> None:
    assert find_device("auto").name in {"cuda", "cpu"}
