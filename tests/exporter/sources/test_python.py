"""`python:` sources: objects in the user's own code."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from exporter.errors import GraphError, SourceError, WeightsError
from exporter.progress import SilentProgress
from exporter.recipe import Recipe, make_recipe
from exporter.sessions import unoptimized_session
from exporter.sources.python import load
from exporter.sources.user_code import find
from exporter.tracing import PIXELS
from tests.exporter.exporting import export_to, outputs_of

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, while it traces
]


def recipe(where: str, **fields: object) -> Recipe:
    return make_recipe({"source": f"python:{where}", "task": "classify", "name": "net", **fields})


@pytest.mark.parametrize(
    ("where", "fields", "message"),
    [
        ("builtins:dict", {}, "returns a dict, not a torch.nn.Module"),
        ("torch.nn:Linear", {}, r"keyword arguments are the recipe's \[arguments\]"),
        ("torch.nn:Identity", {"weights": None}, "--weights none for random ones"),
    ],
)
def test_a_callable_that_makes_no_network_is_refused(
    where: str, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        load(where, recipe(where, **{"weights": "none", **fields}), SilentProgress())


CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels=3, num_classes=4):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, num_classes)

    def forward(self, pixels):
        return self.head(self.first(pixels).mean((2, 3)))

def without_default(n_classes):
    return Net(num_classes=n_classes)

def fixed():
    return Net()

def late(num_classes=4):
    from some_helper import helped
    return helped(Net(num_classes=num_classes))

def fails():
    raise KeyError("no such backbone")

def ends():
    raise SystemExit("usage: train.py DATA")

parallel = lambda: nn.DataParallel(Net())
compiled = lambda: torch.compile(Net())
traced = lambda: torch.jit.trace(Net().eval(), torch.zeros(1, 3, 16, 16))
ready = Net()

class Alone(Net):
    def forward(self, pixels):
        return self.head(self.first(pixels).mean((2, 3)).view(1, 8))

class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.DataParallel(torch.compile(Net()))

    def forward(self, pixels):
        return self.net(pixels)

class Wrong(Net):
    def forward(self, pixels):
        features = self.first(pixels)
        return self.head(features)

class Branches(Net):
    def forward(self, pixels):
        if pixels.mean() > 0.7:
            return super().forward(pixels) * 2
        return super().forward(pixels)

class Yolox(nn.Module):
    # Boxes for the cells of strides 8, 16 and 32, relative to these, or if decoded in pixels.
    def __init__(self, decoded=False):
        super().__init__()
        torch.manual_seed(1)
        self.decoded = decoded
        self.levels = nn.ModuleList(nn.Conv2d(3, 8, stride, stride) for stride in (8, 16, 32))

    def forward(self, pixels):
        found = []
        for layer in self.levels:
            stride, raw = layer.stride[0], layer(pixels)
            if self.decoded:
                rows = torch.arange(raw.shape[2])[:, None].expand(raw.shape[2:])
                columns = torch.arange(raw.shape[3])[None].expand(raw.shape[2:])
                center = (raw[:, :2] + torch.stack([columns, rows])) * stride
                size = raw[:, 2:4].exp() * stride
                raw = torch.cat([center, size, raw[:, 4:]], 1)
            found.append(torch.cat([raw[:, :4], raw[:, 4:].sigmoid()], 1).flatten(2))
        return torch.cat(found, 2).transpose(1, 2)

class Batch(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)
"""

SIDE = {"height": 16, "width": 16, "shorter_side": 16}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a user's own code; its modules are forgotten afterwards."""
    (tmp_path / "own_nets.py").write_text(CODE)
    (tmp_path / "some_helper.py").write_text("def helped(net):\n    return net\n")
    (tmp_path / "breaks.py").write_text("import torch\n\nnot_defined\n")
    (tmp_path / "misspelled.py").write_text("def net(:\n")
    (tmp_path / "script.py").write_text("import sys\nsys.exit('give a folder')\n")
    (tmp_path / "needs.py").write_text("import no_such_package_of_theirs\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("own_nets", "some_helper", "breaks", "misspelled", "script", "needs"):
        sys.modules.pop(name, None)


def trained(folder: Path, classes: int, channels: int = 3) -> torch.nn.Module:
    """Save the weights of a network with this number of classes, and return it."""
    torch.manual_seed(classes)
    module = find("own_nets:Net", recipe("own_nets:Net"))(channels, classes).eval()
    torch.save(module.state_dict(), folder / "w.pt")
    return cast("torch.nn.Module", module)


@pytest.mark.parametrize("callable_", ["Net", "without_default", "late"])
@pytest.mark.parametrize("classes", [4, 7])
def test_the_number_of_classes_is_that_of_the_weights(
    callable_: str, classes: int, folder: Path
) -> None:
    module = trained(folder, classes)
    progress = SilentProgress()
    where = f"own_nets:{callable_}"
    network = load(where, recipe(where, weights="w.pt", input=SIDE), progress)

    pixels = torch.rand(3, 3, 16, 16)
    with torch.inference_mode():
        right = module(pixels).numpy()
    assert right.shape == (3, classes)
    np.testing.assert_allclose(network.reference.run(pixels.numpy())[0], right, atol=1e-6)
    inferred = callable_ == "without_default" or classes != 4
    assert any(f"classes={classes}, as the shapes" in one for one in progress.warnings) == inferred


def test_a_stated_number_of_classes_stays(folder: Path) -> None:
    trained(folder, 5)
    where = "own_nets:Net"
    with pytest.raises(WeightsError, match="num_classes=5"):
        load(
            where,
            recipe(where, weights="w.pt", input=SIDE, arguments={"num_classes": 3}),
            SilentProgress(),
        )


def test_a_callable_without_the_argument_names_the_misfit(folder: Path) -> None:
    trained(folder, 5)
    with pytest.raises(
        WeightsError, match=r"^python:own_nets:fixed: .*size mismatch for head\.weight"
    ):
        load(
            "own_nets:fixed",
            recipe("own_nets:fixed", weights="w.pt", input=SIDE),
            SilentProgress(),
        )


def test_a_network_of_one_channel_reads_gray_images(folder: Path) -> None:
    module = trained(folder, 4, channels=1)
    where = "own_nets:Net"
    network = load(where, recipe(where, weights="w.pt", input=SIDE), SilentProgress())
    assert network.pixels.color == "gray"
    frames = np.full((1, 16, 16, 3), (255, 0, 0), np.uint8)
    pixels = network.reference.pixels_of_frames(frames)
    assert pixels.shape == (1, 1, 16, 16)
    np.testing.assert_allclose(pixels, 0.299, atol=1e-6)  # ITU-R BT.601, of red alone
    assert module(torch.from_numpy(pixels)).shape == (1, 4)


@pytest.mark.parametrize("name", ["parallel", "compiled", "traced", "ready", "Inside"])
def test_wrappers_of_a_training_are_taken_off(name: str, folder: Path) -> None:
    where = f"own_nets:{name}"
    torch.manual_seed(0)
    network = load(where, recipe(where, weights="none", input=SIDE), SilentProgress())
    (found,) = unoptimized_session(network.graph.draft()).run(
        None, {PIXELS: np.ones((3, 3, 16, 16), np.float32)}
    )
    assert found.shape == (3, 4)
    assert folder.exists()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("breaks:net", r"breaks can not be imported: NameError: .*not_defined.* \(breaks.py, line 3\)"),
        ("misspelled:net", r"misspelled can not be imported: SyntaxError.*\(misspelled.py, line 1\)"),
        ("script:net", "script can not be imported: SystemExit: give a folder"),
        ("needs:net", "needs the module no_such_package_of_theirs, which is not installed"),
        ("own_nets:Nett", r"own_nets \(.*own_nets.py\) has no Nett"),
        ("own_nets:fails", r"KeyError: 'no such backbone' \(own_nets.py, line \d+\)"),
        ("own_nets:ends", "SystemExit: usage: train.py DATA"),
        ("own_nets:CODE", "has no CODE"),
        ("own_nets:torch", "is a module; name a class or a function"),
        (":Net", "write python:package.module:callable"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_user_s_code_is_named_by_its_file_and_line(
    where: str, message: str, folder: Path
) -> None:
    with pytest.raises(SourceError, match=message):
        load(where, recipe(where, weights="none", input=SIDE), SilentProgress())
    assert folder.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Wrong",
            r" \(own_nets\.py, line \d+\): The network does not run on \(2, 3, 16, 16\): mat1",
        ),
        ("Branches", r": .*can not capture this network.*own_nets\.py, line \d+"),
        ("Batch", r": norm is a batch norm without running statistics"),
    ],
)
def test_what_is_wrong_with_a_network_begins_with_its_source(
    name: str, message: str, folder: Path
) -> None:
    where = f"own_nets:{name}"
    with pytest.raises(GraphError, match=f"^python:{where}{message}"):
        load(where, recipe(where, weights="none", input=SIDE), SilentProgress())
    assert folder.exists()


def test_boxes_that_are_relative_to_cells_become_those_of_the_decoded_network(folder: Path) -> None:
    """The same random weights, whose boxes lie near their cells."""
    fields: dict[str, Any] = {
        "task": "detect",
        "labels": ["a", "b", "c"],
        "weights": "none",
        "input": {"height": 64, "width": 96},
    }
    frames = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    found: list[tuple[str, dict[str, Any]]] = []
    for decoded, stated in ((False, {}), (False, {"decoder": "yolox"}), (True, {})):
        place = folder / str(len(found))
        place.mkdir()
        done = export_to(
            place,
            "python:own_nets:Yolox",
            **fields,
            code="..",
            arguments={"decoded": decoded},
            detect=stated,
        )
        assert done.card.boxes is not None
        found.append((done.card.boxes.format, outputs_of(done.path, frames)))
    assert [form for form, _ in found] == ["grid", "grid", "cxcywh"]
    (*relative, decoded_inside) = (outputs for _, outputs in found)
    for one in relative:
        for name in ("boxes", "scores", "classes"):
            np.testing.assert_allclose(one[name], decoded_inside[name], atol=1e-5)


def test_code_for_one_image_alone_is_exported_so(folder: Path) -> None:
    fields = {"weights": "none", "input": {"height": 16, "width": 16}, "labels": list("abcd")}
    done = export_to(folder, "python:own_nets:Alone", **fields)
    assert done.card.max_batch == 1
    assert done.card.certificate is not None
    assert done.card.certificate.batches == (1,)
    frames = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 3), np.uint8)
    assert outputs_of(done.path, frames)["logits"].shape == (1, 4)


@pytest.mark.usefixtures("folder")
def test_code_that_runs_on_no_image_is_not_said_to_run_on_one() -> None:
    stated = recipe("own_nets:Alone", weights="none", input={"height": 2, "width": 2})
    with pytest.raises(GraphError, match=r"does not run on \(2, .*--height"):
        load("own_nets:Alone", stated, SilentProgress())
