import base64
import json
import re
from pathlib import Path

import httpx
import pytest

from tests.images import photograph, plain

DIGITS = sorted((Path(__file__).parents[1] / "data" / "digits").glob("*.png"))


def labels(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [
        prediction["label"]
        for result in response.json()["results"]
        for prediction in result["predictions"]
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chelsea", {"tiger cat", "Egyptian cat", "tabby"}),
        ("coffee", {"espresso", "cup"}),
        ("rocket", {"missile", "projectile"}),
    ],
)
def test_a_real_photograph_gets_its_class(
    client: httpx.Client, name: str, expected: set[str]
) -> None:
    response = client.post("/v1/classify", content=photograph(name))
    assert labels(response)[0] in expected


@pytest.mark.parametrize("path", DIGITS, ids=lambda path: path.stem)
def test_lenet5_reads_digits_it_has_not_seen(client: httpx.Client, path: Path) -> None:
    response = client.post("/v1/classify?model=lenet5&top_k=1", content=path.read_bytes())
    assert labels(response) == [path.stem[0]]


def test_there_are_digits_to_read() -> None:
    assert {path.stem[0] for path in DIGITS} == set("0123456789")


def test_the_answer_names_the_model_and_its_predictions_best_first(client: httpx.Client) -> None:
    answer = client.post("/v1/classify?top_k=3", content=photograph("chelsea")).json()
    assert (answer["model"], answer["version"]) == ("efficientnet-lite0", 1)
    predictions = answer["results"][0]["predictions"]
    probabilities = [prediction["probability"] for prediction in predictions]
    assert probabilities == sorted(probabilities, reverse=True)
    assert [set(prediction) for prediction in predictions] == [
        {"label", "class_id", "probability"}
    ] * 3


@pytest.mark.parametrize(
    "content_type",
    [
        "image/jpeg",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/json",
        "text/plain",
    ],
)
def test_of_a_raw_body_the_bytes_decide_whatever_its_type_claims(
    tiny: httpx.Client, content_type: str
) -> None:
    response = tiny.post(
        "/v1/classify?top_k=1", content=plain("lime"), headers={"content-type": content_type}
    )
    assert labels(response) == ["green"]


def test_files_of_a_form_are_answered_in_order(tiny: httpx.Client) -> None:
    files = [("file", plain(color)) for color in ("blue", "red", "lime")]
    assert labels(tiny.post("/v1/classify?top_k=1", files=files)) == ["blue", "red", "green"]


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_base64_in_json_is_answered_in_order(
    tiny: httpx.Client, prefix: str, content_type: str
) -> None:
    images = [prefix + base64.b64encode(plain(color)).decode() for color in ("blue", "red")]
    body = json.dumps({"images": images})
    response = tiny.post(
        "/v1/classify?top_k=1", content=body, headers={"content-type": content_type}
    )
    assert labels(response) == ["blue", "red"]


def test_one_bad_image_among_several_has_its_error_in_its_place(tiny: httpx.Client) -> None:
    files = [("file", plain("red")), ("file", b"no image"), ("file", plain("blue"))]
    response = tiny.post("/v1/classify?top_k=1", files=files)
    first, second, third = response.json()["results"]
    assert response.status_code == 200
    assert first["predictions"][0]["label"] == "red"
    assert second["error"]["code"] == "unsupported_image"
    assert third["predictions"][0]["label"] == "blue"


def test_every_answer_says_where_its_time_went(client: httpx.Client) -> None:
    response = client.post("/v1/classify", content=photograph("chelsea"))
    timing = response.headers["server-timing"]
    stages = dict(re.findall(r"(\w+);dur=([\d.]+)", timing))
    assert list(stages) == ["decode", "queue", "infer", "head", "total"]
    assert float(stages["infer"]) > 0
    assert timing.endswith(", batch;desc=1")


def test_a_request_id_is_kept_where_it_is_safe_and_made_where_not(tiny: httpx.Client) -> None:
    assert (
        tiny.get("/health/live", headers={"X-Request-ID": "a-b.7"}).headers["x-request-id"]
        == "a-b.7"
    )
    made = tiny.get("/health/live", headers={"X-Request-ID": "two words"}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_models_are_listed_with_their_cards(client: httpx.Client) -> None:
    models = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    lite = models["efficientnet-lite0"]
    assert lite["default"]
    assert lite["state"] == "ready"
    assert lite["card"]["certificate"]["agreement"] >= 0.99
    assert len(lite["card"]["labels"]) == 1000
    one = client.get("/v1/models/lenet5").json()["models"]
    assert one[0]["card"]["scores"]["held_out_top1"] >= 0.975
