"""Lower precisions: what they keep of the contract, and how far they agree."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from exporter.errors import ProofError
from exporter.heads.classify import ClassifyHead
from exporter.precision import LEAST_RUNS, MOST_RUNS, median_seconds, reduce_precision
from exporter.progress import SilentProgress
from exporter.recipe import Precision
from exporter.subject import fit_all
from service.servable_file import read_card
from tests.exporter.exporting import some_frames

ROOT = Path(__file__).parents[2]
LENET = ROOT / "models/lenet5/1/model.onnx"

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the converters', about small numbers
]


@pytest.fixture(scope="module")
def digits() -> NDArray[np.uint8]:
    bodies = [path.read_bytes() for path in sorted((ROOT / "tests/data/digits").glob("*.png"))]
    return fit_all(bodies, read_card(LENET).image_input)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_lower_precision_keeps_the_contract_and_the_answers(
    precision: Precision, digits: NDArray[np.uint8]
) -> None:
    model = onnx.load(LENET)

    reduced, table = reduce_precision(
        model, ClassifyHead(10), digits, [precision], SilentProgress()
    )

    graph = reduced.model.graph
    assert [(row.precision, row.written) for row in table] == [("fp32", False), (precision, True)]
    assert reduced.measured.agreement == 1
    assert reduced.measured.megabytes < model.ByteSize() / 1e6
    assert [value.name for value in graph.output] == list(ClassifyHead.outputs)
    assert {value.type.tensor_type.elem_type for value in graph.output} == {onnx.TensorProto.FLOAT}
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert {opset.domain for opset in reduced.model.opset_import} == {""}


def test_int8_is_not_judged_on_the_image_that_it_is_calibrated_with(
    digits: NDArray[np.uint8],
) -> None:
    model, head = onnx.load(LENET), ClassifyHead(10)
    requested: list[Precision] = ["fp16", "int8"]
    with pytest.raises(ProofError, match=r"there is one image.*--images"):
        reduce_precision(model, head, digits[:1], requested, SilentProgress())
    assert reduce_precision(model, head, digits[:1], ["fp16"], SilentProgress())


@pytest.mark.parametrize(("count", "warns"), [(15, True), (16, False)])
def test_few_images_to_judge_by_are_warned_of(count: int, warns: bool) -> None:  # noqa: FBT001 - a parameter
    progress = SilentProgress()
    frames = some_frames(count, 32)
    reduce_precision(onnx.load(LENET), ClassifyHead(10), frames, ["fp16"], progress)
    assert any("judged on few images here (7)" in one for one in progress.warnings) == warns


FRAGILE = {
    "classifier.1.weight": 1e-9,
    "classifier.1.bias": 0.0,
    "classifier.3.weight": 1e8,
    "classifier.3.bias": 0.0,
}


@pytest.fixture
def fragile() -> onnx.ModelProto:
    """LeNet-5 with values too small for fp16 in the layer before the last, which is neither a first nor a last one."""
    model = onnx.load(LENET)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.name in FRAGILE:
            far = values * np.float32(FRAGILE[tensor.name])
            tensor.CopyFrom(onnx.numpy_helper.from_array(far, tensor.name))
    return model


def test_layers_stay_in_float_where_fp16_does_not_hold_with_all(
    digits: NDArray[np.uint8],
) -> None:
    model = onnx.load(LENET)
    (bias,) = (one for one in model.graph.initializer if one.name == "classifier.3.bias")
    # From 4096 on fp16 counts in steps of four.
    far = np.float32(4096) + np.arange(10, dtype=np.float32) * 1.9
    bias.CopyFrom(onnx.numpy_helper.from_array(far, bias.name))

    reduced, table = reduce_precision(model, ClassifyHead(10), digits, ["fp16"], SilentProgress())

    assert reduced.measured.agreement == 1
    assert [row.in_float for row in table] == [0, 1]
    kinds = {tensor.name: tensor.data_type for tensor in reduced.model.graph.initializer}
    assert kinds["classifier.3.weight"] == onnx.TensorProto.FLOAT
    assert kinds["classifier.1.weight"] == onnx.TensorProto.FLOAT16


def test_a_precision_that_does_not_hold_says_what_it_reached(fragile: onnx.ModelProto) -> None:
    frames = some_frames(24, 32)
    with pytest.raises(
        ProofError, match=r"fp16 reaches \d+\.\d% \(top1\).* 12 images held back.*--variants"
    ):
        reduce_precision(fragile, ClassifyHead(10), frames, ["fp16"], SilentProgress())


def test_of_several_precisions_the_first_that_holds_is_taken_and_all_are_shown(
    fragile: onnx.ModelProto,
) -> None:
    requested: list[Precision] = ["fp16", "fp32"]
    frames = some_frames(24, 32)

    reduced, table = reduce_precision(
        fragile, ClassifyHead(10), frames, requested, SilentProgress()
    )

    assert reduced.measured.precision == "fp32"
    assert [(row.precision, row.written) for row in table] == [("fp32", True), ("fp16", False)]


@pytest.mark.parametrize(
    ("seconds", "runs"), [(1e-6, MOST_RUNS), (0.01, 100), (0.4, LEAST_RUNS), (60.0, LEAST_RUNS)]
)
def test_a_run_is_timed_for_a_second_but_neither_too_often_nor_too_rarely(
    seconds: float, runs: int
) -> None:
    began: list[float] = []
    now = 0.0

    def run() -> None:
        nonlocal now
        began.append(now)
        now += seconds

    assert median_seconds(run, lambda: now) == pytest.approx(seconds)
    assert len(began) == pytest.approx(runs, abs=1)
