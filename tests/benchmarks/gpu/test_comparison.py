"""A network on the device compared with the CPU, by the measure of its certificate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.gpu.comparison import agree, batches, comparison_of, tolerance_of
from service.servable_file import read_card
from tests.servables import color_card

MODELS = Path(__file__).parents[3] / "models"
CARD = color_card()
PROBABILITIES = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.34, 0.33, 0.33]], np.float32)


def outputs(probabilities: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {"logits": np.log(probabilities), "probabilities": probabilities}


def agreement_of(changed: NDArray[Any], precision: str = "fp16") -> Any:
    """Compare rows with `PROBABILITIES`; an input is the index of its row."""
    inputs = np.arange(3)
    return agree(
        CARD, lambda batch: outputs(changed[batch]), outputs(PROBABILITIES), inputs, precision
    )


def test_the_same_outputs_agree() -> None:
    found = agreement_of(PROBABILITIES)

    assert (found.metric, found.mean, found.difference, found.images) == ("top1", 1.0, 0.0, 3)
    assert found.holds


def test_another_top_class_counts_even_where_the_difference_is_small() -> None:
    changed = PROBABILITIES.copy()
    changed[2] = (0.33, 0.34, 0.33)

    found = agreement_of(changed)

    assert found.mean == pytest.approx(2 / 3)
    assert found.difference == pytest.approx(0.01, abs=1e-6)
    assert not found.holds


def test_a_difference_above_the_tolerance_does_not_hold() -> None:
    changed = PROBABILITIES.copy()
    changed[0] = (0.503, 0.299, 0.198)

    assert agreement_of(changed, "fp16").holds
    assert agreement_of(changed, "tf32").holds
    assert not agreement_of(changed, "fp32").holds


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_never_agrees(bad: float) -> None:
    changed = PROBABILITIES.copy()
    changed[1, 1] = bad

    assert not agreement_of(changed).holds


def test_the_tolerances_are_those_of_the_exports() -> None:
    # exporter/README.md: 1e-3 for fp32 and 0.02 for fp16.
    assert (tolerance_of("fp32"), tolerance_of("tf32"), tolerance_of("fp16")) == (1e-3, 0.02, 0.02)


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [
        (10, 7, [(0, 1), (1, 4), (4, 6), (6, 10)]),
        (5, 2, [(0, 1), (1, 3), (3, 5)]),
        (3, 1, [(0, 1), (1, 2), (2, 3)]),
        (0, 7, []),
    ],
)
def test_every_input_is_in_one_batch(
    count: int, most: int, expected: list[tuple[int, int]]
) -> None:
    assert list(batches(count, most)) == expected


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/*/model.onnx")), ids=lambda p: p.parts[-3])
def test_every_served_model_has_the_measure_of_its_certificate(path: Path) -> None:
    card = read_card(path)

    assert comparison_of(card).metric == card.certificate.metric
