"""Ends of a network that keep the order of its scores: handled, or asked about, from an image's bytes to the answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from exporter.encoding import as_png
from exporter.errors import RecipeError
from tests.exporter.exporting import export_to
from tests.exporter.test_activation_end import ABC, SIDE, network, op
from tests.live import serve

FRAME = np.random.default_rng(11).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
Ends = Sequence[onnx.NodeProto]


def number(value: float) -> NDArray[np.float32]:
    return np.array([value], np.float32)


def row(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


HANDLED: dict[str, tuple[Ends, dict[str, Any], str]] = {
    "clipped-sigmoid": (
        [op("Sigmoid", output="p"), op("Clip", "p", "least", "most")],
        {"least": np.array(0.001, np.float32), "most": np.array(0.999, np.float32)},
        "as it is",
    ),
    "sigmoid-above-a-floor": (
        [op("Sigmoid", output="p"), op("Max", "p", "least")],
        {"least": number(0.001)},
        "as it is",
    ),
    "hard-sigmoid": ([op("HardSigmoid")], {}, "as it is"),
    "softmax-of-which-the-first-is-left-out": (
        [op("Softmax", output="p", axis=1), op("Slice", "p", "one", "four", "one")],
        {"classes": 4, "one": row([1]), "four": row([4])},
        "as it is",
    ),
    "softmax-with-a-temperature": (
        [op("Div", "scores", "cold", output="p"), op("Softmax", "p", axis=1)],
        {"cold": number(2.5)},
        "as it is",
    ),
    "sigmoid-with-a-temperature": (
        [op("Mul", "scores", "cold", output="p"), op("Sigmoid", "p")],
        {"cold": number(0.4)},
        "as it is",
    ),
    "logits-with-a-temperature": ([op("Div", "scores", "cold")], {"cold": number(2.5)}, "softmax"),
    "log-softmax-with-a-temperature": (
        [op("Div", "scores", "cold", output="p"), op("LogSoftmax", "p", axis=1)],
        {"cold": number(2.5)},
        "exp",
    ),
}


def by_runtime(model: onnx.ModelProto) -> NDArray[np.float32]:
    """Return what the file computes for the frame (K,)."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.ascontiguousarray(FRAME.transpose(2, 0, 1)[None] / 255, np.float32)
    found: NDArray[np.float32] = session.run(None, {"pixels": pixels})[0][0]
    return found


def test_a_server_answers_with_the_probabilities_of_each(tmp_path: Path) -> None:
    expected: dict[str, NDArray[np.float64]] = {}
    for name, (end, constants, then) in HANDLED.items():
        model = network(*end, **constants)
        folder = tmp_path / name
        folder.mkdir()
        onnx.save(model, folder / "net.onnx")
        export_to(folder, "onnx:net.onnx", labels=ABC, name=name)
        (folder / "net.onnx").unlink()
        values = by_runtime(model).astype(np.float64)
        power = np.exp(values)
        expected[name] = {"as it is": values, "softmax": power / power.sum(), "exp": power}[then]
    found = {}
    with serve(models=tmp_path) as live:
        for name in HANDLED:
            url = f"{live.url}/v1/classify?model={name}&top_k=3"
            answer = httpx.post(url, content=as_png(FRAME), timeout=60).json()
            found[name] = {
                one["class_id"]: one["probability"] for one in answer["results"][0]["predictions"]
            }
    for name, probabilities in expected.items():
        answered = [found[name][class_id] for class_id in range(3)]
        np.testing.assert_allclose(answered, probabilities, atol=2e-3, err_msg=name)


ASKED: dict[str, tuple[Ends, dict[str, Any]]] = {
    "one-minus-sigmoid": ([op("Sigmoid", output="p"), op("Sub", "unit", "p")], {"unit": number(1)}),
    "sigmoid-to-a-power": (
        [op("Sigmoid", output="p"), op("Pow", "p", "unit")],
        {"unit": number(2)},
    ),
    "one-minus-softmax": (
        [op("Softmax", output="p", axis=1), op("Sub", "unit", "p")],
        {"unit": number(1)},
    ),
    "clipped-logits": (
        [op("Clip", "scores", "least", "most")],
        {"least": np.array(0, np.float32), "most": np.array(1, np.float32)},
    ),
    "log-sigmoid": ([op("Sigmoid", output="p"), op("Log", "p")], {}),
    "square-root-of-sigmoid": ([op("Sigmoid", output="p"), op("Sqrt", "p")], {}),
    "softmax-times-a-hundred": (
        [op("Softmax", output="p", axis=1), op("Mul", "p", "unit")],
        {"unit": number(100)},
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_can_not_be_known_is_asked_about(tmp_path: Path, name: str) -> None:
    end, constants = ASKED[name]
    model = network(*end, **constants)
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(RecipeError, match="What the network's scores are can not be known"):
        export_to(tmp_path, "onnx:net.onnx", labels=ABC)


def test_one_minus_sigmoid_is_taken_as_it_is_where_it_is_stated(tmp_path: Path) -> None:
    end, constants = ASKED["one-minus-sigmoid"]
    model = network(*end, **constants)
    folder = tmp_path / "small"
    folder.mkdir()
    onnx.save(model, folder / "net.onnx")
    export_to(folder, "onnx:net.onnx", labels=ABC, classify={"activation": "none"})
    with serve(models=tmp_path) as live:
        answer = httpx.post(
            f"{live.url}/v1/classify?top_k=3", content=as_png(FRAME), timeout=60
        ).json()
    found = {one["class_id"]: one["probability"] for one in answer["results"][0]["predictions"]}
    np.testing.assert_allclose([found[k] for k in range(3)], by_runtime(model), atol=2e-3)
