import numpy as np
import pytest

from service.heads.embed import embed
from tests.source_images import source_of


def test_a_vector_has_length_one_and_its_direction() -> None:
    vector = embed({"features": np.array([3, 4], np.float32)}, source_of(1, 1))
    assert vector == pytest.approx([0.6, 0.8])
    assert vector.dtype == np.float32


def test_no_features_are_no_nan() -> None:
    assert embed({"features": np.zeros(4, np.float32)}, source_of(1, 1)).tolist() == [0, 0, 0, 0]
