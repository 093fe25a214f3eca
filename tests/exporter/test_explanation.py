"""An explanation says every value of an export and where it comes from."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from rich.console import Console

from exporter.errors import RecipeError
from exporter.explanation import Explained, explain, show_explanation
from exporter.guessing.granted import Granted
from exporter.images import photographs
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
from tests.exporter.found import CELLS, boxes_of, detector, scores_of
from tests.exporter.found import LABELS as DETECTED
from tests.exporter.graphs import normal, pixel_graph
from tests.exporter.heads.dense import as_form, dense_boxes
from tests.exporter.nets import SIDE, conv_onnx

LABELS = [f"thing {index}" for index in range(64)]
FILE = Path("models/net/1/model.onnx")


def rows(
    folder: Path, *granted: Granted, activation: str | None = None, **fields: Any
) -> dict[str, tuple[str, str]]:
    """Return value and origin of each part, for a classifier of 64 classes."""
    onnx.save(conv_onnx([-1, 64], activation=activation), folder / "net.onnx")
    content = {
        "source": "onnx:net.onnx",
        "task": "classify",
        "name": "net",
        "labels": LABELS,
        "proof": {"limit": 2},
        "folder": folder,
        **fields,
    }
    found = explain(make_recipe(content), FILE, granted, SilentProgress())
    assert not list(folder.glob("**/model.onnx"))
    return {one.part: (one.value, one.origin) for one in found}


def test_what_is_stated_and_what_is_not(tmp_path: Path) -> None:
    found = rows(tmp_path)

    unknown = "default: onnx does not state it"
    assert found == {
        "source": ("onnx:net.onnx", "given"),
        "file": ("models/net/1/model.onnx (not written now)", "--name"),
        "task": ("classify", "--task"),
        "labels": ("64: thing 0, thing 1, thing 2, thing 3, …", "--labels"),
        "input": (
            f"{SIDE}×{SIDE} (height × width): the whole image, stretched, bilinear",
            "stated by onnx, resize and interpolation default: onnx does not state them",
        ),
        "scale": ("0.00392157", unknown),
        "mean": ("0, 0, 0", unknown),
        "std": ("1, 1, 1", unknown),
        "color": ("rgb", unknown),
        "layout": ("NCHW", "the shape of the file's input"),
        "outputs": ("logits, probabilities, features", "task classify"),
        "activation": (
            "softmax; that an image has one class is ASSUMED",
            "assumed: nothing states it",
        ),
        "precision": ("fp32 (within 0.001)", "default"),
        "proof": found["proof"],
    }


def test_the_proof_is_said_with_its_batches_and_images(tmp_path: Path) -> None:
    value, origin = rows(tmp_path, proof={"limit": 2, "largest": 5, "tolerance": 0.01})["proof"]

    assert "at batch 1, 2, 3, 5 within 0.01, and on 2 images, of which 95% must agree" in value
    assert value.startswith("against the source file in ONNX Runtime ")
    assert origin.startswith("scikit-image's photographs")
    smaller = rows(tmp_path, proof={"limit": 1, "largest": 2})["proof"][0]
    assert "at batch 1, 2 within" in smaller


def test_images_of_the_user_s_own_are_an_option(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(photographs(1)[0])

    value, origin = rows(tmp_path, proof={"images": "photos"})["proof"]

    assert "on 1 image," in value
    assert origin == "--images"


def test_options_and_what_is_granted_are_named(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        Granted("name", "net", "the file's name"),
        Granted("mean", "0.5", "stated in config.json"),
        input={"resize": "letterbox", "interpolation": "bicubic"},
        pixels={"mean": [0.5, 0.5, 0.5], "color": "bgr"},
        precision=["int8", "fp32"],
    )

    assert found["file"][1] == "the file's name"
    assert found["mean"] == ("0.5, 0.5, 0.5", "stated in config.json")
    assert found["color"] == ("bgr", "--color")
    assert found["std"][1] == "default: onnx does not state it"
    assert found["input"] == (
        f"{SIDE}×{SIDE} (height × width): the whole image, with a border, bicubic",
        "stated by onnx, --resize, --interpolation",
    )
    value, origin = found["precision"]
    assert value.startswith("int8 (within ")
    assert value.endswith("fp32 (within 0.001)")
    assert origin == "--precision"


def test_a_crop_is_said_with_its_shorter_side(tmp_path: Path) -> None:
    value, origin = rows(tmp_path, input={"resize": "crop", "shorter_side": 40})["input"]

    assert "the center, after the shorter side is resized to 40" in value
    assert origin == (
        "stated by onnx, --resize, --shorter-side, interpolation default: onnx does not state it"
    )


def test_a_resize_that_the_file_s_tool_stands_for_is_said_so(tmp_path: Path) -> None:
    granted = Granted("resize", "letterbox", "as Ultralytics detects")

    _, origin = rows(tmp_path, granted, input={"resize": "letterbox", "height": SIDE})["input"]

    assert origin == (
        "--height, stated by onnx, as Ultralytics detects, interpolation default: onnx does not state it"
    )


@pytest.mark.parametrize(
    ("end", "stated", "value", "origin"),
    [
        (
            "Softmax",
            None,
            "softmax, inside the network",
            "the graph's end and its values on images",
        ),
        (
            "Sigmoid",
            None,
            "sigmoid, inside the network",
            "the graph's end and its values on images",
        ),
        (None, "softmax", "softmax", "--activation"),
        (None, "sigmoid", "sigmoid", "--activation"),
    ],
)
def test_the_activation_is_the_settled_one(
    end: str | None, stated: str | None, value: str, origin: str, tmp_path: Path
) -> None:
    fields = {"classify": {"activation": stated}} if stated else {}

    assert rows(tmp_path, activation=end, **fields)["activation"] == (value, origin)


def test_an_embedder_has_neither_labels_nor_an_activation(tmp_path: Path) -> None:
    found = rows(tmp_path, task="embed", labels=())

    assert found["labels"][0] == "none"
    assert found["outputs"] == ("features", "task embed")
    assert "activation" not in found


@pytest.mark.parametrize(
    ("labels", "shown"),
    [(["a", "", "c", "d"], "4: a, –, c, d"), (list("abcde"), "5: a, b, c, d, …")],
)
def test_four_labels_are_shown_with_gaps(labels: list[str], shown: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["pixels", "w"], ["map"]),
        helper.make_node("Flatten", ["map"], ["raw"]),
    ]
    weights = normal(4, 3, 16, 16) if len(labels) == 4 else np.ones((5, 3, 16, 16), np.float32)
    weights[0] *= 2
    onnx.save(pixel_graph(*nodes, w=weights), tmp_path / "few.onnx")
    recipe = make_recipe(
        {
            "source": "onnx:few.onnx",
            "task": "classify",
            "name": "net",
            "labels": labels,
            "proof": {"limit": 1},
            "folder": tmp_path,
        }
    )

    found = explain(recipe, FILE, (), SilentProgress())

    assert next(one for one in found if one.part == "labels").value == shown


def test_a_temporal_head_has_no_explanation() -> None:
    recipe = make_recipe({"source": "train:a:b", "task": "temporal", "name": "net"})

    with pytest.raises(RecipeError, match="not for task temporal"):
        explain(recipe, FILE, (), SilentProgress())


def test_the_table_has_a_row_for_each_part() -> None:
    console = Console(width=100, record=True, file=None, quiet=False, force_terminal=False)
    table = show_explanation([Explained("mean", "0.5", "--mean"), Explained("std", "1", "default")])
    with console.capture() as capture:
        console.print(table)
    text = [" ".join(line.split()) for line in capture.get().splitlines()]

    assert text[0] == "What the export would do"
    assert any("│ mean │ 0.5 │ --mean │" in line for line in text)
    assert any("│ std │ 1 │ default │" in line for line in text)


def detected(
    folder: Path, rows_of: NDArray[np.float32], **detect: Any
) -> dict[str, tuple[str, str]]:
    """Return value and origin of each part, for a detector with this output."""
    onnx.save(detector({"output0": rows_of}), folder / "net.onnx")
    content = {
        "source": "onnx:net.onnx",
        "task": "detect",
        "name": "net",
        "labels": DETECTED,
        "proof": {"limit": 2},
        "folder": folder,
        "detect": detect,
    }
    found = explain(make_recipe(content), FILE, (), SilentProgress())
    return {one.part: (one.value, one.origin) for one in found}


def test_how_boxes_are_read_is_said_and_what_shows_it(tmp_path: Path) -> None:
    boxes = as_form(dense_boxes((64, 64), images=1), "yxhw")
    found = detected(tmp_path, np.concatenate([boxes, scores_of(CELLS)], axis=2).transpose(0, 2, 1))
    assert found["decoder"] == ("yolov8", "the outputs' shapes, and values on images")
    assert found["boxes"] == ("yxhw in pixels", "the source, or values on images")
    assert found["suppression"] == (
        "in each request",
        "the form of the outputs, or values on images",
    )

    queries = np.concatenate([boxes_of(30, "cxcywh"), scores_of(30)], axis=2)
    found = detected(tmp_path, queries)
    assert found["boxes"] == (
        "cxcywh in 0–1 of the frame",
        "format assumed: nothing shows it",
    )
    assert found["suppression"][0] == "none: each object has one box"
    stated = {"box_format": "cxcywh", "box_unit": "frame", "nms_free": False, "decoder": "detr"}
    found = detected(tmp_path, queries, **stated)
    assert found["decoder"] == ("detr", "--decoder")
    assert found["boxes"][1] == "--box-format, --box-unit"
    assert found["suppression"] == ("in each request", "--no-nms-free")


def test_a_network_that_divides_bytes_itself_says_so(tmp_path: Path) -> None:
    model = conv_onnx([-1, 64])
    model.graph.initializer.append(numpy_helper.from_array(np.array(255, np.float32), "largest"))
    entry = model.graph.input[0].name
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == entry:
                node.input[index] = "shares"
    model.graph.node.insert(0, helper.make_node("Div", [entry, "largest"], ["shares"]))
    onnx.save(model, tmp_path / "own.onnx")
    found = rows(tmp_path, source="onnx:own.onnx")
    assert found["scale"] == ("1", "the network itself multiplies pixel values by 0.003922")


def labeled_folders(folder: Path, *names: str) -> dict[str, str]:
    for name in names:
        (folder / "set" / name).mkdir(parents=True)
        (folder / "set" / name / "a.jpg").write_bytes(photographs(1)[0])
    return {"labeled": "set"}


def test_labeled_images_that_an_export_would_refuse_are_refused(tmp_path: Path) -> None:
    proof = {"limit": 2, **labeled_folders(tmp_path, "thing 1", "thing 64")}

    with pytest.raises(RecipeError, match=r"--labeled set: 'thing 64'.*no such class"):
        rows(tmp_path, proof=proof)


def test_labeled_images_are_held_against_the_network_too(tmp_path: Path) -> None:
    """That an image may have only one label, the outputs show."""
    (tmp_path / "a.jpg").write_bytes(photographs(1)[0])
    (tmp_path / "set.csv").write_text("file,label\na.jpg,thing 1|thing 2\n")

    with pytest.raises(RecipeError, match=r"--labeled set\.csv: .*an image can have only one"):
        rows(tmp_path, proof={"limit": 2, "labeled": "set.csv"})


def test_a_folder_without_images_of_a_class_is_refused(tmp_path: Path) -> None:
    proof = {"limit": 2, **labeled_folders(tmp_path, "thing 1")}
    (tmp_path / "set" / "thing 2").mkdir()

    with pytest.raises(RecipeError, match=r"--labeled .*there is no image in thing 2"):
        rows(tmp_path, proof=proof)


def test_labeled_images_that_fit_are_no_reason_to_refuse(tmp_path: Path) -> None:
    proof = {"limit": 2, **labeled_folders(tmp_path, "thing 1", "63")}

    assert rows(tmp_path, proof=proof)["task"] == ("classify", "--task")
