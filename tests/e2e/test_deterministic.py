"""FOVEAL_DETERMINISTIC over HTTP: an image's answer does not depend on what else arrives, bit by bit."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.images import photograph
from tests.live import MODELS, Live, serve

MODEL = "efficientnet-lite0"


def others(count: int) -> list[bytes]:
    """Return as many noisy images."""
    random = np.random.default_rng(3)
    found = []
    for _ in range(count):
        file = BytesIO()
        Image.fromarray(random.integers(0, 256, (60, 80, 3), np.uint8)).save(file, "PNG")
        found.append(file.getvalue())
    return found


def vectors(live: Live, images: list[bytes]) -> list[bytes]:
    """Return the features of each image as the float32 that the network gave."""
    files = [("file", (str(place), image)) for place, image in enumerate(images)]
    url = f"{live.url}/v1/embed?model={MODEL}&format=floats"
    answer = httpx.post(url, files=files, timeout=30)
    assert answer.status_code == 200, answer.text
    size = len(answer.content) // len(images)
    return [answer.content[place : place + size] for place in range(0, len(answer.content), size)]


@pytest.mark.slow
def test_an_answer_has_the_same_bits_alone_among_others_and_under_load(
    tmp_path: Path,
) -> None:
    (tmp_path / MODEL).symlink_to(MODELS / MODEL)
    image = photograph("chelsea")
    with serve(models=tmp_path, deterministic=True, max_batch=8) as live:
        (alone,) = vectors(live, [image])
        among = [
            vectors(live, [*others(before), image, *others(7 - before)])[before]
            for before in range(8)
        ]
        with ThreadPoolExecutor(12) as clients:
            crowd = [*clients.map(lambda _: vectors(live, [image, *others(2)])[0], range(24))]
        largest = live.sample("foveal_batch_size_bucket", model=MODEL, le="1.0")
        assert largest == live.sample("foveal_batch_size_count", model=MODEL)
    with serve(models=tmp_path, deterministic=True) as again:
        (restarted,) = vectors(again, [image])
    assert len(alone) == 4 * 1280
    assert {alone, *among, *crowd, restarted} == {alone}
