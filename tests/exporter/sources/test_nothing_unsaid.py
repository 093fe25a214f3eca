"""What nothing states of a network's input is said at the end of an export, in the card, and by `--explain`."""

import argparse
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest
import timm
import torch
from PIL import Image
from rich.console import Console
from torchvision import models

from exporter.explanation import explain
from exporter.export import export
from exporter.network import Facts
from exporter.outcome import Exported
from exporter.progress import SilentProgress
from exporter.recipe import Recipe, make_recipe
from exporter.report import show_card
from exporter.torch_network import TorchModel
from exporter.training.lenet5 import PIXELS
from tests.exporter.exporting import QUICK
from tests.exporter.nets import SIDE, conv_onnx, save_weights, small
from tests.exporter.test_activation_end import network, op

pytestmark = [pytest.mark.filterwarnings("ignore")]  # PyTorch's own, while it traces and scripts

BOTH = ("mean", "std")
EVERY_PART = "size, resize and interpolation"
SIZE = {"height": SIDE, "width": SIDE}
TIMM = "test_efficientnet"


class Notes(SilentProgress):
    """Keeps the warnings of an export."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.said.append(message)


def _python(folder: Path) -> dict[str, Any]:
    weights = save_weights(small(), folder)
    return {"source": "python:tests.exporter.nets:Small", "weights": weights, "input": SIZE}


def _random(folder: Path) -> dict[str, Any]:
    return {**_python(folder), "weights": "none"}


def save_program(module: torch.nn.Module, folder: Path) -> None:
    axes = {0: torch.export.Dim.DYNAMIC}
    images = torch.rand(2, 3, SIDE, SIDE)
    program = torch.export.export(module.eval(), (images,), dynamic_shapes=(axes,))
    torch.export.save(program, folder / "net.pt2")


def _program(folder: Path) -> dict[str, Any]:
    save_program(small(), folder)
    return {"source": "program:net.pt2"}


def _torchscript(folder: Path) -> dict[str, Any]:
    torch.jit.save(torch.jit.script(small()), folder / "net.ts")
    return {"source": "torchscript:net.ts", "input": SIZE}


def _onnx(folder: Path) -> dict[str, Any]:
    onnx.save(conv_onnx([-1, 64]), folder / "net.onnx")
    return {"source": "onnx:net.onnx", "labels": tuple(f"thing {k}" for k in range(64))}


def _ultralytics(folder: Path) -> dict[str, Any]:
    found = _onnx(folder)
    model = onnx.load(folder / "net.onnx")
    model.metadata_props.add(key="author", value="Ultralytics")
    onnx.save(model, folder / "net.onnx")
    return found


def _timm(folder: Path) -> dict[str, Any]:
    weights = save_weights(timm.create_model(TIMM, num_classes=4), folder)
    return {"source": f"timm:{TIMM}", "weights": weights}


def _torchvision(folder: Path) -> dict[str, Any]:
    weights = save_weights(models.squeezenet1_1(num_classes=4), folder)
    return {"source": "torchvision:squeezenet1_1", "weights": weights}


def trained(_progress: object) -> TorchModel:
    """Return a network whose training states its pixel values, as `train:` expects."""
    return TorchModel(small(), Facts("net", "here", labels=tuple("abcd")), pixels=PIXELS_OF_COLOR)


PIXELS_OF_COLOR = PIXELS.model_copy(update={"color": "rgb"})


def _train(_folder: Path) -> dict[str, Any]:
    return {"source": f"train:{__name__}:trained", "input": SIZE}


def _transformers(folder: Path, *, processor: bool) -> dict[str, Any]:
    library = pytest.importorskip("transformers")
    config = library.ViTConfig(
        image_size=SIDE,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=4,
    )
    library.ViTForImageClassification(config).save_pretrained(folder / "net")
    if processor:
        library.ViTImageProcessorPil(size=SIZE).save_pretrained(folder / "net")
    return {"source": "transformers:net"}


def _trainer_checkpoint(folder: Path) -> dict[str, Any]:
    return _transformers(folder, processor=False)


def _pretrained(folder: Path) -> dict[str, Any]:
    return _transformers(folder, processor=True)


Make = Callable[[Path], dict[str, Any]]

UNSTATED: dict[str, tuple[Make, tuple[str, ...], str]] = {
    "python": (_python, BOTH, ""),
    "python, random weights": (_random, BOTH, ""),
    "program": (_program, BOTH, ""),
    "torchscript": (_torchscript, BOTH, ""),
    "onnx": (_onnx, BOTH, ""),
    "onnx of ultralytics": (_ultralytics, (), ""),
    "timm, weights of a file": (_timm, BOTH, EVERY_PART),
    "torchvision, weights of a file": (_torchvision, BOTH, EVERY_PART),
    "train": (_train, (), ""),
    "transformers": (_pretrained, (), ""),
    "transformers, checkpoint of a Trainer": (
        _trainer_checkpoint,
        BOTH,
        "resize and interpolation",
    ),
}
"""By the kind of source: how it is made, which of mean and std it leaves open, and which parts of the image input."""


def recipe_of(make: Make, folder: Path, **fields: Any) -> Recipe:
    labels = {"labels": tuple("abcd"), "task": "classify", "name": "net"}
    content = {**labels, "proof": QUICK, "folder": folder, **make(folder), **fields}
    return make_recipe(content)


def exported(make: Make, folder: Path, **fields: Any) -> tuple[Exported, list[str]]:
    """Return what is exported, and the warnings meanwhile."""
    notes = Notes()
    recipe = recipe_of(make, folder, **fields)
    return export(recipe, folder / "1" / "model.onnx", notes), notes.said


def table(done: Exported) -> str:
    console = Console(width=250, file=io.StringIO(), record=True)
    console.print(show_card(done.path, done.card, done.activation, done.assumed))
    return console.export_text()


Found = tuple[Exported, list[str], str]
"""What is exported, the warnings meanwhile, and the table at its end."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Found]:
    """Return an export of each kind of source that states nothing, made once."""

    @cache
    def of(kind: str) -> Found:
        done, said = exported(UNSTATED[kind][0], tmp_path_factory.mktemp("export"))
        return done, said, table(done)

    return of


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """Return where the parts of each kind come from, by `--explain`."""

    @cache
    def of(kind: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("explain")
        recipe = recipe_of(UNSTATED[kind][0], folder)
        return {
            row.part: row.origin for row in explain(recipe, folder / "m.onnx", (), SilentProgress())
        }

    return of


@pytest.mark.parametrize("kind", UNSTATED)
def test_nothing_that_is_not_stated_goes_unsaid(kind: str, found: Callable[[str], Found]) -> None:
    _, assumed, parts = UNSTATED[kind]

    done, said, shown = found(kind)

    assert done.card.normalization is not None
    assert done.card.normalization.assumed == assumed
    assert ("mean and std ASSUMED" in shown) == bool(assumed)
    assert any("are assumed: the network's source" in hint for hint in done.hints) == bool(assumed)
    frame = [hint for hint in done.hints if "of the input (" in hint]
    assert [hint.partition(" of the input")[0] for hint in frame] == [parts] * bool(parts)
    assert any("mean and std are" in one for one in said) == bool(parts)
    assert done.card.input is not None
    assert done.card.input.words in shown
    assert "softmax" in shown


SILENT = {"python", "python, random weights", "program", "torchscript", "onnx"}
"""The kinds of source that can not state the softmax, the order of the colors and the resize."""

ASSUMED = "ASSUMED, since nothing states it"
STATED: dict[str, Any] = {
    "classify": {"activation": "softmax"},
    "input": {**SIZE, "resize": "stretch"},
    "pixels": {"color": "rgb"},
}


@pytest.mark.parametrize("kind", UNSTATED)
def test_softmax_colors_and_resize_are_named_where_nothing_states_them(
    kind: str, found: Callable[[str], Found], origins: Callable[[str], dict[str, str]]
) -> None:
    is_silent = kind in SILENT

    done, _, shown = found(kind)

    hints = [hint for hint in done.hints if hint.startswith(ASSUMED)]
    assert len(hints) == is_silent
    for said in ("--multi-label", "RGB (else --color bgr)", "(else --resize "):
        assert all(said in hint for hint in hints)
    for row in (
        "softmax; that an image has one class is ASSUMED",
        "rgb (ASSUMED)",
        "the resize is ASSUMED",
    ):
        assert (row in shown) == is_silent
    explained = origins(kind)
    assert explained["color"].startswith("default: ") or not is_silent
    assert explained["activation"].startswith("assumed: ") == is_silent


@pytest.mark.parametrize("kind", sorted(SILENT))
def test_softmax_colors_and_resize_that_are_stated_are_not_assumed(
    kind: str, tmp_path: Path
) -> None:
    make, _, _ = UNSTATED[kind]

    done, _ = exported(lambda folder: {**make(folder), **STATED}, tmp_path)

    assert done.assumed == ()
    assert not any(hint.startswith(ASSUMED) for hint in done.hints)
    assert "ASSUMED" not in table(done).replace("mean and std ASSUMED", "")


def _maps(folder: Path, *end: onnx.NodeProto) -> dict[str, Any]:
    onnx.save(network(*end, maps=True), folder / "net.onnx")
    return {"source": "onnx:net.onnx", "task": "segment", "labels": ("a", "b", "c")}


def test_that_a_pixel_has_one_class_is_assumed_of_maps_of_logits(tmp_path: Path) -> None:
    done, _ = exported(lambda folder: _maps(folder, op("Identity")), tmp_path)

    (hint,) = [one for one in done.hints if one.startswith(ASSUMED)]
    assert "each pixel has one class, by a softmax over all" in hint
    assert done.activation == "softmax; that a pixel has one class is ASSUMED"


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_a_softmax_in_the_graph_is_not_assumed(operator: str, tmp_path: Path) -> None:
    done, _ = exported(lambda folder: _maps(folder, op(operator, axis=1)), tmp_path)

    assert done.assumed == ("color", "resize")
    assert done.activation is not None
    assert "ASSUMED" not in done.activation


@pytest.mark.parametrize("kind", UNSTATED)
def test_an_explanation_says_what_is_not_stated(
    kind: str, origins: Callable[[str], dict[str, str]]
) -> None:
    _, assumed, parts = UNSTATED[kind]

    explained = origins(kind)

    for part in BOTH:
        is_open = explained[part].startswith(("default: ", "assumed: "))
        assert is_open == (part in assumed) or kind == "onnx of ultralytics"
    said = explained["input"]
    assert f"{parts} assumed: " in said if parts else "assumed" not in said


@pytest.mark.parametrize("make", [_timm, _torchvision, _trainer_checkpoint])
def test_what_the_recipe_states_is_not_assumed(make: Make, tmp_path: Path) -> None:
    stated = {
        "input": {**SIZE, "resize": "stretch", "interpolation": "bilinear"},
        "pixels": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }

    done, said = exported(make, tmp_path, **stated)

    assert done.card.normalization is not None
    assert done.card.normalization.assumed == ()
    assert done.card.normalization.mean == (0.5, 0.5, 0.5)
    assert not [hint for hint in done.hints if "assumed" in hint]
    assert not [one for one in said if "mean" in one]


def test_only_what_is_left_open_is_assumed(tmp_path: Path) -> None:
    done, _ = exported(_timm, tmp_path, input={**SIZE, "resize": "stretch"})

    (hint,) = [one for one in done.hints if "of the input (" in one]
    assert hint.startswith(f"interpolation of the input ({SIDE}×{SIDE} (height × width)")
    assert "is assumed: those that timm publishes for test_efficientnet" in hint
    assert hint.endswith("To state what it used: --interpolation")


def test_what_the_file_says_of_its_images_is_in_the_hint(tmp_path: Path) -> None:
    state = timm.create_model(TIMM, num_classes=4).state_dict()
    args = argparse.Namespace(lr=0.1, img_size=64, interpolation="bicubic", mean=None)
    torch.save({"epoch": 3, "state_dict": state, "args": args}, tmp_path / "last.pth")

    done, _ = exported(lambda _: {"source": f"timm:{TIMM}", "weights": "last.pth"}, tmp_path)

    (hint,) = [one for one in done.hints if "of the input (" in one]
    assert "The file of the weights says img_size 64, interpolation bicubic." in hint


class Light(torch.nn.Module):
    """Calls an image light where its values are above zero on average, as after a training on −1 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 8, 8, bias=False)
        with torch.no_grad():
            self.conv.weight[:] = torch.tensor([0.1, -0.1])[:, None, None, None]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.conv(pixels).mean((2, 3))
        return logits


def test_with_labeled_images_a_program_gets_the_hint_of_better_values(tmp_path: Path) -> None:
    for label, level in {"light": 200, "dark": 60}.items():
        (tmp_path / "set" / label).mkdir(parents=True)
        for index in range(16):
            gray = Image.new("L", (SIDE, SIDE), level + index)
            gray.save(tmp_path / "set" / label / f"{index}.png")
    save_program(Light(), tmp_path)

    done, _ = exported(
        lambda _: {"source": "program:net.pt2", "labels": ("light", "dark")},
        tmp_path,
        proof={**QUICK, "labeled": "set"},
    )

    (hint,) = [one for one in done.hints if "with what is assumed" in one]
    assert hint.startswith("top1 of the source is 50.0% with what is assumed, 100.0% with")
    assert "--mean 0.5 --std 0.5" in hint


def test_a_program_that_divides_bytes_itself_gets_bytes(tmp_path: Path) -> None:
    class Divides(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small()

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.net(pixels / 255)
            return scores

    save_program(Divides(), tmp_path)

    done, _ = exported(lambda _: {"source": "program:net.pt2"}, tmp_path)

    assert done.card.normalization is not None
    assert (done.card.normalization.scale, done.card.normalization.assumed) == (1.0, ())
