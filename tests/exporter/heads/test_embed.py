"""The backbone's vector as the output."""

import numpy as np

from exporter.heads.embed import EmbedHead
from tests.exporter.heads.grafting import FRAME


def test_a_map_is_averaged_and_a_vector_stays() -> None:
    maps = np.arange(8.0).reshape(1, 2, 2, 2)
    assert EmbedHead().expected([maps], FRAME)["features"].tolist() == [[1.5, 5.5]]
    vector = maps[:, :, 0, 0]
    assert EmbedHead().expected([vector], FRAME)["features"] is vector


def test_the_agreement_is_the_cosine_and_never_negative() -> None:
    one = {"features": np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])}
    other = {"features": np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])}
    assert EmbedHead().agreement(one, other, 1.0) == [1, 0, 0]
