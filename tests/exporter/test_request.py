"""The command line's request, and the recipe file that makes the servable again."""

import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import timm
import torch
from PIL import Image
from typer.main import get_command

from exporter.checks import check_labels
from exporter.cli import app, main
from exporter.errors import RecipeError
from exporter.network import Facts
from exporter.recipe import make_recipe
from exporter.request import make_request
from service.servable_file import read_card
from tests.exporter.nets import SIDE, conv_onnx, small

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, while it traces and scripts
]

PLACES = (SIDE // 8) ** 2
CODE = """
import torch
from exporter.network import Facts
from exporter.recipe import Pixels
from exporter.torch_network import TorchModel
from service.card import ImageInput
from tests.exporter.nets import LABELS, small

def train(progress):
    frame = ImageInput(height=32, width=32, resize="stretch")
    return TorchModel(small(), Facts("Trained", "here", labels=LABELS), frame, Pixels())
"""


def run(*words: str) -> int:
    """Run the command line and return its exit code."""
    with pytest.raises(SystemExit) as stopped:
        main(words)
    return int(stopped.value.code or 0)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a network in every form, in a folder whose name is not plain."""
    folder = tmp_path / 'my "work" \N{CAT FACE}'
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("labels \N{CAT FACE}.txt").write_text("cat\ncup\nrocket\nmoon\n")
    Path("many.txt").write_text("thing\n" * 4 * PLACES)
    Path("shots").mkdir()
    for shade in (40, 90, 160, 220):
        Image.new("RGB", (40, 40), (shade, 255 - shade, 128)).save(f"shots/{shade}.png")
    Path("own_code.py").write_text(CODE + "\nfrom tests.exporter.nets import Small as Net\n")
    torch.save(small().state_dict(), "w.pt")
    onnx.save(conv_onnx([-1, 4 * PLACES]), "net.onnx")
    yield folder
    sys.modules.pop("own_code", None)


def program(path: str) -> None:
    images = (torch.zeros(2, 3, SIDE, SIDE),)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    torch.export.save(torch.export.export(small(), images, dynamic_shapes=shapes), path)


def script(path: str) -> None:
    torch.jit.trace(small(), torch.zeros(2, 3, SIDE, SIDE)).save(path)  # type: ignore[no-untyped-call]


SIZE = ["--height", "32", "--width", "32", "--resize", "stretch"]
LABELS = ["--labels", "labels \N{CAT FACE}.txt"]
SOURCES: dict[str, list[str]] = {
    "onnx": ["onnx:net.onnx", "--labels", "many.txt", "--outputs", "raw"],
    "python": ["python:own_code:Net", "--weights", "w.pt", *SIZE, *LABELS, "--color", "bgr"],
    "program": ["program:net.pt2", *LABELS],
    "torchscript": ["torchscript:net.ts", *SIZE, *LABELS, "--mean", "0.5", "--std", "0.2,0.3,0.4"],
    "train": ["train:own_code:train"],
    "timm": ["timm:test_vit", "--weights", "t.pt", "--arg", "num_classes=4", *LABELS],
    "random weights": ["timm:test_resnet", "--weights", "none", "--arg", "num_classes=4", *LABELS],
    "random weights of own code": ["python:own_code:Net", "--weights", "none", *SIZE, *LABELS],
    "torchvision": ["torchvision:squeezenet1_1", "--weights", "none", *SIZE],
    "transformers": ["transformers:network"],
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_recipe_makes_the_same_file_again_from_any_working_folder(
    kind: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "program":
        program("net.pt2")
    if kind == "torchscript":
        script("net.ts")
    if kind == "timm":
        torch.manual_seed(0)
        torch.save(timm.create_model("test_vit", num_classes=4).state_dict(), "t.pt")
    if kind == "transformers":
        pretrained = pytest.importorskip("tests.exporter.sources.pretrained")
        pretrained.saved(pretrained.vit, Path())
    title = 'Small "net" \N{CAT FACE}\nof two lines'
    words = ["--task", "classify", "--name", "net", "--images", "shots", "--title", title]
    assert run(*SOURCES[kind], *words, "--agreement", "0", "--score", "COCO mAP@0.5=0.25") == 0
    servable = work / "models/net/1/model.onnx"
    first = hashlib.sha256(servable.read_bytes()).hexdigest()
    servable.unlink()
    sys.modules.pop("own_code", None)
    monkeypatch.chdir(work.parent)

    assert run(str(servable.with_name("recipe.toml"))) == 0

    assert hashlib.sha256(servable.read_bytes()).hexdigest() == first
    card = read_card(servable)
    assert (card.title, card.scores) == (title.replace("\n", " "), {"COCO mAP@0.5": 0.25})
    assert str(work) not in servable.with_name("recipe.toml").read_text()


def test_each_version_has_the_recipe_that_made_it(work: Path) -> None:
    words = ["onnx:net.onnx", "--task", "classify", "--name", "net", "--labels", "many.txt"]
    assert run(*words, "--title", "First") == 0
    assert run(*words, "--title", "Second", "--scale", "0.01") == 0
    models = work / "models/net"
    assert sorted(path.relative_to(models).as_posix() for path in models.rglob("*.*")) == [
        "1/model.onnx",
        "1/recipe.toml",
        "2/model.onnx",
        "2/recipe.toml",
    ]
    for version, title in (("1", "First"), ("2", "Second")):
        before = (models / version / "model.onnx").read_bytes()
        assert run(str(models / version / "recipe.toml")) == 0
        assert (models / version / "model.onnx").read_bytes() == before
        assert read_card(models / version / "model.onnx").title == title
    assert not (models / "3").exists()


def test_a_recipe_still_works_where_the_whole_folder_was_moved(work: Path) -> None:
    words = ["onnx:net.onnx", "--task", "classify", "--name", "net", "--labels", "many.txt"]
    assert run(*words, "--images", "shots") == 0
    moved = work.parent / "elsewhere"
    shutil.move(work, moved)
    shutil.copytree(moved, work)  # so that the working folder of the test exists
    (moved / "models/net/1/model.onnx").unlink()
    assert run(str(moved / "models/net/1/recipe.toml")) == 0
    assert (moved / "models/net/1/model.onnx").exists()


def test_a_recipe_in_a_model_s_own_folder_makes_the_version_that_it_states(work: Path) -> None:
    Path("models/net").mkdir(parents=True)
    Path("models/net/recipe.toml").write_text(
        'source = "onnx:../../net.onnx"\ntask = "classify"\nname = "net"\nversion = 3\n'
        'labels = "../../many.txt"\n'
    )
    assert run("models/net/recipe.toml") == 0
    assert (work / "models/net/3/model.onnx").exists()


def test_words_that_are_also_names_of_files_stay_words(work: Path) -> None:
    Path("net").write_text("a file of this name")
    Path("Cats").write_text("a file of this name")
    words = ["onnx:net.onnx", "--task", "classify", "--name", "net", "--labels", "many.txt"]
    assert run(*words, "--title", "Cats") == 0
    recipe = (work / "models/net/1/recipe.toml").read_text()
    assert 'name = "net"' in recipe
    assert 'title = "Cats"' in recipe


def values_of(*words: str) -> dict[str, Any]:
    command = get_command(app).commands["export"]  # type: ignore[attr-defined] # typer's group
    return dict(command.make_context("export", list(words)).params)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--name", "other"], "--name beside recipe.toml"),
        (["--precision", "fp16", "--task", "embed"], "--task, --precision beside recipe.toml"),
        (["--models", "elsewhere"], "--models beside recipe.toml"),
        (["--multi-label"], "--multi-label beside recipe.toml"),
        (["--arg", "n=1"], "--arg beside recipe.toml"),
    ],
)
def test_options_beside_a_recipe_are_refused(words: list[str], named: str) -> None:
    values = values_of("recipe.toml", *words)
    with pytest.raises(RecipeError, match=named):
        make_request("recipe.toml", values, values.pop("models"))


def test_a_name_that_no_recipe_can_hold_is_refused_before_any_work(work: Path) -> None:
    values = values_of("onnx:net\udce9.onnx", "--task", "classify", "--name", "net")
    with pytest.raises(RecipeError, match=r"the recipe can not be written: .* no text in UTF-8"):
        make_request("onnx:net\udce9.onnx", values, values.pop("models"))
    assert not (work / "models").exists()


ONNX = ("onnx:net.onnx", "--task", "classify", "--name", "net", "--labels", "many.txt")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--decoder", "yolov8"], "--decoder: only --task detect reads this"),
        (["--background-id", "0"], "--background-id: only --task segment"),
        (["--arg", "a=1"], "it is the value of an input beside the image"),
        (["--weights", "none"], "--weights is for sources that build a network"),
        (["--arg", "a=1", "--arg", "a=2"], "--arg a=… is given twice"),
        (["--mean", "1,2"], "--mean 1,2: write 3 numbers"),
        (["--largest-batch", "0"], "--largest-batch: "),
        (["--agreement", "2"], "--agreement: "),
    ],
)
def test_an_option_that_is_wrong_or_not_read_is_refused_by_its_name(
    words: list[str], message: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ONNX, *words) == 1
    assert message in capsys.readouterr().out
    assert not (work / "models").exists()


def test_a_background_that_is_no_class_is_refused() -> None:
    fields = {"source": "onnx:n.onnx", "task": "segment", "name": "n", "labels": ("a", "b")}
    for background, is_right in ((-1, False), (0, True), (1, True), (2, False)):
        recipe = make_recipe({**fields, "segment": {"background_id": background}})
        if is_right:
            assert check_labels(recipe, Facts("n", "n"), 2) == ("a", "b")
            continue
        with pytest.raises(
            RecipeError, match=f"--background-id {background}: .* 2 classes, 0 to 1"
        ):
            check_labels(recipe, Facts("n", "n"), 2)
