"""A service that can open no file any more: what it answers needs none."""

import os
import resource
import sys
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.clips import counting
from tests.live import bundled, problem, start

CAT = Path(__file__).parents[1] / "data" / "cat.jpg"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")


def cat_as(form: str) -> bytes:
    saved = BytesIO()
    with Image.open(CAT) as image:
        image.resize((160, 120)).save(saved, form)
    return saved.getvalue()


def test_good_images_and_videos_are_read_while_no_file_can_be_opened() -> None:
    """Libraries load parts of themselves with the first image. That failed, and the image was called damaged."""
    with (
        start(log_format="json") as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        assert client.get("/health/ready").status_code == 200
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (0, 4096))
        answers = {
            form: client.post("/v1/classify", content=cat_as(form))
            for form in ("JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF")
        }
        answers["chain"] = client.post("/v1/chain?model=digits", content=cat_as("JPEG"))
        for query in ("detect?format=overlay", "segment?model=u2netp&format=cutout"):
            answers[query] = client.post(f"/v1/{query}", content=cat_as("JPEG"))
        for form, codec in (("mp4", "libx264"), ("gif", "gif"), ("webm", "libvpx-vp9")):
            video = counting(6, form, codec)
            answers[codec] = client.post("/v1/video?model=lenet5", content=video)
        assert {name: one.status_code for name, one in answers.items()} == dict.fromkeys(
            answers, 200
        )


PAGES = (
    "/docs/assets/swagger-ui-bundle.js",
    "/docs/guide/",
    "/docs/guide/more/index.html",
    "/docs/guide/x.js",
)


def test_pages_that_are_asked_for_first_with_a_full_table_are_no_surprise(tmp_path: Path) -> None:
    """The first file of a page loads a library, which could not be opened: logged as unhandled."""
    guide = tmp_path / "guide"
    guide.mkdir()
    (guide / "index.html").write_text("<h1>Guide</h1>")
    with (
        start(models=bundled(tmp_path, "lenet5"), guide=guide, log_format="json") as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        assert client.get("/health/ready").status_code == 200
        pid = service.process.pid
        resource.prlimit(
            pid, resource.RLIMIT_NOFILE, (len([*Path(f"/proc/{pid}/fd").iterdir()]), 4096)
        )
        for page in ("/docs/guide/", "/docs/assets/swagger-ui-bundle.js"):
            problem(client.get(page), 503, "unavailable")
        for page in ("/", "/docs", "/openapi.json", "/metrics", "/v1/models", "/v2"):
            assert client.get(page).status_code == 200
        for path, body in (
            ("classify", cat_as("JPEG")),
            ("explain?view=shap", cat_as("JPEG")),
            ("video?model=lenet5", counting(3)),
        ):
            assert client.post(f"/v1/{path}", content=body).status_code in {200, 422, 503}
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (4096, 4096))
        assert client.get("/docs/guide/").status_code == 200
    assert not service.logged("unhandled")


def test_pages_are_answered_whole_or_with_503_and_come_back(tmp_path: Path) -> None:
    """The answer began with 200 and the length of the file, and then the file could not be opened."""
    guide = tmp_path / "guide"
    (guide / "more").mkdir(parents=True)
    for name in ("index.html", "more/index.html", "x.js"):
        (guide / name).write_text("<h1>Guide</h1>")
    with (
        start(models=bundled(tmp_path, "lenet5"), guide=guide) as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        before = {page: client.get(page) for page in PAGES}
        assert {one.status_code for one in before.values()} == {200}
        for file in guide.rglob("*.*"):
            os.utime(file, (1, 1))  # what is in memory is that of another time
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (0, 4096))
        kept, *pages = PAGES
        assert client.get(kept).content == before[kept].content
        for page in pages:
            problem(client.get(page), 503, "unavailable")
            assert client.head(page).status_code == 503
        for page in ("/", "/docs", "/openapi.json", "/playground/script/main.js", "/metrics"):
            assert client.get(page).status_code == 200
        problem(client.get("/v1/models/lenet5/filters"), 503, "unavailable")
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (4096, 4096))
        for page, answer in before.items():
            again = client.get(page)
            assert (again.status_code, again.content) == (200, answer.content)
        assert client.get("/v1/models/lenet5/filters").status_code == 200
    assert not [line for line in service.lines if line["message"] == "unhandled"]
