"""A real detector whose boxes are an upper left corner and a size, on two photographs: no other form is believed.

From the bytes of a photograph to the boxes that a server answers with.
"""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporter.errors import RecipeError
from exporter.outcome import Exported
from tests.exporter import ssdlite
from tests.exporter.ssdlite import SSDLITE
from tests.exporter.test_half_sizes import Box
from tests.exporter.test_models import photograph
from tests.live import serve


def adopt(folder: Path, **detect: Any) -> Exported:
    model = ssdlite.stranger()
    graph = model.graph
    corners = np.eye(4, dtype=np.float32)
    first, second = corners[:, :2], corners[:, 2:]
    turn = np.concatenate([first, second - first], axis=1)
    graph.initializer.append(numpy_helper.from_array(turn, "turn"))
    graph.node.append(helper.make_node("MatMul", ["boxes", "turn"], ["sized"]))
    graph.output.append(helper.make_tensor_value_info("sized", TensorProto.FLOAT, None))
    return ssdlite.adopt(folder, model, "sized", "sized", limit=2, nms_free=False, **detect)


def test_another_form_is_refused_stated_or_taken(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"stated to be cxcywh.*Give --box-format xywh"):
        adopt(tmp_path, box_format="cxcywh", box_unit="frame")
    with pytest.raises(RecipeError, match=r"taken to be xyxy.*Give --box-format xywh"):
        adopt(tmp_path)
    assert not (tmp_path / "1" / "model.onnx").exists()


def test_the_right_form_is_served_as_the_corners_are(tmp_path: Path) -> None:
    (tmp_path / "sized").mkdir()
    adopt(tmp_path / "sized", box_format="xywh", box_unit="frame")
    (tmp_path / SSDLITE.name).symlink_to(SSDLITE)

    def found(url: str, model: str) -> list[Box]:
        wanted = f"{url}/v1/detect?model={model}&score_threshold=0.5"
        answer = httpx.post(wanted, content=photograph("chelsea.png"), timeout=60).json()
        boxes = [one["box"] for one in answer["results"][0]["detections"]]
        return [[box[side] for side in ("x_min", "y_min", "x_max", "y_max")] for box in boxes]

    with serve(models=tmp_path) as live:
        mine, right = (found(live.url, name) for name in ("sized", SSDLITE.name))
    assert right
    np.testing.assert_allclose(mine, right, atol=0.5)
