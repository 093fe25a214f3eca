"""A real detector whose boxes are a center and half of width and height is refused; with whole sizes it answers right.

From the bytes of a photograph to the boxes that a server answers with.
"""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporter.errors import RecipeError
from exporter.outcome import Exported
from tests.exporter import ssdlite
from tests.exporter.ssdlite import OUTPUTS, SSDLITE
from tests.exporter.test_models import photograph
from tests.live import serve

Box = list[float]


def centered(part: float) -> onnx.ModelProto:
    """Return SSDLite with boxes as their center and this part of width and height."""
    model = ssdlite.stranger()
    graph = model.graph
    corners = np.eye(4, dtype=np.float32)
    first, second = corners[:, :2], corners[:, 2:]
    turn = np.concatenate([(first + second) / 2, (second - first) * part], axis=1)
    graph.initializer.append(numpy_helper.from_array(turn, "turn"))
    graph.node.append(helper.make_node("MatMul", ["boxes", "turn"], ["centered"]))
    kept = {value.name: value for value in graph.output}
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("centered", TensorProto.FLOAT, None))
    graph.output.extend(kept[name] for name in OUTPUTS[1:])
    return model


def adopt(folder: Path, part: float, **detect: Any) -> Exported:
    return ssdlite.adopt(folder, centered(part), "centered", "centered", nms_free=False, **detect)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "centered"
    made.mkdir()
    return made


def test_half_sizes_are_refused_with_and_without_a_statement(folder: Path) -> None:
    with pytest.raises(RecipeError, match="half of width and height"):
        adopt(folder, 0.5)
    words = r"stated to be cxcywh.*half of width and height.*sizes doubled"
    with pytest.raises(RecipeError, match=words):
        adopt(folder, 0.5, box_format="cxcywh", box_unit="frame")
    assert not (folder / "1" / "model.onnx").exists()


def test_whole_sizes_are_believed_and_a_server_answers_with_the_boxes(folder: Path) -> None:
    adopt(folder, 1.0, box_format="cxcywh", box_unit="frame")
    (folder.parent / SSDLITE.name).symlink_to(SSDLITE)

    def found(url: str, model: str) -> list[Box]:
        wanted = f"{url}/v1/detect?model={model}&score_threshold=0.5"
        answer = httpx.post(wanted, content=photograph("chelsea.png"), timeout=60).json()
        boxes = [one["box"] for one in answer["results"][0]["detections"]]
        return [[box[side] for side in ("x_min", "y_min", "x_max", "y_max")] for box in boxes]

    with serve(models=folder.parent) as live:
        mine, right = (found(live.url, name) for name in ("centered", SSDLITE.name))
    assert right
    np.testing.assert_allclose(mine, right, atol=0.5)
