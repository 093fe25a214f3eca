"""Inputs beside the image: a value that is the same for every image becomes a constant, what is not given is an error.

The right values are those of the source file in ONNX Runtime, which gets all of its inputs.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from exporter.cli import main
from exporter.errors import ExportError
from exporter.recipe import read_recipe
from tests.exporter.exporting import export_to, outputs_of, some_frames

SIDE = 16
FRAMES = some_frames(3, SIDE)
ABC = ("a", "b", "c")
Array = NDArray[Any]


OTHERS: dict[str, tuple[list[int | str], int, onnx.NodeProto]] = {
    "temperature": (["n", 1], 1, helper.make_node("Mul", ["scores", "temperature"], ["out"])),
    "fixed": ([1, 1], 1, helper.make_node("Mul", ["scores", "fixed"], ["out"])),
    "scalar": ([], 1, helper.make_node("Mul", ["scores", "scalar"], ["out"])),
    "prior": (["n", 3], 1, helper.make_node("Add", ["scores", "prior"], ["out"])),
    "point_coords": ([1, 3], 1, helper.make_node("Add", ["scores", "point_coords"], ["out"])),
}


def network(other: str) -> onnx.ModelProto:
    """Return a classifier with an input beside the image; `mask` and `right` have four axes, as an image has."""
    rng = np.random.default_rng(5)
    held = {
        "w": (10 * rng.standard_normal((3, 3, 4, 4))).astype(np.float32),
        "b": np.array([-0.5, 0, 0.5], np.float32),
    }
    pixels = "pixels"
    before, after = [], []
    if other in {"mask", "right"}:
        channels = 1 if other == "mask" else 3
        dims: list[int | str] = ["n", channels, SIDE, SIDE]
        kind = 1
        pixels = "both"
        before = [
            helper.make_node("Mul" if other == "mask" else "Sub", ["pixels", other], [pixels])
        ]
        after = [helper.make_node("Identity", ["scores"], ["out"])]
    else:
        dims, kind, last = OTHERS[other]
        after = [last]
    nodes = [
        *before,
        helper.make_node("Conv", [pixels, "w", "b"], ["map"], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["scores"]),
        *after,
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [
            helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE]),
            helper.make_tensor_value_info(other, kind, dims),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def truth(model: onnx.ModelProto, other: str, value: Array) -> Array:
    """Return the file's probabilities for the frames, one image at a time, with this value beside each."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.ascontiguousarray(FRAMES.transpose(0, 3, 1, 2) / 255, np.float32)
    rows = [session.run(None, {"pixels": one[None], other: value})[0][0] for one in pixels]
    power = np.exp(np.array(rows, np.float64))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("other", "given", "value"),
    [
        ("temperature", 0.5, [[0.5]]),
        ("temperature", [0.5], [[0.5]]),
        ("temperature", [[0.5]], [[0.5]]),
        ("fixed", 2, [[2]]),
        ("scalar", 3.0, 3.0),
        ("prior", [1, -2.5, 0], [[1, -2.5, 0]]),
        ("point_coords", [[4, 5, 6]], [[4, 5, 6]]),
        ("mask", 0.25, np.full((1, 1, SIDE, SIDE), 0.25)),
        ("right", 0.5, np.full((1, 3, SIDE, SIDE), 0.5)),
    ],
)
def test_a_stated_value_is_a_constant_of_the_servable(
    tmp_path: Path, other: str, given: object, value: Any
) -> None:
    model = network(other)
    onnx.save(model, tmp_path / "net.onnx")

    done = export_to(tmp_path, "onnx:net.onnx", labels=ABC, arguments={other: given})

    found = outputs_of(done.path, FRAMES)["probabilities"]
    right = truth(model, other, np.asarray(value, np.float32))
    np.testing.assert_allclose(found, right, atol=1e-5)
    assert done.card.max_batch is None
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["image"]


@pytest.mark.parametrize(
    ("other", "arguments", "words"),
    [
        ("temperature", {}, r"temperature .*--arg temperature=1\.0"),
        ("right", {}, r"A request gives a network one image.*--arg right=1\.0"),
        ("mask", {}, r"--arg mask=1\.0"),
        ("point_coords", {}, r"prompt.*--arg point_coords=1\.0.*--task embed"),
        ("temperature", {"warmth": 1}, "no input of this name; it has pixels, temperature"),
        ("temperature", {"temperature": [1, 2]}, r"shape \(1, 2\).*for one image"),
        ("temperature", {"temperature": [[1], [2]]}, r"shape \(2, 1\).*for one image"),
        ("temperature", {"temperature": [[1], [2, 3]]}, "different lengths"),
        ("temperature", {"temperature": "warm"}, "write a number"),
    ],
)
def test_what_is_not_known_of_an_input_needs_an_option(
    tmp_path: Path, other: str, arguments: dict[str, object], words: str
) -> None:
    onnx.save(network(other), tmp_path / "net.onnx")

    with pytest.raises(ExportError, match=words):
        export_to(tmp_path, "onnx:net.onnx", labels=ABC, arguments=arguments)


def test_a_value_is_written_into_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(network("prior"), "net.onnx")
    (tmp_path / "abc.txt").write_text("a\nb\nc\n", encoding="utf-8")

    given = ["--labels", "abc.txt", "--arg", "prior=[1, -2.5, 0.25]"]
    with pytest.raises(SystemExit, match="0"):
        main(["onnx:net.onnx", *given, "--image-limit", "3", "--largest-batch", "2"])

    written = read_recipe(tmp_path / "models/net/1/recipe.toml")
    assert written.arguments == {"prior": [1, -2.5, 0.25]}
    found = outputs_of(tmp_path / "models/net/1/model.onnx", FRAMES)["probabilities"]
    right = truth(network("prior"), "prior", np.array([[1, -2.5, 0.25]], np.float32))
    np.testing.assert_allclose(found, right, atol=1e-5)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 4, 4)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        scores: Tensor = self.conv(left - right).mean((2, 3))
        return scores


class Wrapped(nn.Module):
    """What the message asks for."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.inner = Two()

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.inner(pixels, torch.full_like(pixels, 0.5))
        return scores


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PyTorch's own, about TorchScript
@pytest.mark.parametrize("kind", ["python", "torchscript"])
def test_a_module_that_reads_two_images_says_how_to_wrap_it(tmp_path: Path, kind: str) -> None:
    source = f"python:{__name__}:Two"
    if kind == "torchscript":
        torch.jit.script(Two().eval()).save(tmp_path / "two.ts")  # type: ignore[no-untyped-call]
        source = "torchscript:two.ts"
    fields: dict[str, Any] = {"labels": ABC, "input": {"height": SIDE, "width": SIDE}}
    fields |= {"weights": "none"} if kind == "python" else {}

    with pytest.raises(ExportError, match=r"needs more than the image.*right.*Wrap it"):
        export_to(tmp_path, source, **fields)

    done = export_to(tmp_path, f"python:{__name__}:Wrapped", **{**fields, "weights": "none"})
    assert done.card.certificate.max_difference < 1e-3


def test_a_program_that_reads_two_images_says_what_to_export(tmp_path: Path) -> None:
    pixels = torch.rand(2, 3, SIDE, SIDE)
    free = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(Two().eval(), (pixels, pixels), dynamic_shapes=(free, free))
    torch.export.save(program, tmp_path / "two.pt2")

    with pytest.raises(ExportError, match=r"must have one input.*takes the images alone"):
        export_to(tmp_path, "program:two.pt2", labels=ABC)
