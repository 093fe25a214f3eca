"""Chains over videos go on while the models of their steps are swapped: every frame has its readings."""

import itertools
import json
import threading
from collections import Counter
from pathlib import Path

import httpx
import numpy as np

from tests.clips import encode_clip
from tests.e2e.test_chain import read_of, reading, scene
from tests.keys import bearer, write_keys
from tests.live import MODELS, serve

SECONDS = 60.0
FRAMES = 4
LEAST_VIDEOS = 3
"""Of each way to ask, which begin and end beside swaps."""
WHOLE, LINES = "application/json", "application/x-ndjson"


def readings_of(answer: httpx.Response) -> list[list[str]]:
    """Return what was read in each frame, sorted, of an answer that came whole or by lines."""
    if answer.headers["content-type"].startswith(LINES):
        lines = [json.loads(line) for line in answer.text.splitlines()]
        frames = [line for line in lines if "boxes" in line]
    else:
        frames = answer.json()["frames"]
    return [sorted(map(reading, read_of(frame))) for frame in frames]


def test_a_swap_of_the_models_of_a_chain_fails_no_frame_of_a_video(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    files = {name: MODELS / name / "1" / "model.onnx" for name in ("unet-digits", "lenet5")}
    for name, file in files.items():
        (models / name / "1").mkdir(parents=True)
        (models / name / "1" / "model.onnx").write_bytes(file.read_bytes())
    (models / "digits").symlink_to(MODELS / "digits")
    image, truth = scene(4)
    values = sorted(str(value) for _, value in truth)
    clip = encode_clip([np.roll(image, shift, axis=0) for shift in range(0, 2 * FRAMES, 2)], rate=2)
    keys = write_keys(tmp_path / "keys.toml")
    ended, videos, wrong = threading.Event(), Counter[str](), list[str]()

    with serve(models=models, admin=True, keys=keys) as live:

        def send(accepted: str) -> None:
            path = "/v1/video?task=chain&model=digits&fps=2"
            headers = {**bearer("ada"), "Accept": accepted}
            with httpx.Client(base_url=live.url, headers=headers, timeout=SECONDS) as http:
                while not ended.is_set():
                    answer = http.post(path, content=clip)
                    videos[accepted] += 1
                    if answer.status_code != 200 or readings_of(answer) != [values] * FRAMES:
                        wrong.append(answer.text)

        senders = [threading.Thread(target=send, args=(way,)) for way in (WHOLE, LINES)]
        for sender in senders:
            sender.start()
        try:
            with httpx.Client(base_url=live.url, headers=bearer("root"), timeout=SECONDS) as admin:
                for version in itertools.count(2):
                    for name, file in files.items():
                        url = f"/v1/models/{name}/versions"
                        put = admin.put(f"{url}/{version}", content=file.read_bytes())
                        assert put.status_code == 200, put.text
                        gone = admin.delete(f"{url}/{version - 1}")
                        assert gone.status_code == 200, gone.text
                    enough = len(videos) == 2 and min(videos.values()) >= LEAST_VIDEOS
                    if wrong or (enough and version >= 4):
                        break
        finally:
            ended.set()
            for sender in senders:
                sender.join()

    assert wrong == []
