"""The backbone's vector as the output."""

import numpy as np
import pytest

from exporter.heads.embed import EmbedHead
from tests.exporter.heads.grafting import FRAME


def test_a_map_is_averaged_and_a_vector_stays() -> None:
    maps = np.arange(8.0).reshape(1, 2, 2, 2)
    assert EmbedHead().expected([maps], FRAME)["features"].tolist() == [[1.5, 5.5]]
    vector = maps[:, :, 0, 0]
    for same in (vector, vector[:, None], vector[:, :, None]):
        assert EmbedHead().expected([same], FRAME)["features"].tolist() == vector.tolist()


def test_the_agreement_is_the_cosine_and_never_negative() -> None:
    one = {"features": np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])}
    other = {"features": np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])}
    assert EmbedHead().agreement(one, other, 1.0) == [1, 0, 0]


def test_vectors_of_any_length_have_a_direction() -> None:
    one = {"features": np.array([[3.0, 4.0], [1.0, 0.0]], np.float32) * np.float32(1e-12)}
    other = {"features": np.array([[3.0, 4.0], [0.0, 1.0]], np.float32) * np.float32(1e-12)}
    assert EmbedHead().agreement(one, other, 1.0) == pytest.approx([1, 0])
    assert EmbedHead().result_difference(one, one) == pytest.approx(0)
