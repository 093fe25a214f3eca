"""How many images are queued together, by what an image takes."""

import pytest

from service.bulk.predictor import chunk_of


@pytest.mark.parametrize(
    ("pace", "instances", "chunk"),
    [(None, 2, 16), (2.0, 1, 16), (0.025, 1, 20), (0.025, 2, 40), (0.001, 4, 64), (0.0, 1, 16)],
)
def test_a_chunk_runs_for_about_half_a_second(
    pace: float | None, instances: int, chunk: int
) -> None:
    assert chunk_of(pace, instances) == chunk
