import pytest

from tests.images import plain
from tests.service.explain.running import Bench
from tests.service.explain.spots import spotted_image

pytestmark = pytest.mark.anyio


async def test_the_same_seed_gives_the_same_heat(tiny_models: Bench) -> None:
    async def heat(seed: int) -> object:
        result = await tiny_models.explain(
            "tiny-classify", spotted_image(), view="rise", samples=6, seed=seed, score=False
        )
        assert (result["samples"], result["seed"]) == (6, seed)
        return result["heat"]

    assert await heat(4) == await heat(4)
    assert await heat(4) != await heat(5)


async def test_the_number_of_masks_has_a_default(tiny_models: Bench) -> None:
    result = await tiny_models.explain("tiny-embed", plain("red"), view="rise", score=False)
    assert (result["method"], result["samples"], result["seed"]) == ("rise", 400, 0)


async def test_the_heat_is_drawn_at_the_images_size(tiny_models: Bench) -> None:
    for form in ("overlay", "heat"):
        image = await tiny_models.draw(
            "tiny-classify", plain("red", (30, 20)), form=form, view="rise", samples=4, score=False
        )
        assert image.media_type == "image/png"
