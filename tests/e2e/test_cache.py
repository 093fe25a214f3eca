"""The response cache over HTTP: bytes in to answer out."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.images import photograph, plain
from tests.keys import bearer, write_keys
from tests.live import Live, serve
from tests.servables import color_card, swapped_colors, write_servable

LABELS = ("a", "b", "c")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("cached")
    models = root / "models"
    write_servable(models)
    write_servable(models, version=2)
    letters = color_card().model_copy(update={"labels": LABELS})
    write_servable(models, "letters", card=letters)
    write_servable(models, "paints")
    write_servable(models, "paints", version=2, model=swapped_colors())
    (models / "foveal.toml").write_text("[models.paints]\naliases = {stable = 1, canary = 2}\n")
    keys = write_keys(root / "keys.toml")
    with serve(models=models, response_cache_bytes=1 << 20, keys=keys) as service:
        yield service


@pytest.fixture(scope="module")
def ada(live: Live) -> Iterator[httpx.Client]:
    with client_of(live, "ada") as http:
        yield http


def client_of(live: Live, name: str) -> httpx.Client:
    return httpx.Client(base_url=live.url, headers=bearer(name), timeout=15)


def post(client: httpx.Client, path: str, image: bytes) -> tuple[str, bytes]:
    response = client.post(path, content=image)
    assert response.status_code == 200, response.text
    return response.headers["cache-status"], response.content


def test_the_second_answer_has_the_same_bytes_and_no_run(live: Live, ada: httpx.Client) -> None:
    image, path = photograph("chelsea"), "/v1/classify?model=letters"
    runs = {"model": "letters", "outcome": "answered"}
    assert post(ada, path, image)[0] == "foveal; fwd=miss"
    before = live.sample("foveal_images_total", **runs)
    first, second = post(ada, path, image), post(ada, path, image)
    assert first[0] == second[0] == "foveal; hit"
    assert first[1] == second[1]
    assert live.sample("foveal_images_total", **runs) == before
    assert live.sample("foveal_cache_images_total", model="letters", outcome="hit") == 2
    assert live.sample("foveal_cache_bytes") > 0


@pytest.mark.parametrize(
    ("other", "status"),
    [
        ("model=colors&version=1&top_k=1", "foveal; fwd=miss"),
        ("model=letters", "foveal; fwd=miss"),  # the same graph with other labels
        ("model=colors&version=2", "foveal; hit"),  # the same graph and the same card
        ("model=colors", "foveal; hit"),
    ],
)
def test_the_graph_its_card_and_the_options_decide(
    ada: httpx.Client, other: str, status: str
) -> None:
    image = plain("#102030", (9, 9 + len(other)))
    post(ada, "/v1/classify?model=colors&version=1", image)
    assert post(ada, f"/v1/classify?{other}", image)[0] == status
    # Another byte is another image, also where no reader looks at it.
    assert post(ada, "/v1/classify?model=colors", image + b"\0")[0] == "foveal; fwd=miss"


def test_each_version_has_its_own_answers_and_an_alias_those_of_the_version_it_leads_to(
    ada: httpx.Client,
) -> None:
    image, path = plain("red", (6, 6)), "/v1/classify?model=paints"
    first, second = (post(ada, f"{path}:{version}", image) for version in (1, 2))
    assert first[0] == second[0] == "foveal; fwd=miss"
    assert first[1] != second[1], "version 2 takes red for blue"
    for other, answer in (("@stable", first), ("@canary", second), ("", second)):
        assert post(ada, path + other, image) == ("foveal; hit", answer[1])


def test_no_key_gets_what_another_one_caused(live: Live, ada: httpx.Client) -> None:
    image, path = plain("#778899"), "/v1/classify?model=colors"
    with client_of(live, "bob") as bob, client_of(live, "eve") as eve:
        found = [post(one, path, image)[0] for one in (ada, bob, ada, bob)]
        assert found == ["foveal; fwd=miss"] * 2 + ["foveal; hit"] * 2
        assert eve.post(path, content=image).status_code == 403


def test_an_error_is_not_kept_and_several_images_say_how_many_were(ada: httpx.Client) -> None:
    path, images = (
        "/v1/classify?model=colors",
        [plain("red", (5, 5)), b"no image", plain("lime", (5, 5))],
    )
    body = {"images": [base64.b64encode(one).decode() for one in images]}
    for expected in ("foveal; fwd=miss", 'foveal; fwd=partial; detail="2 of 3 images"'):
        response = ada.post(path, json=body)
        assert response.headers["cache-status"] == expected
        labels = [
            one["predictions"][0]["label"] if "predictions" in one else one["error"]["code"]
            for one in response.json()["results"]
        ]
        assert labels == ["red", "unsupported_image", "green"]


def test_encoded_images_of_v2_are_kept_too(ada: httpx.Client) -> None:
    encoded = plain("blue", (7, 7))
    head = b'{"inputs":[{"name":"image","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":%d}}]}'
    head %= len(encoded) + 4
    body = head + len(encoded).to_bytes(4, "little") + encoded
    headers = {"Inference-Header-Content-Length": str(len(head))}
    found = [ada.post("/v2/models/colors/infer", content=body, headers=headers) for _ in range(2)]
    assert [one.status_code for one in found] == [200, 200], found[0].text
    assert [one.headers["cache-status"] for one in found] == ["foveal; fwd=miss", "foveal; hit"]
    assert found[0].content == found[1].content
    plainly = post(ada, "/v1/classify?model=colors", encoded)
    assert plainly[0] == "foveal; fwd=miss"


def test_without_the_setting_there_is_no_header(tmp_path: Path) -> None:
    write_servable(tmp_path)
    with serve(models=tmp_path) as service, httpx.Client(base_url=service.url) as http:
        response = http.post("/v1/classify", content=plain("red"))
        assert response.status_code == 200
        assert "cache-status" not in response.headers
