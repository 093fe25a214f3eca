"""Vectors over time."""

import numpy as np
import pytest

from service.heads.over_time.embed import EmbedCombiner
from tests.source_images import source_of


def test_similarity_falls_where_the_scene_changes() -> None:
    combiner = EmbedCombiner()
    vectors = [np.array(v, np.float32) for v in ([3, 0], [6, 0], [0, 2])]
    kept = [combiner.keep({"features": vector}, source_of(8, 8)) for vector in vectors]
    results = [combiner.add(second, one) for second, one in enumerate(kept)]
    assert [result["similarity_to_last"] for result in results] == [None, 1.0, 0.0]
    assert results[2]["embedding"] == [0.0, 1.0]
    assert combiner.summary()["embedding"] == pytest.approx([2 / 5**0.5, 1 / 5**0.5])
