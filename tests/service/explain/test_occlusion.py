from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.service.explain.running import Bench
from tests.service.explain.spots import spotted_image

pytestmark = pytest.mark.anyio


async def test_the_score_falls_where_the_thing_is_covered(tiny_models: Bench) -> None:
    result = await tiny_models.explain(
        "tiny-classify", spotted_image(), view="occlusion", samples=70, score=False
    )
    assert (result["method"], result["samples"], "seed" in result) == ("occlusion", 64, False)
    assert result["target"]["label"] == "red"
    assert 4 <= result["peak"]["x"] <= 28
    assert 36 <= result["peak"]["y"] <= 60


async def test_a_score_adds_its_curves(tiny_models: Bench) -> None:
    result = await tiny_models.explain(
        "tiny-classify", spotted_image(), view="occlusion", samples=16, steps=5
    )
    assert len(result["scores"]["insertion_curve"]) == 6
    assert result["scores"]["steps"] == 5


async def test_the_sheet_shows_the_scores(tiny_models: Bench) -> None:
    options = {"view": "occlusion", "samples": 16, "steps": 4}
    sheets = [
        await tiny_models.draw(
            "tiny-classify", spotted_image(), form="sheet", score=score, **options
        )
        for score in (True, False)
    ]
    with_scores, without = (np.asarray(Image.open(BytesIO(one.content))) for one in sheets)
    assert with_scores.shape == without.shape
    assert (with_scores != without).any()
