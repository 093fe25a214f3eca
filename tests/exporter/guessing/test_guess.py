"""What a command line need not state, because the file states it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import nn

from exporter.errors import ExportError, RecipeError, SourceError
from exporter.guessing.asking import with_answers
from exporter.guessing.guess import Missing, check_label_count, guess, missing
from tests.exporter.found import CELLS, boxes_of, detector, scores_of


def graph_file(
    path: Path, *outputs: list[int | str], size: int | str = 64, **metadata: str
) -> Path:
    """Write an ONNX file with an image input, outputs of these shapes, and metadata; it computes nothing."""
    entry = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, size, size])
    made = [
        helper.make_tensor_value_info(f"output{index}", TensorProto.FLOAT, dims)
        for index, dims in enumerate(outputs)
    ]
    nodes = [helper.make_node("Identity", ["images"], [value.name]) for value in made]
    model = helper.make_model(helper.make_graph(nodes, "g", [entry], made))
    helper.set_model_props(model, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def ultralytics(task: str, names: str, imgsz: str = "[64, 64]") -> dict[str, str]:
    """Return the metadata that `yolo export format=onnx` writes."""
    return {"author": "Ultralytics", "task": task, "stride": "32", "names": names, "imgsz": imgsz}


def given(word: str, **options: Any) -> dict[str, Any]:
    """Return the options that were guessed for a word, without those that are given."""
    found = guess(word, options)
    return {one.parameter: one.value for one in found.granted}


@pytest.mark.parametrize(
    ("dims", "decoder"),
    [
        (["n", 84, 8400], "yolov8"),
        (["n", 25200, 85], "yolov5"),
        (["n", 300, 6], "end2end"),
    ],
)
def test_a_detector_of_ultralytics_is_known_by_its_metadata_and_shape(
    dims: list[int | str], decoder: str, tmp_path: Path
) -> None:
    names = str({index: f"thing {index}" for index in range(80)})
    path = graph_file(tmp_path / "yolov8n.onnx", dims, **ultralytics("detect", names))

    assert given(str(path)) == {
        "task": "detect",
        "resize": "letterbox",
        "decoder": decoder,
        "name": "yolov8n",
    }
    assert missing(f"onnx:{path}", guess(str(path), {}).values) == ()


@pytest.mark.parametrize(
    ("stated", "dims", "decoder"),
    [
        ({"head": "RTDETRDecoder"}, ["n", 300, 6], "end2end"),
        ({"description": "Ultralytics rtdetr-l model"}, ["n", 300, 84], "detr"),
    ],
)
def test_rt_detr_of_ultralytics_stretches_images_and_gives_boxes_in_0_to_1(
    stated: dict[str, str], dims: list[int | str], decoder: str, tmp_path: Path
) -> None:
    """As Ultralytics 8.4 writes it (`RTDETRDecoder`) and reads it (`RTDETRPredictor`, `scale_fill`), and as 8.0 did."""
    names = str({index: f"thing {index}" for index in range(80)})
    path = graph_file(tmp_path / "rtdetr.onnx", dims, **ultralytics("detect", names), **stated)

    assert given(str(path)) == {
        "task": "detect",
        "resize": "stretch",
        "box_unit": "frame",
        "box_format": "cxcywh",
        "decoder": decoder,
        "name": "rtdetr",
    }


def test_two_classes_are_no_end_to_end_detector(tmp_path: Path) -> None:
    props = ultralytics("detect", "{0: 'cat', 1: 'dog'}")
    path = graph_file(tmp_path / "two.onnx", ["n", 6, 84], **props)

    assert given(str(path))["decoder"] == "yolov8"


def test_a_dynamic_file_of_ultralytics_states_its_size_in_the_metadata(tmp_path: Path) -> None:
    props = ultralytics("classify", "{0: 'cat', 1: 'dog'}", "[224, 192]")
    path = graph_file(tmp_path / "best.onnx", ["n", 2], size="side", **props)

    found = given(str(path))

    assert (found["height"], found["width"]) == (224, 192)
    assert (found["resize"], found["shorter_side"]) == ("crop", 224)


def test_a_task_of_ultralytics_without_a_head_is_refused(tmp_path: Path) -> None:
    props = ultralytics("pose", "{0: 'person'}")
    path = graph_file(tmp_path / "pose.onnx", ["n", 56, 84], **props)

    with pytest.raises(SourceError, match="'pose'"):
        guess(str(path), {})


@pytest.mark.parametrize(
    ("outputs", "task"),
    [
        ([["n", 10]], "classify"),
        ([["n", 3, 64, 64]], "segment"),
        ([["n", 100, 4], ["n", 100, 7]], "detect"),
        ([["n", 3, 1, 1]], None),
        ([["n", 10], ["n", 10]], None),
    ],
)
def test_the_shapes_of_an_onnx_file_show_its_task(
    outputs: list[list[int | str]], task: str | None, tmp_path: Path
) -> None:
    path = graph_file(tmp_path / "net.onnx", *outputs)

    assert given(str(path)).get("task") == task
    assert ("--task" in {one.option for one in missing(f"onnx:{path}", {"task": task})}) == (
        task is None
    )


@pytest.mark.parametrize("task", ["embed", "classify"])
def test_the_classes_in_a_file_s_metadata_are_not_those_of_its_features(
    task: str, tmp_path: Path
) -> None:
    path = graph_file(tmp_path / "net.onnx", ["n", 3])
    model = onnx.load(path)
    model.metadata_props.add(key="classes", value='["a", "b", "c"]')
    onnx.save(model, path)

    assert ("labels" in given(str(path), task=task)) == (task == "classify")


def test_what_is_given_is_not_guessed(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "net.onnx", ["n", 10])

    found = given(str(path), task="embed", name="mine", labels="x.txt")

    assert found == {}


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("flowers/best.onnx", "flowers"),
        ("flowers/weights/best.onnx", "flowers"),
        ("My Net (v2).onnx", "my-net-v2"),
        ("日本.onnx", "network"),
        ("x" * 100 + ".onnx", "x" * 64),
    ],
)
def test_the_name_is_the_files_or_the_folders(place: str, name: str, tmp_path: Path) -> None:
    path = graph_file(tmp_path / place, ["n", 10])

    assert given(str(path))["name"] == name


@pytest.mark.parametrize("file", ["labels.txt", "classes.txt", "data.yaml", "labels.json"])
def test_labels_beside_the_network_are_taken(file: str, tmp_path: Path) -> None:
    path = graph_file(tmp_path / "net.onnx", ["n", 2])
    (tmp_path / file).write_text("[]")

    assert given(str(path))["labels"] == str(tmp_path / file)


def test_labels_in_the_metadata_are_taken(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "net.onnx", ["n", 2], classes="cat,dog")
    assert given(str(path))["labels"] == str(path)


def test_labels_beside_the_weights_are_taken(tmp_path: Path) -> None:
    weights = tmp_path / "cats.pth"
    torch.save({"state_dict": {}, "class_to_idx": {"cat": 0, "dog": 1}}, weights)

    found = given("torchvision:resnet18", weights=str(weights))

    assert found == {"task": "classify", "labels": str(weights), "name": "resnet18"}


@pytest.mark.parametrize(
    ("word", "task"),
    [
        ("torchvision:resnet50", "classify"),
        ("torchvision:deeplabv3_resnet50", "segment"),
        ("torchvision:fcn_resnet50", "segment"),
        ("torchvision:lraspp_mobilenet_v3_large", "segment"),
        ("torchvision:ssd300_vgg16", "detect"),
        ("torchvision:fasterrcnn_resnet50_fpn", "detect"),
        ("timm:vit_tiny_patch16_224", "classify"),
    ],
)
def test_a_named_network_states_its_task(word: str, task: str) -> None:
    assert given(word)["task"] == task


def test_a_folder_of_transformers(tmp_path: Path) -> None:
    config = {"model_type": "segformer", "architectures": ["SegformerForSemanticSegmentation"]}
    (tmp_path / "config.json").write_text(json.dumps(config))

    found = guess(str(tmp_path), {})

    assert found.source == f"transformers:{tmp_path}"
    assert found.values["task"] == "segment"
    assert missing(found.source, found.values) == ()


def test_a_folder_of_timm(tmp_path: Path) -> None:
    config = {
        "architecture": "resnet18",
        "num_classes": 3,
        "label_names": ["cat", "dog", "bird"],
        "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()

    found = guess(str(tmp_path), {})

    assert found.source == "timm:resnet18"
    assert found.values["weights"] == str(tmp_path / "model.safetensors")
    assert found.values["arg"] == ["num_classes=3"]
    assert found.values["labels"] == str(tmp_path / "config.json")
    assert found.values["mean"] == "0.5,0.5,0.5"


def test_a_folder_with_one_network(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "weights/best.onnx", ["n", 10])
    assert guess(str(tmp_path), {}).source == f"onnx:{path}"


def test_a_folder_with_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").touch()
    assert guess(str(tmp_path), {}).source == str(tmp_path / "recipe.toml")


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")
def test_files_of_pytorch_are_distinguished_by_what_is_in_them(tmp_path: Path) -> None:
    net = nn.Conv2d(3, 3, 1)
    script, program = tmp_path / "script.pt", tmp_path / "program.pt"
    torch.jit.trace(net, torch.zeros(1, 3, 8, 8)).save(str(script))  # type: ignore[no-untyped-call]
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 8, 8),)), program)

    assert guess(str(script), {}).source == f"torchscript:{script}"
    assert guess(str(program), {}).source == f"program:{program}"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("net.keras", "Convert it with Keras"),
        ("net.tflite", "tf2onnx"),
        ("net.engine", "TensorRT"),
        ("net.pkl", "is empty"),
        ("net.jpg", "is empty"),
        ("net", "is empty"),
    ],
)
def test_a_file_of_another_tool_gets_its_next_step(file: str, words: str, tmp_path: Path) -> None:
    (tmp_path / file).touch()

    with pytest.raises(SourceError) as caught:
        guess(str(tmp_path / file), {})

    assert words in str(caught.value)
    assert file in str(caught.value)


def test_weights_alone_are_no_network(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "a.pth")
    save_file({"w": torch.zeros(1)}, tmp_path / "b.safetensors")

    for name in ("a.pth", "b.safetensors"):
        with pytest.raises(SourceError, match="contains weights and not the network"):
            guess(str(tmp_path / name), {})


def test_a_checkpoint_of_ultralytics_is_to_be_exported_first(tmp_path: Path) -> None:
    torch.save({"train_args": "ultralytics.nn.tasks.DetectionModel"}, tmp_path / "best.pt")

    with pytest.raises(SourceError, match=r"yolo export model=.*best\.pt format=onnx"):
        guess(str(tmp_path / "best.pt"), {})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _folder: None, "holds no network"),
        (lambda folder: [graph_file(folder / n, ["n", 2]) for n in ("a.onnx", "b.onnx")], "a.onnx, b.onnx"),
        (lambda folder: (folder / "saved_model.pb").touch(), "--saved-model"),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_say_which_network_is_refused(
    make: Any, words: str, tmp_path: Path
) -> None:
    make(tmp_path)

    with pytest.raises(ExportError) as caught:
        guess(str(tmp_path), {})

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("none.onnx", "no such file"),
        ("onnx:none.onnx", "there is no file none.onnx"),
        ("onnx:", "nothing follows"),
        ("resnet50", "torchvision:resnet50"),
        ("keras:net", "begins with one of"),
    ],
)
def test_a_word_that_names_nothing_is_refused(word: str, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        guess(word, {})
    assert words in str(caught.value)


def test_without_a_terminal_the_refusal_has_the_exact_options(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "net.onnx", ["n", 3, 1, 1], size="side")
    found = guess(str(path), {})

    with pytest.raises(RecipeError) as caught:
        with_answers(found.source, found.values, missing(found.source, found.values), None)

    assert str(caught.value).endswith(
        "Add --task classify|segment|detect|embed --height N --width N --labels FILE"
    )


def test_on_a_terminal_the_questions_are_only_what_is_missing() -> None:
    questions: list[str] = []
    answers = {"--task": "classify", "--height": "32", "--width": "48", "--labels": "a.txt"}

    def ask(question: Missing) -> str:
        questions.append(question.option)
        return answers[question.option]

    found = guess("python:my.nets:Cats", {"weights": "none", "width": 64})
    values = with_answers(found.source, found.values, missing(found.source, found.values), ask)

    assert questions == ["--task", "--height", "--labels"]
    assert (values["task"], values["height"], values["width"]) == ("classify", 32, 64)
    assert (values["name"], values["labels"]) == ("cats", "a.txt")


def test_an_answer_that_is_no_number_is_refused() -> None:
    with pytest.raises(RecipeError, match="--height ten"):
        with_answers("x", {}, [Missing("--height", "?")], lambda _question: "ten")


def test_labels_are_counted_before_the_network_is_read(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "net.onnx", ["n", 4])

    check_label_count(f"onnx:{path}", {"task": "classify"}, 4)
    with pytest.raises(RecipeError, match="3 are given, the network has 4 classes"):
        check_label_count(f"onnx:{path}", {"task": "classify"}, 3)


@pytest.mark.parametrize("source", ["python:my.nets:Net", "torchscript:net.ts", "program:net.pt2"])
@pytest.mark.parametrize(("task", "is_asked"), [("segment", True), ("embed", False)])
def test_only_tasks_with_classes_need_labels(source: str, task: str, *, is_asked: bool) -> None:
    values = {"task": task, "weights": "none", "height": 32, "width": 32}
    assert ("--labels" in [one.option for one in missing(source, values)]) == is_asked


def test_labels_beside_an_embedder_are_not_taken(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "net.onnx", ["n", 4])
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")

    assert given(str(path), task="classify")["labels"] == str(tmp_path / "labels.txt")
    assert "labels" not in given(str(path), task="embed")


def test_labels_of_an_embedder_are_not_counted(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "net.onnx", ["n", 4])
    check_label_count(f"onnx:{path}", {"task": "embed"}, 3)


def test_only_a_training_can_be_for_a_temporal_head() -> None:
    found, trained = (missing(source, {}) for source in ("timm:vit", "train:my.nets:Motion"))

    assert found[0].choices == ("classify", "segment", "detect", "embed")
    assert trained[0].choices == ("classify", "segment", "detect", "embed", "temporal")


def test_the_config_of_transformers_counts_its_classes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "cat", "1": "dog"}}))

    with pytest.raises(RecipeError, match="3 are given, the network has 2 classes"):
        check_label_count(f"transformers:{tmp_path}", {"task": "detect"}, 3)


@pytest.mark.parametrize("turn", [(0, 1, 2), (0, 2, 1)], ids=["rows", "columns"])
@pytest.mark.parametrize("cells", [CELLS, 3 * CELLS], ids=["a cell", "three anchors a cell"])
def test_boxes_on_a_grid_are_a_detector_s(
    tmp_path: Path, cells: int, turn: tuple[int, int, int]
) -> None:
    boxes = np.concatenate([boxes_of(cells), scores_of(cells)], axis=2)
    onnx.save(detector({"output0": boxes.transpose(turn)}), tmp_path / "net.onnx")

    found = guess(str(tmp_path / "net.onnx"), {})

    assert found.values["task"] == "detect"


@pytest.mark.parametrize("shape", [(1, 50, 768), (1, 197, 384)])
def test_tokens_are_no_boxes(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    onnx.save(detector({"tokens": np.zeros(shape, np.float32)}), tmp_path / "net.onnx")

    assert "task" not in guess(str(tmp_path / "net.onnx"), {}).values
