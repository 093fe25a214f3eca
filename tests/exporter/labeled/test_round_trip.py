"""From a training to answers over HTTP: the accuracy on held-out images is PyTorch's own, image by image."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tests.exporter.exporting import QUICK, export_to
from tests.live import serve

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, while it traces
]

HELD_OUT = 200
SIDE = 32
MEAN, STD = (0.35, 0.28, 0.2), (0.4, 0.33, 0.25)


class Reader(nn.Module):
    """A small network with a batch norm, for digits in color."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 16, 5, 2), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 24, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten()),
        )
        self.classifier = nn.Linear(24 * 9, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.layers(pixels))
        return scores


def colored() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return scikit-learn's digits as uint8 (N, 32, 32, 3), in one of several colors each, and their classes."""
    rng = np.random.default_rng(0)
    images, classes = load_digits(return_X_y=True)
    order = rng.permutation(len(classes))
    ink = images[order].reshape(-1, 8, 8, 1).repeat(4, axis=1).repeat(4, axis=2) / 16
    colors = np.array([[255, 200, 150], [200, 180, 90], [250, 140, 120]])[
        rng.integers(0, 3, len(classes))
    ]
    return (ink * colors[:, None, None]).round().astype(np.uint8), classes[order].astype(np.int64)


def normalized(images: NDArray[np.uint8]) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std


def trained(images: NDArray[np.uint8], classes: NDArray[np.int64]) -> Reader:
    torch.manual_seed(0)
    network, values, targets = Reader(), normalized(images), torch.from_numpy(classes)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(4):
        for chosen in torch.split(torch.randperm(len(targets)), 64):
            cost = nn.functional.cross_entropy(network(values[chosen]), targets[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(cost)
            optimizer.step()
    return network.eval()


def test_a_server_answers_as_the_network_that_was_trained(tmp_path: Path) -> None:
    images, classes = colored()
    network = trained(images[:-HELD_OUT], classes[:-HELD_OUT])
    with torch.inference_mode():
        expected = network(normalized(images[-HELD_OUT:])).softmax(dim=1).numpy()
    right = float(np.mean(expected.argmax(axis=1) == classes[-HELD_OUT:]))
    files = []
    for index in range(len(classes) - HELD_OUT, len(classes)):
        files.append(tmp_path / "held-out" / str(classes[index]) / f"{index}.png")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index]).save(files[-1])
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), tmp_path / "reader.pt")

    done = export_to(
        folder,
        "python:tests.exporter.labeled.test_round_trip:Reader",
        weights=str(tmp_path / "reader.pt"),
        labels=tuple("0123456789"),
        input={"height": SIDE, "width": SIDE},
        pixels={"mean": MEAN, "std": STD},
        proof={**QUICK, "limit": 8, "labeled": tmp_path / "held-out"},
    )
    with serve(models=tmp_path / "models") as live, httpx.Client(timeout=60) as client:
        found = [answered(client, live.url, file) for file in files]

    assert done.card.accuracy is not None
    assert done.card.accuracy.scores["top1"] == pytest.approx(right, abs=1e-6)
    assert right > 0.8
    served = np.array(found)
    assert float(np.mean(served.argmax(axis=1) == classes[-HELD_OUT:])) == right
    np.testing.assert_allclose(served, expected, atol=1e-4)


def answered(client: httpx.Client, url: str, file: Path) -> list[float]:
    """Return the probability of each class in a server's answer."""
    answer: dict[str, Any] = client.post(
        f"{url}/v1/classify?top_k=10", content=file.read_bytes()
    ).json()
    predictions = answer["results"][0]["predictions"]
    by_class = {one["class_id"]: one["probability"] for one in predictions}
    return [by_class[class_id] for class_id in range(10)]
