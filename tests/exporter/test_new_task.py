"""A task is added to a copy of the exporter as CONTRIBUTING describes, and a network without classes is exported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from service.servable_file import read_card
from tests.exporter.exporting import outputs_of

ROOT = Path(__file__).parents[2]

HEAD = """
from dataclasses import dataclass
from typing import ClassVar

from exporter.graph import float_output
from exporter.heads.metrics import absolute_difference


@dataclass(frozen=True, slots=True)
class MeanColorHead:
    task: ClassVar[str] = "mean_color"
    outputs: ClassVar[tuple[str, ...]] = ("color",)
    metric: ClassVar[str] = "cosine"
    classes: ClassVar[int | None] = None

    def graft(self, graph, raw, image_input):
        graph.add("Identity", [raw[0]], output="color")
        graph.set_outputs([float_output("color", 3)])

    def expected(self, raw, image_input):
        return {"color": raw[0]}

    def difference(self, found, expected):
        return absolute_difference(found["color"], expected["color"])

    def result_difference(self, found, expected):
        return self.difference(found, expected)

    def agreement(self, found, expected, tolerance):
        near = abs(found["color"] - expected["color"]).max(axis=1) <= tolerance
        return near.astype(float).tolist()
"""

NETWORK = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.same, self.again = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
        for layer in (self.same, self.again):
            layer.weight.data = torch.eye(3).reshape(3, 3, 1, 1)

    def forward(self, pixels):
        maps = nn.functional.avg_pool2d(torch.relu(self.same(pixels)), 2)
        return torch.relu(self.again(maps)).mean(dim=(2, 3))
"""


def add_line(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, after))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the network and a copy of the exporter that knows the task mean_color."""
    folder = tmp_path_factory.mktemp("work")
    copy = folder / "exporter"
    shutil.copytree(ROOT / "exporter", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "heads/mean_color.py").write_text(HEAD)
    add_line(copy / "recipe.py", '"embed", "temporal"]\n', '"embed", "temporal", "mean_color"]\n')
    select = copy / "heads/select_head.py"
    add_line(
        select,
        "from exporter.heads.embed import EmbedHead\n",
        "from exporter.heads.embed import EmbedHead\n"
        "from exporter.heads.mean_color import MeanColorHead\n",
    )
    add_line(
        select,
        '    "embed": _embed,\n',
        '    "embed": _embed,\n    "mean_color": lambda _recipe, _outputs: MeanColorHead(),\n',
    )
    (folder / "mynet.py").write_text(NETWORK)
    return folder


def run(work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(work), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "exporter.cli", "python:mynet:Net", "--weights", "none", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=work,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "300"},
    )


def test_a_network_of_a_task_without_classes_is_exported_without_labels(work: Path) -> None:
    size = ("--height", "32", "--width", "32")
    done = run(work, "--task", "mean_color", *size, "--image-limit", "3", "--largest-batch", "3")

    assert done.returncode == 0, done.stdout + done.stderr
    file = work / "models/net/1/model.onnx"
    card = read_card(file)
    assert (card.task, card.labels) == ("mean_color", ())
    orange = np.full((1, 32, 32, 3), (255, 128, 0), np.uint8)
    np.testing.assert_allclose(outputs_of(file, orange)["color"], [[1, 128 / 255, 0]], atol=1e-5)


def test_the_new_task_is_among_those_to_choose_from(work: Path) -> None:
    done = run(work, "--height", "32", "--width", "32")

    assert done.returncode == 1
    assert "Add --task classify|segment|detect|embed|mean_color --labels FILE" in done.stdout
