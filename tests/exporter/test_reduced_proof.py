"""A reduced precision keeps what a caller reads: probabilities within a tolerance of its own, which the card states."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from exporter.errors import ProofError
from exporter.heads.classify import ClassifyHead
from exporter.heads.embed import EmbedHead
from exporter.heads.segment import SegmentHead
from exporter.network import Head
from exporter.precision import tolerance_of
from exporter.recipe import Precision
from tests.exporter.exporting import QUICK, outputs_of
from tests.exporter.test_activation_end import FRAMES, adopted, network, op, truth

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the converters', about small numbers
]


def overflowing(classes: int) -> onnx.ModelProto:
    """Return a network whose inner values pass 65504, the largest in fp16; in fp32 they cancel."""
    end = (op("Mul", "scores", "up", output="large"), op("Mul", "large", "down"))
    factors: dict[str, Any] = {
        "up": np.array([2.0**20], np.float32),
        "down": np.array([2.0**-18], np.float32),
    }
    return network(*end, classes=classes, **factors)


@pytest.mark.parametrize(
    ("classes", "labels", "multi_label"),
    [(1, ["defect"], True), (1, ["defect"], False), (3, ["a", "b", "c"], True)],
)
def test_fp16_that_changes_a_probability_is_refused(
    tmp_path: Path,
    classes: int,
    labels: list[str],
    multi_label: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    with pytest.raises(ProofError, match=r"fp16 reaches \d.*differ by at most 0\.02 \(fp16\)"):
        adopted(
            tmp_path,
            overflowing(classes),
            labels=labels,
            multi_label=multi_label,
            precision="fp16",
            proof={**QUICK, "tolerance": 0.01},
        )
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_card_states_the_tolerance_and_the_largest_change(
    tmp_path: Path, precision: Precision
) -> None:
    model = network()
    done, _ = adopted(tmp_path, model, precision=precision)

    powers = np.exp(truth(model))
    right = powers / powers.sum(axis=1, keepdims=True)
    found = outputs_of(done.path, FRAMES)["probabilities"]
    proof = done.card.certificate
    assert proof.tolerance == {"fp16": 0.02, "int8": 0.3}[precision]
    assert 0 < proof.max_difference <= proof.tolerance
    assert np.abs(found - right).max() <= proof.tolerance
    assert done.card.precision == precision


@pytest.mark.parametrize(
    ("head", "tolerance"),
    [
        (ClassifyHead(1000), 0.3),
        (ClassifyHead(3, multi_label=True), 0.1),
        (ClassifyHead(1), 0.1),
        (SegmentHead(3, (2, 2)), 0.1),
        (EmbedHead(), 0.1),
    ],
)
def test_only_the_probabilities_of_a_softmax_may_change_more_in_int8(
    head: Head, tolerance: float
) -> None:
    assert tolerance_of("int8", head) == tolerance
    assert tolerance_of("fp16", head) == 0.02
