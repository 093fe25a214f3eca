"""Damaged videos through a real server: answered as far as they can be read, or refused; never a 5xx."""

import random
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.clips import counting

CASES = Path(__file__).parents[1] / "data/cases"
QUERIES = ("max_frames=3", "every_n=1", "fps=2")
BATCH = 50


def originals() -> list[bytes]:
    """Return small videos of every container."""
    kept = [
        path.read_bytes()
        for path in sorted(CASES.iterdir())
        if path.suffix in {".mp4", ".webm", ".avi", ".gif", ".avif", ".m4a"}
    ]
    made = [("matroska", "libx264"), ("mov", "mpeg4"), ("avi", "mjpeg"), ("webm", "libvpx-vp9")]
    return (
        kept
        + [counting(12, form, codec) for form, codec in made]
        + [animated("PNG"), animated("WEBP")]
    )


def animated(form: str) -> bytes:
    images = [Image.new("RGB", (40, 30), (20 * number, 99, 0)) for number in range(6)]
    body = BytesIO()
    images[0].save(body, form, save_all=True, append_images=images[1:], duration=200)
    return body.getvalue()


def mutated(body: bytes, seed: random.Random) -> bytes:
    """Return a video with some bits turned, bytes of its header changed, bytes left out, or its end cut off."""
    data = bytearray(body)
    for _ in range(seed.choice((1, 1, 2, 4, 8, 32))):
        kind = seed.choice(("bit", "bit", "bit", "header", "hole", "cut"))
        at = seed.randrange(len(data))
        if kind == "bit":
            data[at] ^= 1 << seed.randrange(8)
        elif kind == "header":
            data[seed.randrange(min(len(data), 400))] = seed.randrange(256)
        elif kind == "hole":
            del data[at : min(at + seed.randrange(1, 20), len(data) - 1)]
        else:
            del data[max(at, 1) :]
    return bytes(data)


def check(client: httpx.Client, numbers: range) -> None:
    found = originals()
    for number in numbers:
        seed = random.Random(number)  # a repeatable choice, no secret
        body, query = mutated(seed.choice(found), seed), seed.choice(QUERIES)
        response = client.post(f"/v1/video?model=lenet5&{query}", content=body)
        if response.status_code == 200:
            assert response.json()["ended"] in {"complete", "truncated", "limit"}
        else:
            assert response.status_code in {400, 413, 415, 422}, (number, response.text)
            assert response.json()["code"]


def test_a_mutated_video_is_answered_or_refused(client: httpx.Client) -> None:
    check(client, range(40))


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(8))
def test_many_mutated_videos_are_answered_or_refused(client: httpx.Client, batch: int) -> None:
    check(client, range(1000 + batch * BATCH, 1000 + (batch + 1) * BATCH))


@pytest.mark.parametrize("query", QUERIES)
def test_a_webm_whose_clusters_lie_before_its_start_is_refused(
    client: httpx.Client, query: str
) -> None:
    """A reader that seeks to its first cluster gets an error of the system."""
    body = (CASES / "seek-eperm.webm").read_bytes()
    response = client.post(f"/v1/video?model=lenet5&{query}", content=body)
    assert (response.status_code, response.json()["code"]) == (422, "no_frames")


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF"])
def test_an_animation_is_a_video(client: httpx.Client, form: str) -> None:
    response = client.post("/v1/video?model=lenet5&every_n=2", content=animated(form))
    assert response.status_code == 200, response.text
    found = response.json()
    assert [(one["number"], one["time"]) for one in found["frames"]] == [(0, 0), (2, 0.4), (4, 0.8)]
    assert found["ended"] == "complete"
