"""A network that PyTorch can not capture is refused in one line: no graph and no traceback of PyTorch's."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from exporter.capture_errors import reason
from exporter.errors import GraphError
from exporter.recipe import Pixels
from exporter.tracing import trace
from service.card import ImageInput
from tests.exporter.exporting import export_to
from tests.exporter.nets import SIDE

pytestmark = pytest.mark.filterwarnings("ignore")

FRAME = ImageInput(height=SIDE, width=SIDE, resize="stretch")
INPUT = {"height": SIDE, "width": SIDE}


class WithoutOperator(nn.Module):
    """Uses a decomposition that ONNX does not have."""

    def forward(self, pixels: Tensor) -> Tensor:
        square = pixels[:, 0, :3, :3]
        triangle: Tensor = torch.linalg.qr(square)[0]
        return triangle.flatten(1)[:, :3]


class Branching(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        means = pixels.mean((2, 3))
        if means.sum() > 0:
            return means
        return -means


class OfOneSize(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.shape[2] != 48:
            raise ValueError("needs 48 pixels")
        return pixels.mean((2, 3))


def require_one_line(error: GraphError, printed: tuple[str, str]) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 600
    assert printed == ("", "")


@pytest.mark.parametrize("script", [False, True])
def test_an_operation_without_an_onnx_form_is_named(
    capfd: pytest.CaptureFixture[str], *, script: bool
) -> None:
    module = WithoutOperator().eval()
    example = torch.rand(2, 3, SIDE, SIDE)
    network = torch.jit.trace(module, example) if script else None  # type: ignore[no-untyped-call]
    capfd.readouterr()
    with pytest.raises(GraphError, match=r"operation aten\.linalg_qr\. Compute this") as caught:
        trace(module, FRAME, Pixels(), network)
    require_one_line(caught.value, capfd.readouterr())


def test_a_branch_on_the_image_is_named_by_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        GraphError, match=r"on the values of the image \(test_capture_errors\.py, line \d+\).*where"
    ) as caught:
        trace(Branching().eval(), FRAME, Pixels())
    require_one_line(caught.value, capfd.readouterr())


def test_a_file_that_can_not_be_captured_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    example = torch.rand(2, 3, SIDE, SIDE)
    script = torch.jit.trace(WithoutOperator().eval(), example)  # type: ignore[no-untyped-call]
    script.save(tmp_path / "net.pt")
    capfd.readouterr()
    with pytest.raises(GraphError, match=r"net\.pt: PyTorch can not capture.*linalg_qr") as caught:
        export_to(tmp_path, "torchscript:net.pt", labels=["a", "b", "c"], input=INPUT)
    require_one_line(caught.value, capfd.readouterr())


def test_a_script_that_does_not_run_says_its_own_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = torch.jit.script(OfOneSize().eval())
    script.save(tmp_path / "net.pt")  # type: ignore[no-untyped-call]
    capfd.readouterr()
    with pytest.raises(GraphError, match=r"net\.pt: .*ValueError: needs 48 pixels\. Are") as caught:
        export_to(tmp_path, "torchscript:net.pt", labels=["a", "b", "c"], input=INPUT)
    require_one_line(caught.value, capfd.readouterr())


def test_the_reason_is_that_of_the_innermost_cause() -> None:
    error = RuntimeError("outer")
    error.__cause__ = KeyError("x")
    assert reason(error) == "KeyError: 'x'"
    assert reason(RuntimeError("first\nsecond")) == "first"
    assert reason(TypeError()) == "TypeError"
