"""A network without a number for a black image, in a service on a real socket: all other images are served."""

from pathlib import Path

import httpx

from tests.images import plain
from tests.live import problem, serve
from tests.servables import own_largest_model, write_servable


def test_an_image_without_a_finite_answer_fails_alone_and_the_service_is_ready(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    write_servable(models, "divides", model=own_largest_model())
    write_servable(models, "good")
    with (
        serve(models=models, trial=True, cache=tmp_path / "cache") as live,
        httpx.Client(base_url=live.url) as http,
    ):
        assert http.get("/health/ready").status_code == 200
        black = http.post("/v1/classify?model=divides", content=plain("black"))
        problem(black, 500, "inference_failed")
        for model in ("divides", "good"):
            answer = http.post(f"/v1/classify?model={model}", content=plain("red"))
            assert answer.json()["results"][0]["predictions"][0]["label"] == "red"
        assert http.get("/health/ready").status_code == 200
