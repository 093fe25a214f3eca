"""Labels that a training keeps beside the weights: taken, said, written into the card; --labels has the last word."""

from pathlib import Path

import pytest
import torch

from service.servable_file import read_card
from tests.exporter.checkpoints import norms
from tests.exporter.test_cli import run

SIZE = ("--height", "16", "--width", "16")
SOURCE = ("python:tests.exporter.checkpoints:Norms", "--task", "classify", *SIZE)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    content = {"model": norms(0.1).state_dict(), "class_to_idx": {"owl": 2, "cat": 0, "dog": 1}}
    torch.save(content, "kept.pt")
    return Path("kept.pt")


def labels_of(name: str) -> tuple[str, ...]:
    return read_card(Path(f"models/{name}/1/model.onnx")).labels


def test_kept_labels_are_taken_and_said(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SOURCE, "--weights", str(weights), "--name", "kept") == 0
    assert "--labels kept.pt   kept beside the weights" in capsys.readouterr().out
    assert labels_of("kept") == ("cat", "dog", "owl")


def test_a_recipe_of_kept_labels_makes_the_same_file_again(weights: Path) -> None:
    run(*SOURCE, "--weights", str(weights), "--name", "kept")
    first = Path("models/kept/1/model.onnx")
    made = first.read_bytes()
    first.unlink()
    assert run("models/kept/1/recipe.toml") == 0
    assert first.read_bytes() == made


def test_stated_labels_win(weights: Path) -> None:
    Path("own.txt").write_text("a\nb\nc\n")
    words = ("--weights", str(weights), "--labels", "own.txt", "--name", "own")
    assert run(*SOURCE, *words) == 0
    assert labels_of("own") == ("a", "b", "c")


def test_another_number_names_the_file(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": norms(0.1).state_dict(), "classes": ["cat", "dog"]}, weights)
    assert run(*SOURCE, "--weights", str(weights), "--name", "two") == 1
    said = capsys.readouterr().out.replace("\n", " ")
    assert "labels: 2 are kept beside the weights in kept.pt, the network has 3 classes" in said
    assert "--labels FILE" in said
