"""A network above 2 GiB from its module to an answer over HTTP: `make large`, outside of CI.

It needs 9 GiB of memory, 7 GiB of disk in the temporary folder, and some minutes. What is special about such a
network is tested in `test_external_data.py` with a limit of kilobytes; here protobuf's own limit is passed.
"""

import shutil
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exporter.encoding import as_png
from exporter.external_data import INLINE_LIMIT
from service.card import CardError
from service.servable_file import check_certificate, read_card
from tests.exporter.exporting import export_to
from tests.live import serve

SIDE = 64
HIDDEN = (65_536, 7_200)
CLASSES = 5
LOAD_SECONDS = 900
"""On a busy machine the trial and the load of two gigabytes take longer than the default 30 s."""

CODE = f"""
import torch
from torch import nn


def wide():
    return nn.Sequential(
        nn.Conv2d(3, 16, 8, stride=8), nn.Flatten(), nn.Linear(1024, {HIDDEN[0]}), nn.ReLU(),
        nn.Linear({HIDDEN[0]}, {HIDDEN[1]}), nn.ReLU(), nn.Linear({HIDDEN[1]}, {CLASSES}),
    )
"""


@pytest.mark.timeout(5400)
def test_a_network_above_2_gib_is_two_files_that_a_server_answers_from(tmp_path: Path) -> None:
    try:
        _whole_way(tmp_path)
    finally:
        shutil.rmtree(tmp_path)  # pytest would keep gigabytes of the last runs


def _whole_way(folder: Path) -> None:
    (folder / "wide.py").write_text(CODE)
    version = folder / "models" / "small"
    version.mkdir(parents=True)
    done = export_to(
        version,
        "python:wide:wide",
        code=folder,
        weights="none",
        labels=[f"kind {index}" for index in range(CLASSES)],
        input={"height": SIDE, "width": SIDE, "resize": "stretch"},
        proof={"limit": 2, "largest": 2, "agreement": 0.0},
    )
    data = done.path.with_name("model.onnx.data")
    assert data.stat().st_size > INLINE_LIMIT
    assert {one.name for one in done.path.parent.iterdir()} == {"model.onnx", data.name}
    graph = onnx.load(done.path, load_external_data=False).graph
    places = {e.value for t in graph.initializer for e in t.external_data if e.key == "location"}
    assert places == {data.name}
    check_certificate(done.path, read_card(done.path))

    frame = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    with serve(models=folder / "models", load_seconds=LOAD_SECONDS) as live:
        answer = httpx.post(
            f"{live.url}/v1/classify?top_k={CLASSES}", content=as_png(frame), timeout=600
        )
    assert answer.status_code == 200, answer.text
    found = {
        one["class_id"]: one["probability"] for one in answer.json()["results"][0]["predictions"]
    }
    expected = _by_torch(frame)
    np.testing.assert_allclose([found[k] for k in range(CLASSES)], expected, atol=1e-4)

    with data.open("r+b") as file:
        file.seek(INLINE_LIMIT // 2)
        byte = file.read(1)[0]
        file.seek(INLINE_LIMIT // 2)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(CardError, match="the weights were changed after they were proved"):
        check_certificate(done.path, read_card(done.path))


def _by_torch(frame: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> list[float]:
    """Return the probabilities of the same random weights in PyTorch."""
    names: dict[str, object] = {}
    torch.manual_seed(0)
    exec(CODE, names)  # noqa: S102 - the code of this file
    module = names["wide"]()  # type: ignore[operator] # a function
    assert isinstance(module, nn.Module)
    pixels = torch.from_numpy(frame.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        probabilities: list[float] = module(pixels).softmax(dim=1)[0].tolist()
    return probabilities
