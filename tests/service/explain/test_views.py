"""Every result of every view is what its type says, for a network of every task."""

import re
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from service.explain.filters import FiltersResult
from service.explain.options import ExplainOptions
from service.explain.views import VIEWS, ExplainResult
from tests.images import encode, photograph
from tests.live import MODELS
from tests.service.explain.running import Bench, running

pytestmark = pytest.mark.anyio

FEW: dict[str, Any] = {"samples": 4, "steps": 4}
QUERIES: list[dict[str, Any]] = [
    {"view": "input", "thumbnails": True},
    {"view": "filters"},
    {"view": "filters", "thumbnails": True},
    {"view": "convolution"},
    {"view": "convolution", "filter": 1, "row": 2, "column": 0, "thumbnails": True, "arrays": True},
    {"view": "maps", "channels": 2, "thumbnails": True},
    {"view": "maps", "stage": "stage_1", "channel": 1},
    {"view": "patterns"},
    {"view": "patterns", "thumbnails": True},
    {"view": "cam", **FEW},
    {"view": "cam", "score": False, "method": "eigencam"},
    {"view": "cam", "score": False, "method": "rise", "samples": 4},
    {"view": "occlusion", **FEW},
    {"view": "rise", "score": False, "samples": 4},
    {"view": "story"},
]
OF_CLASSIFIERS: list[dict[str, Any]] = [{"view": "probe"}, {"view": "logit"}]
TINY = ["tiny-classify", "tiny-segment", "tiny-detect", "tiny-embed"]
REAL = ["efficientnet-lite0", "lenet5", "unet-digits", "ssdlite-mobilenet-v2"]
CLASSIFIERS = {"tiny-classify", "efficientnet-lite0", "lenet5"}
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "explain.md"
DIGITS = Path(__file__).parents[2] / "data" / "compositions" / "coffee-320x240.png"


@pytest.fixture(scope="module")
async def real_models() -> AsyncIterator[Bench]:
    async with running(MODELS, explainers=8) as bench:
        yield bench


def white() -> bytes:
    return encode(Image.new("RGB", (24, 20), "white"))


async def check(bench: Bench, model: str, image: bytes) -> None:
    """Hold the JSON of every view against its type, strictly: no other field, no other type."""
    queries = [*QUERIES, *OF_CLASSIFIERS] if model in CLASSIFIERS else QUERIES
    for query in queries:
        result = await bench.explain(model, image, **query)
        assert result["view"] == query["view"]
        typed: Any = VIEWS[query["view"]].result
        assert TypeAdapter(typed).validate_python(result, strict=True) == result
        written = from_json(to_json(result))
        assert TypeAdapter(ExplainResult).validate_python(written, strict=True) == written


@pytest.mark.parametrize("model", TINY)
async def test_every_result_of_a_tiny_network_has_its_type(tiny_models: Bench, model: str) -> None:
    await check(tiny_models, model, white())


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("model", REAL)
async def test_every_result_of_a_real_network_has_its_type(real_models: Bench, model: str) -> None:
    image = DIGITS.read_bytes() if model == "unet-digits" else photograph("coffee")
    await check(real_models, model, image)


@pytest.mark.parametrize("view", VIEWS)
async def test_every_form_is_a_png_or_an_array(tiny_models: Bench, view: str) -> None:
    few = {name: value for name, value in FEW.items() if name in VIEWS[view].options}
    one = {"stage": "stage_1", "channel": 0} if view == "maps" else {}
    for form in VIEWS[view].forms - {"json"}:
        drawn = await tiny_models.draw("tiny-classify", white(), form=form, view=view, **few, **one)
        if form == "npy":
            assert np.load(BytesIO(drawn.content)).shape == drawn.shape
            continue
        image = Image.open(BytesIO(drawn.content))
        assert (image.format, drawn.media_type) == ("PNG", "image/png")
        assert image.size == (24, 20) or form == "sheet"


def test_the_union_of_results_is_that_of_the_views() -> None:
    union, _ = get_args(ExplainResult)
    assert list(get_args(union)) == [view.result for view in VIEWS.values()]


def test_every_result_begins_with_its_views_name() -> None:
    for name, view in VIEWS.items():
        schema = TypeAdapter(view.result).json_schema()
        assert schema["properties"]["view"]["const"] == name
        assert "view" in schema["required"]
        assert schema["additionalProperties"] is False


def test_a_misspelt_or_additional_field_does_not_pass() -> None:
    adapter: TypeAdapter[FiltersResult] = TypeAdapter(FiltersResult)
    layer = {"filters": 0, "channels": 3, "height": 1, "width": 1, "stride": [1, 1]}
    right: Any = {"view": "filters", "layer": layer, "filters": []}
    assert adapter.validate_python(right, strict=True) == right
    with pytest.raises(ValueError, match="extra"):
        adapter.validate_python({**right, "extra": 1}, strict=True)


def test_views_use_options_that_exist_and_every_option_is_used() -> None:
    used = frozenset[str]().union(*(view.options for view in VIEWS.values()))
    assert used == ExplainOptions.model_fields.keys() - {"view", "format"}


def test_the_documentation_lists_every_view_with_its_options() -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\| (`.*) \|$", DOCUMENTATION.read_text(), re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", options)) for name, options in rows}
    used = {
        name: {ExplainOptions.model_fields[one].alias or one for one in view.options}
        for name, view in VIEWS.items()
    }
    assert {name: documented.get(name) for name in used} == used
