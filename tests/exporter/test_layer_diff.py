"""The first layer that differs."""

from collections.abc import Iterator

import numpy as np
import pytest

from exporter.graph import with_outputs
from exporter.layer_diff import first_disagreement
from exporter.network import Array
from exporter.sessions import unoptimized_session
from tests.exporter.graphs import SIDE, normal, small_classifier


def layers_of(*names: str) -> list[tuple[str, Array]]:
    """Return the values of these tensors of the small classifier."""
    session = unoptimized_session(with_outputs(small_classifier(), names))
    return list(zip(names, session.run(None, {"pixels": PIXELS}), strict=True))


PIXELS = normal(2, 3, SIDE, SIDE)


def test_the_layer_without_an_equal_is_named_with_the_last_one_that_has_one() -> None:
    first, second, third = layers_of("a", "c", "raw")
    changed = [first, (second[0], second[1] * 1.1), (third[0], third[1] * 1.1)]
    sentence = first_disagreement(small_classifier(), changed, PIXELS)
    assert sentence.startswith("They agree up to a; the first layer that disagrees is c. Compute")


def test_a_fused_layer_before_one_that_agrees_is_no_disagreement() -> None:
    first, last = layers_of("a", "raw")
    fused = ("fused", np.ones((2, 5), np.float32))
    sentence = first_disagreement(small_classifier(), [first, fused, last], PIXELS)
    assert sentence.startswith(
        "All layers agree up to the last, raw: the difference is in the head. "
    )


def test_memory_that_runs_out_in_the_search_does_not_hide_the_difference() -> None:
    def layers(error: Exception) -> Iterator[tuple[str, Array]]:
        yield layers_of("a")[0]
        raise error

    sentence = first_disagreement(small_classifier(), layers(MemoryError()), PIXELS)

    assert sentence.startswith("Memory ran out in the search for the first layer that differs. ")
    assert "more memory" in sentence
    assert "other operations" not in sentence
    with pytest.raises(KeyError):
        first_disagreement(small_classifier(), layers(KeyError("x")), PIXELS)
