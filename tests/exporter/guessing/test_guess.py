"""What a command line need not state, because the file states it."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from exporter.checks import check_labels
from exporter.errors import RecipeError, SourceError
from exporter.guessing.asking import with_answers
from exporter.guessing.guess import Missing, check_input, check_label_count, guess, missing
from exporter.labels import read_labels
from exporter.network import Facts
from exporter.recipe import make_recipe
from tests.exporter.guessing.files import graph_file, ultralytics


def given(word: str, **options: Any) -> dict[str, Any]:
    """Return the options that were guessed for a word, without those that are given."""
    found = guess(word, options)
    return {one.parameter: one.value for one in found.granted}


def test_a_detector_of_ultralytics_needs_no_option(tmp_path: Path) -> None:
    names = str({index: f"thing {index}" for index in range(80)})
    props = ultralytics("detect", names)
    path = graph_file(tmp_path / "yolov8n.onnx", ["n", 84, 8400], **props)

    assert given(str(path)) == {
        "task": "detect",
        "resize": "letterbox",
        "decoder": "yolov8",
        "name": "yolov8n",
    }
    assert missing(f"onnx:{path}", guess(str(path), {}).values) == ()


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


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("labels.txt", "the file beside the network"),
        ("../labels.txt", "the file in the folder above that of the network"),
    ],
)
def test_where_the_file_of_labels_is_is_said(place: str, why: str, tmp_path: Path) -> None:
    path = graph_file(tmp_path / "runs/net.onnx", ["n", 2])
    (path.parent / place).write_text("[]")

    (found,) = [one for one in guess(str(path), {}).granted if one.parameter == "labels"]

    assert (Path(found.value).resolve(), found.why) == ((path.parent / place).resolve(), why)


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


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("none.onnx", "no such file"),
        ("onnx:none.onnx", "there is no file none.onnx"),
        ("onnx:", "nothing follows"),
        ("resnet50", "torchvision:resnet50"),
        ("darknet:net", "begins with one of"),
        ("keras:net", "Convert the network with Keras: model.export('net.onnx', format='onnx')"),
        ("tensorflow:net", "python -m tf2onnx.convert --saved-model FOLDER"),
        (
            "ultralytics:yolov8n.pt",
            "yolo export model=yolov8n.pt format=onnx. Then give yolov8n.onnx",
        ),
        ("hf:google/vit", "hf download google/vit --local-dir FOLDER"),
        ("huggingface:google/vit", "hf download google/vit --local-dir FOLDER"),
        ("smp:Unet", "It is python:segmentation_models_pytorch:Unet, with --weights FILE"),
        ("google/vit-base", "hf download NAME --local-dir FOLDER"),
        ("transformers:google/vit-base", "there is no folder google/vit-base. Give a folder that"),
        ("python:my.nets", "write python:package.module:callable"),
        ("train::train", "write train:package.module:callable"),
    ],
)
def test_a_word_that_names_nothing_is_refused(word: str, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        guess(word, {})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("program:", "contains weights and not the network"),
        ("torchscript:", "contains weights and not the network"),
        ("transformers:", "hf download NAME"),
    ],
)
def test_a_source_of_another_kind_is_refused_before_anything_is_asked(
    word: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.pt"
    torch.save({"w": torch.ones(2)}, path)
    place = tmp_path if word == "transformers:" else path

    with pytest.raises(SourceError) as caught:
        guess(f"{word}{place}", {})
    assert words in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="this is a folder, not a file"):
        guess(f"onnx:{tmp_path}", {})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input": {"height": 32}}, "--height 32: the file fixes the height"),
        ({"pixels": {"color": "gray"}}, "--color gray: it has 1 channels"),
        ({"arguments": {"mask": 1}}, "--arg mask=…: with onnx: it is the value of an input"),
    ],
)
def test_options_about_the_input_are_compared_with_the_file(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = graph_file(tmp_path / "net.onnx", ["n", 3])
    content = {"source": f"onnx:{path}", "task": "classify", "name": "net", **fields}

    with pytest.raises(RecipeError) as caught:
        check_input(make_recipe(content))
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


def test_labels_are_counted_before_the_network_is_read(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "net.onnx", ["n", 4])

    check_label_count(f"onnx:{path}", {"task": "classify"}, tuple("abcd"))
    with pytest.raises(RecipeError, match="3 are given, the network has 4 classes"):
        check_label_count(f"onnx:{path}", {"task": "classify"}, tuple("abc"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "gap.json",
            '{"a": 0, "b": 1, "c": 3, "d": 4}',
            r"labels: 4 are given for the class ids 0 to 4 \(2 has none\), .*number these without a gap",
        ),
        ("far.json", '{"0": "a", "3": "b"}', r"2 are given for the class ids 0 to 3 \(1, 2 have none\), the net"),
        ("names.txt", "Label\na\nb\nc\nd\n", "5 are given, the network has 4 .* 'Label', may be the heading of"),
        ("names.csv", "class\na\nb\nc\nd\n", "5 are given, the network has 4 .* 'class', may be the heading of"),
        ("plain.txt", "z\na\nb\nc\nd\n", r"5 are given, the network has 4 classes\. Give one label"),
    ],
)  # fmt: skip
def test_a_gap_or_a_heading_is_named_where_labels_are_too_many(
    file: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(content)
    labels = read_labels(tmp_path / file)
    classes = 5 if file == "far.json" else 4
    path = graph_file(tmp_path / "net.onnx", ["n", classes])

    with pytest.raises(RecipeError, match=message):
        check_label_count(f"onnx:{path}", {"task": "classify"}, labels)
    facts = Facts(title="net", origin="here", classes=classes)
    stated = make_recipe(
        {"source": "onnx:n.onnx", "task": "classify", "name": "n", "labels": labels}
    )
    with pytest.raises(RecipeError, match=message):
        check_labels(stated, facts)


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
    check_label_count(f"onnx:{path}", {"task": "embed"}, tuple("abc"))


def test_only_a_training_can_be_for_a_temporal_head() -> None:
    found, trained = (missing(source, {}) for source in ("timm:vit", "train:my.nets:Motion"))

    assert found[0].choices == ("classify", "segment", "detect", "embed")
    assert trained[0].choices == ("classify", "segment", "detect", "embed", "temporal")


def test_the_config_of_transformers_counts_its_classes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "cat", "1": "dog"}}))

    with pytest.raises(RecipeError, match="3 are given, the network has 2 classes"):
        check_label_count(f"transformers:{tmp_path}", {"task": "detect"}, tuple("abc"))


@pytest.mark.parametrize("source", ["torchvision:resnet18", "timm:resnet18", "python:a:b"])
def test_labels_beside_a_file_of_weights_are_taken(tmp_path: Path, source: str) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "model.pth")
    (tmp_path / "labels.txt").write_text("a\nb\n", encoding="utf-8")

    found = guess(source, {"weights": str(tmp_path / "model.pth")})

    assert found.values["labels"] == str(tmp_path / "labels.txt")
    assert "labels" not in guess(source, {"weights": "none"}).values
