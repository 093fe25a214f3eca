"""What is checked before a network is loaded, and the number of labels against that of the classes."""

import os
from pathlib import Path
from typing import Any

import pytest

from exporter.checks import check_labels, check_recipe
from exporter.errors import ExportError, RecipeError
from exporter.file_kind import no_file
from exporter.network import Facts
from exporter.recipe import Recipe, make_recipe

FACTS = Facts(title="net", origin="here", classes=3)


def recipe(task: str) -> Recipe:
    return make_recipe({"source": "onnx:net.onnx", "task": task, "name": "net"})


def test_a_source_s_classes_need_labels() -> None:
    with pytest.raises(RecipeError, match="none are given, the network has 3 classes"):
        check_labels(recipe("classify"), FACTS)


def test_a_task_without_classes_needs_none_whatever_the_source_counts() -> None:
    assert check_labels(recipe("embed"), FACTS) == ()


@pytest.mark.parametrize("task", ["classify", "embed"])
def test_classes_that_the_outputs_show_need_labels_for_every_task(task: str) -> None:
    with pytest.raises(RecipeError, match="none are given, the network has 2 classes"):
        check_labels(recipe(task), FACTS, needed=2)


def folder(place: Path) -> Path:
    """Return a folder with an empty file, a folder without images and one with an image deep inside."""
    (place / "file.jpg").touch()
    (place / "net.onnx").touch()
    (place / "pointer.pth").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"
    )
    (place / "page.pth").write_bytes(b"<!DOCTYPE html><html></html>")
    (place / "empty").mkdir()
    (place / "net.engine").write_bytes(b"ftrt" + bytes(range(256)))
    (place / "net.py").write_text("import torch\n")
    (place / "trained").mkdir()
    (place / "trained" / "last.pth").touch()
    (place / "images" / "deep").mkdir(parents=True)
    (place / "images" / "deep" / "a.PNG").touch()
    return place


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"proof": {"images": "none"}}, "none: there is no such folder"),
        ({"proof": {"images": "file.jpg"}}, "file.jpg: this is a file, not a folder"),
        ({"proof": {"images": "empty"}}, "--images empty: there is no image in this folder"),
        ({"proof": {"labeled": "none"}}, "--labeled none: there is no such folder or file"),
        ({"code": "empty"}, "--code: only python and train read this, not onnx:"),
        ({"source": "python:a:b", "code": "none"}, "none: there is no such folder"),
        (
            {"source": "torchvision:resnet18", "weights": "trained"},
            "--weights trained: this is a folder. Give the file of the weights; in it are last.pth",
        ),
        ({"source": "timm:resnet18", "weights": "empty"}, "--weights empty: this is a folder"),
        (
            {"source": "torchvision:resnet18", "weights": "net.engine"},
            "--weights net.engine can not be read. A TensorRT engine can not be converted back",
        ),
        (
            {"source": "timm:resnet18", "weights": "net.py"},
            "--weights net.py is Python code. Give the callable",
        ),
        ({"labels": "a,b,c"}, "labels 'a,b,c': this is no file. Write one label per line"),
        ({"weights": "w.pt"}, "--weights is for sources that build a network"),
        ({"source": "program:a.pt2", "arguments": {"n": 1}}, "--arg is for sources"),
        ({"source": "program:a.pt2"}, "source 'a.pt2': there is no file"),
        ({"source": "timm:resnet18", "weights": "best"}, "weights 'best': there is no file"),
        ({"source": "torchvision:resnet18", "weights": "best.pth"}, "weights 'best.pth': there is no file"),
        ({"source": "timm:resnet18", "weights": "pointer.pth"}, "--weights pointer.pth is a Git LFS pointer"),
        ({"source": "torchvision:resnet18", "weights": "page.pth"}, "--weights page.pth is a web page (HTML)"),
        ({"source": "program:pointer.pth"}, "pointer.pth is not a program of torch.export: it is a Git LFS pointer"),
        ({"source": "torchscript:page.pth"}, "page.pth is not a TorchScript: it is a web page (HTML)"),
        ({"labels": "none.txt"}, "labels 'none.txt': there is no file"),
        ({"labels": "imagenet"}, "imagenet. Labels are read from a file with one label per line"),
        ({"labels": "empty"}, "labels 'empty': this is a folder, not a file"),
        ({"task": "embed", "labels": ["a"]}, "--labels: --task embed has no classes"),
        ({"task": "detect", "multi_label": True}, "--multi-label: only --task classify reads this, not detect"),
        ({"task": "embed", "classify": {"activation": "none"}}, "--activation: only --task classify"),
        ({"detect": {"decoder": "pair"}}, "--decoder: only --task detect reads this, not classify"),
        ({"detect": {"decoder": "pair", "class_offset": 1}}, "--class-offset, --decoder: only --task detect"),
        ({"backbone": "b.onnx"}, "--backbone: only --task temporal"),
        ({"window": {"frames": 4, "stride": 2, "fps": 6}}, "--window-fps, --window-frames, --window-stride: only"),
        ({"input": {"resize": "stretch", "shorter_side": 9}}, "--shorter-side: only --resize crop"),
    ],
)  # fmt: skip
def test_what_is_not_read_or_not_there_is_refused(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    content = {"source": "onnx:net.onnx", "task": "classify", "name": "net", **fields}

    with pytest.raises(ExportError) as refused:
        check_recipe(make_recipe({**content, "folder": folder(tmp_path)}), tmp_path / "model.onnx")

    assert words in str(refused.value)


def test_a_pipe_is_no_file_that_can_be_read_again(tmp_path: Path) -> None:
    """A shell gives the name of one for `<( )`."""
    os.mkfifo(tmp_path / "pipe")
    assert "this is a pipe or a device" in no_file(tmp_path / "pipe")
    content = {"source": "onnx:net.onnx", "task": "classify", "name": "net", "labels": "pipe"}
    with pytest.raises(
        ExportError, match=r"labels 'pipe': this is a pipe or a device.*into a file"
    ):
        check_recipe(make_recipe({**content, "folder": folder(tmp_path)}), tmp_path / "model.onnx")


def test_what_is_there_and_read_passes(tmp_path: Path) -> None:
    content = {
        "source": "train:a:b",
        "task": "classify",
        "name": "net",
        "multi_label": True,
        "code": "empty",
        "proof": {"images": "images", "labeled": "images"},
        "input": {"resize": "crop", "shorter_side": 9},
        "folder": folder(tmp_path),
    }
    check_recipe(make_recipe(content), tmp_path / "1" / "model.onnx")
    named = {"source": "torchvision:resnet18", "weights": "IMAGENET1K_V1", "code": None}
    check_recipe(make_recipe({**content, **named}), tmp_path / "1" / "model.onnx")
