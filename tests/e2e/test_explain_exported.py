"""Explanations of networks that the exporter has just made: a residual one, one with gates, a transformer."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from tests.exporter.exporting import export_to
from tests.images import photograph
from tests.live import serve

NETWORKS = {
    "resnet10t": {},
    "mobilenetv3_small_050": {},
    "vit_tiny_patch16_224": {"img_size": 96, "depth": 2},
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root = tmp_path_factory.mktemp("models")
    for name, arguments in NETWORKS.items():
        frame = {"height": 96, "width": 96, "resize": "stretch"}
        (root / name).mkdir()
        export_to(
            root / name, f"timm:{name}", name=name, weights="none", arguments=arguments, input=frame
        )
    with serve(models=root) as service, httpx.Client(base_url=service.url, timeout=60) as http:
        yield http


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_shows_every_step(exported: httpx.Client, name: str) -> None:
    for query in ("view=story", "view=maps", "view=patterns", "view=cam&steps=4", "view=filters"):
        response = exported.post(
            f"/v1/explain?model={name}&{query}&format=sheet", content=photograph("coffee")
        )
        assert response.status_code == 200, response.text
        assert response.content.startswith(b"\x89PNG")


def test_a_linear_head_gives_the_exact_map(exported: httpx.Client) -> None:
    query = "/v1/explain?view=cam&score=false&class=7&model=resnet10t"
    answer = exported.post(query, content=photograph("coffee")).json()
    assert answer["method"] == "cam"
    logit = np.mean(answer["heat"]["values"]) + answer["target"]["bias"]
    assert logit == pytest.approx(answer["target"]["logit"], abs=2e-3)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_other_heads_get_the_first_component(exported: httpx.Client, name: str) -> None:
    query = f"/v1/explain?view=cam&score=false&model={name}"
    answer = exported.post(query, content=photograph("coffee")).json()
    assert answer["method"] == "eigencam"
    assert np.ptp(answer["heat"]["values"]) > 0


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_gates_and_attention_let_the_whole_image_in(exported: httpx.Client, name: str) -> None:
    query = f"/v1/explain?view=patterns&model={name}"
    field = exported.post(query, content=photograph("coffee")).json()["receptive_field"]
    assert field["height"] is None
    assert field["effective"] >= 1


def test_a_transformers_first_layer_is_its_patches(exported: httpx.Client) -> None:
    layer = exported.get("/v1/models/vit_tiny_patch16_224/filters").json()["layer"]
    assert (layer["height"], layer["width"], layer["stride"]) == (16, 16, [16, 16])
