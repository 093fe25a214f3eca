"""Explanations of real networks on real photographs, through the real service."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.card import Stage
from service.settings import Settings
from tests.images import photograph
from tests.live import Live, bundled, problem, serve
from tests.pngs import RGB, SIGNATURE, header
from tests.servables import color_card, write_servable

COMPOSITIONS = Path(__file__).parents[1] / "data" / "compositions"

THINGS = {
    "chelsea": ("tabby", (70, 60, 380, 290)),
    "coffee": ("espresso", (160, 20, 430, 260)),
    "rocket": ("missile", (288, 127, 357, 407)),
}
"""A class that is in the photograph, and a box drawn by hand around where (left, top, right, bottom)."""


def explain(client: httpx.Client, query: str, image: str = "chelsea", **headers: str) -> Any:
    url, content = f"/v1/explain?{query}", photograph(image)
    response = client.post(url, content=content, headers=headers, timeout=100)
    assert response.status_code == 200, response.text
    return response.json()


def sheet(client: httpx.Client, query: str, image: str = "chelsea") -> Image.Image:
    headers = {"Accept": "image/png"}
    response = client.post(f"/v1/explain?{query}", content=photograph(image), headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return Image.open(BytesIO(response.content))


def points_at(answer: Any, image: str, *, by_cell: bool = False) -> bool:
    """Say whether the peak lies in the thing's box; `by_cell`: whether the place around it touches the box."""
    left, top, right, bottom = THINGS[image][1]
    peak, heat = answer["peak"], answer["heat"]
    half_x = (heat["box"]["x_max"] - heat["box"]["x_min"]) / heat["width"] / 2 * by_cell
    half_y = (heat["box"]["y_max"] - heat["box"]["y_min"]) / heat["height"] / 2 * by_cell
    inside: bool = (
        left - half_x <= peak["x"] <= right + half_x
        and top - half_y <= peak["y"] <= bottom + half_y
    )
    return inside


@pytest.mark.parametrize("image", THINGS)
@pytest.mark.parametrize(
    "query",
    [
        "view=cam",
        "view=cam&method=eigencam",
        "view=occlusion",
        "view=rise&samples=200",
    ],
)
@pytest.mark.slow
def test_the_heat_lies_on_the_thing(client: httpx.Client, query: str, image: str) -> None:
    label = THINGS[image][0]
    answer = explain(
        client, f"{query}&class={label}&score=false", image, **{"X-Timeout-Ms": "100000"}
    )
    assert answer["target"]["label"] == label
    # The seven columns of the network's own maps are hottest on both sides of the thin rocket, not on it.
    by_cell = image == "rocket" and query.startswith("view=cam")
    assert points_at(answer, image, by_cell=by_cell), answer["peak"]


def test_an_exact_map_adds_up_to_the_logit(client: httpx.Client) -> None:
    answer = explain(client, "view=cam&class=282&score=false")
    logit = np.mean(answer["heat"]["values"]) + answer["target"]["bias"]
    assert logit == pytest.approx(answer["target"]["logit"], rel=1e-3)
    classified = client.post("/v1/classify", content=photograph("chelsea")).json()
    best = classified["results"][0]["predictions"][0]
    assert answer["target"]["class_id"] == best["class_id"]
    assert answer["target"]["probability"] == pytest.approx(best["probability"], abs=1e-4)


def test_scores_begin_and_end_where_they_should(client: httpx.Client) -> None:
    answer = explain(client, "view=cam&steps=6", "coffee")
    scores, probability = answer["scores"], answer["target"]["probability"]
    assert len(scores["insertion_curve"]) == len(scores["deletion_curve"]) == 7
    assert scores["insertion_curve"][-1] == pytest.approx(probability, abs=1e-2)
    assert scores["deletion_curve"][0] == pytest.approx(probability, abs=1e-2)
    assert scores["deletion_curve"][-1] < 0.1
    assert scores["insertion"] > scores["deletion"]


def test_the_same_seed_gives_the_same_answer(client: httpx.Client) -> None:
    query = "view=rise&samples=12&score=false&seed="
    one, same, other = (explain(client, query + seed)["heat"] for seed in ("4", "4", "5"))
    np.testing.assert_allclose(one["values"], same["values"], rtol=1e-2, atol=1e-4)
    assert not np.allclose(one["values"], other["values"], rtol=1e-2, atol=1e-4)


def test_maps_show_every_stage_of_the_card(client: httpx.Client) -> None:
    card = client.get("/v1/models/efficientnet-lite0").json()["models"][0]["card"]
    answer = explain(client, "view=maps&channels=3&thumbnails=true")
    assert [(stage["name"], stage["channels"]) for stage in answer["stages"]] == [
        (stage["name"], stage["channels"]) for stage in card["stages"]
    ]
    for stage in answer["stages"]:
        spreads = [one["deviation"] for one in stage["maps"]]
        assert len(spreads) == 3
        assert spreads == sorted(spreads, reverse=True)
        (_, encoded) = stage["maps"][0]["thumbnail"].split(",")
        small = Image.open(BytesIO(base64.b64decode(encoded)))
        assert small.size == (stage["width"], stage["height"])


def test_one_channel_comes_with_its_values(client: httpx.Client) -> None:
    answer = explain(client, "view=maps&stage=stage_4&channel=274")
    (stage,) = answer["stages"]
    (one,) = stage["maps"]
    values = np.array(one["values"])
    assert values.shape == (stage["height"], stage["width"]) == (14, 14)
    assert values.max() == pytest.approx(one["max"], rel=1e-3)
    assert values.mean() == pytest.approx(one["mean"], rel=1e-2)


@pytest.mark.parametrize("form", ["overlay", "heat"])
def test_a_plain_image_has_the_images_own_size(client: httpx.Client, form: str) -> None:
    for query in ("view=cam&score=false", "view=maps&stage=stage_2&channel=0"):
        assert sheet(client, f"{query}&format={form}").size == (451, 300)


@pytest.mark.parametrize(
    "model", ["lenet5", "efficientnet-lite0", "u2netp", "unet-digits", "ssdlite-mobilenet-v2"]
)
def test_every_model_shows_its_filters_and_maps(client: httpx.Client, model: str) -> None:
    filters = client.get(f"/v1/models/{model}/filters").json()
    layer = filters["layer"]
    assert layer["filters"] == len(filters["filters"])
    assert client.post(f"/v1/explain?view=filters&model={model}").json() == filters
    assert client.get(f"/v1/models/{model}/filters?format=sheet").content.startswith(b"\x89PNG")
    assert sheet(client, f"view=maps&model={model}&channels=2", "coffee").width == 1240


@pytest.mark.slow
def test_a_box_is_explained(client: httpx.Client) -> None:
    query = "view=cam&model=ssdlite-mobilenet-v2&class=cup&samples=250&score=false"
    answer = explain(client, query, "coffee", **{"X-Timeout-Ms": "100000"})
    assert (answer["method"], answer["target"]["label"]) == ("rise", "cup")
    assert points_at(answer, "coffee"), answer["peak"]


def test_an_area_is_explained(client: httpx.Client) -> None:
    composed = (COMPOSITIONS / "coffee-320x240.png").read_bytes()
    query = "view=occlusion&model=unet-digits&samples=100&score=false"
    answer = client.post(f"/v1/explain?{query}", content=composed).json()
    mask = np.asarray(Image.open(COMPOSITIONS / "coffee-320x240-mask.png"))
    rows, columns = np.nonzero(mask == answer["target"]["class_id"])
    peak = answer["peak"]
    assert columns.min() - 16 <= peak["x"] <= columns.max() + 16
    assert rows.min() - 16 <= peak["y"] <= rows.max() + 16


def test_a_channel_for_eyes_is_highest_at_the_eyes(client: httpx.Client) -> None:
    answer = explain(client, "view=patterns&stage=stage_4&channel=274&count=2&thumbnails=true")
    left_eye, right_eye = (190, 110), (315, 135)
    found = sorted(answer["peaks"], key=lambda peak: peak["box"]["x_min"])
    for peak, (x, y) in zip(found, (left_eye, right_eye), strict=True):
        box = peak["box"]
        assert box["x_min"] < x < box["x_max"]
        assert box["y_min"] < y < box["y_max"]
    assert answer["receptive_field"] == {"height": 339.0, "width": 339.0, "effective": 86.36}
    assert sheet(client, "view=patterns&model=u2netp", "coffee").width == 1240


def test_a_probe_follows_the_class_down(client: httpx.Client) -> None:
    answer = explain(client, "view=probe", "coffee")
    curves = {curve["perturbation"]: curve["points"] for curve in answer["curves"]}
    assert set(curves) == {"rotation", "scale", "blur", "jpeg", "shuffle"}
    probability = answer["target"]["probability"]
    for name, unchanged in {"rotation": 0, "scale": 1, "blur": 0, "shuffle": 1}.items():
        (same,) = (point for point in curves[name] if point["amount"] == unchanged)
        assert same["probability"] == pytest.approx(probability, abs=1e-3)
        assert same["top"] == "espresso"
    assert curves["blur"][-1]["probability"] < probability / 10
    assert curves["shuffle"][-1]["probability"] < probability / 10
    assert answer["silhouette"]["by"] == "u2netp"
    whole = answer["shape"] + answer["texture"]
    assert answer["shape_share"] == pytest.approx(answer["shape"] / whole, rel=1e-2)
    assert sheet(client, "view=probe&model=lenet5", "coffee").width == 1240


def test_a_story_ends_with_the_result_of_classify(client: httpx.Client) -> None:
    story = explain(client, "view=story")
    result = client.post("/v1/classify", content=photograph("chelsea")).json()["results"][0]
    labels = [one["label"] for one in result["predictions"]]
    assert [one["label"] for one in story["predictions"]] == labels
    assert story["heat"] == explain(client, "view=cam&score=false")["heat"]
    assert [stage["name"] for stage in story["stages"]] == [f"stage_{n}" for n in range(1, 6)]


@pytest.mark.parametrize(
    "model", ["lenet5", "efficientnet-lite0", "u2netp", "ssdlite-mobilenet-v2"]
)
def test_every_model_has_a_story(client: httpx.Client, model: str) -> None:
    assert sheet(client, f"view=story&model={model}", "coffee").width == 1240


@pytest.mark.parametrize(
    ("query", "valid"),
    [
        ("view=dreams", "'filters', 'convolution', 'maps'"),
        ("", "view"),
        ("view=maps&stage=stage_9", "stage_1, stage_2, stage_3, stage_4, stage_5"),
        ("view=maps&stage=stage_1&channel=96", "0 to 95"),
        ("view=maps&channel=3", "stage"),
        ("view=cam&class=tabbby", "tabby"),
        ("view=cam&class=1000", "0 to 999"),
        ("view=rise&samples=100000", "4000"),
        ("view=maps&samples=10", "view=maps does not use it"),
        ("view=cam&method=cam&model=lenet5", "eigencam"),
        ("view=filters&format=heat", "has no heat"),
        ("view=maps&format=overlay", "channel"),
        ("view=cam&model=ssdlite-mobilenet-v2&box=250", "counted from 0"),
        ("view=probe&model=u2netp", "name a classifier"),
        ("view=patterns&count=26", "count"),
        ("view=convolution&filter=32", "0 to 31"),
        ("view=convolution&row=112", "0 to 111"),
        ("view=convolution&column=112", "0 to 111"),
        ("view=convolution&format=sheet", "take json or npy"),
        ("view=logit&model=u2netp", "name a classifier"),
    ],
)
def test_an_invalid_option_is_answered_with_the_valid_ones(
    client: httpx.Client, query: str, valid: str
) -> None:
    response = client.post(f"/v1/explain?{query}", content=photograph("coffee"))
    assert valid in problem(response, 422, "invalid_parameter")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/explain?view=cam&format=overlay",
        "/v1/explain?view=cam&format=heat",
        "/v1/detect?format=overlay",
    ],
)
def test_an_image_that_is_too_large_to_be_drawn_is_refused_by_its_header(
    client: httpx.Client, path: str
) -> None:
    large = SIGNATURE + header((4801, 5000), 8, RGB)
    refused = client.post(path, content=large, headers={"Accept": "image/png"})
    assert "24 million" in problem(refused, 413, "too_many_pixels")


def test_an_image_that_can_not_be_read_is_a_problem(client: httpx.Client) -> None:
    response = client.post("/v1/explain?view=cam", content=b"no image")
    problem(response, 415, "unsupported_image")
    problem(client.post("/v1/explain?view=cam"), 400, "empty_body")


def test_a_model_without_stages_says_what_its_card_lacks(tiny: httpx.Client) -> None:
    response = tiny.post("/v1/explain?view=maps", content=photograph("coffee", "PNG"))
    assert "`stages`" in problem(response, 422, "invalid_parameter")
    response = tiny.get("/v1/models/colors/filters")
    assert "no convolution" in problem(response, 422, "invalid_parameter")


def test_an_explanation_that_takes_too_long_is_given_up(client: httpx.Client) -> None:
    response = client.post(
        "/v1/explain?view=rise&samples=4000",
        content=photograph("coffee"),
        headers={"X-Timeout-Ms": "400"},
    )
    detail = problem(response, 504, "deadline_exceeded")
    for words in ("within 400 ms", "X-Timeout-Ms", "samples=4000", "eigencam"):
        assert words in detail


def test_an_explanation_without_time_for_a_single_run_says_what_to_change(
    client: httpx.Client,
) -> None:
    details = []
    for allowed_ms in (20, 40, 80, 160) * 5:  # a busy machine may not decode the image in 20 ms
        response = client.post(
            "/v1/explain?view=cam",
            content=photograph("coffee"),
            headers={"X-Timeout-Ms": str(allowed_ms)},
        )
        if response.status_code == 504:
            details.append(problem(response, 504, "deadline_exceeded"))
            if "Allow more time with X-Timeout-Ms" in details[-1]:
                return
    raise AssertionError(details)


def test_a_client_that_leaves_frees_its_place(live: Live, client: httpx.Client) -> None:
    places = Settings().max_fan_outs
    for _ in range(places + 1):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{live.url}/v1/explain?view=rise&samples=4000",
                content=photograph("coffee"),
                timeout=0.3,
            )
    assert explain(client, "view=rise&samples=4&score=false")["samples"] == 4


def test_no_explainer_is_loaded_before_its_first_request(live: Live, tmp_path: Path) -> None:
    """The service of the other tests has loaded some; a new one has loaded none."""
    with serve(models=bundled(tmp_path, "efficientnet-lite0")) as fresh:
        assert not fresh.services.engine.explainers.loaded
        explain_url = f"{fresh.url}/v1/explain?view=cam&score=false"
        assert httpx.post(explain_url, content=photograph("coffee"), timeout=30).status_code == 200
        assert fresh.services.engine.explainers.loaded == ["efficientnet-lite0"]
    assert len(live.services.engine.explainers.loaded) <= Settings().explainers


def test_a_model_whose_card_names_stages_that_its_graph_lacks_is_explained_without_them(
    tmp_path: Path,
) -> None:
    gone = Stage(name="stage_1", tensor="no_such_map", channels=4, stride=2)
    write_servable(tmp_path, card=color_card().model_copy(update={"stages": (gone,)}))
    with serve(models=tmp_path) as live, httpx.Client(base_url=live.url) as client:
        for view in ("rise&samples=16", "occlusion&samples=16", "cam&samples=16"):
            assert explain(client, f"view={view}")["heat"]
        for query, option in (
            ("view=maps", "view"),
            ("view=maps&stage=stage_1", "stage"),
            ("view=story", "view"),
            ("view=patterns&stage=stage_1", "stage"),
            ("view=cam&method=eigencam", "view"),
        ):
            answer = client.post(f"/v1/explain?{query}", content=photograph("chelsea"))
            detail = problem(answer, 422, "invalid_parameter")
            assert detail.startswith(f"{option}: the card of colors names"), query
            assert "its graph does not have" in detail
