"""A service that can open no file any more: what it answers needs none."""

import resource
import sys
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.clips import counting
from tests.live import start

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
