"""What a config.json of Transformers states about task and labels."""

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import SourceError
from exporter.sources.transformers_configs import (
    has_weights,
    is_placeholder,
    labels_of,
    other_task_of,
    placeholders,
    read_config,
    task_of,
)


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("ViTForImageClassification", "classify"),
        ("DeiTForImageClassificationWithTeacher", "classify"),
        ("SegformerForSemanticSegmentation", "segment"),
        ("Mask2FormerForUniversalSegmentation", "segment"),
        ("MaskFormerForInstanceSegmentation", "segment"),
        ("DetrForObjectDetection", "detect"),
        ("OwlViTForZeroShotObjectDetection", None),
        ("ViTModel", None),
    ],
)
def test_the_name_of_an_architecture_ends_in_its_task(architecture: str, task: str | None) -> None:
    assert task_of({"architectures": [architecture]}) == task


def test_the_first_architecture_with_a_task_counts() -> None:
    assert task_of({"architectures": ["ViTModel", "DetrForObjectDetection"]}) == "detect"
    nothing: list[dict[str, Any]] = [{}, {"architectures": None}, {"architectures": []}]
    for content in nothing:
        assert task_of(content) is None
        assert other_task_of(content) is None


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("ViTModel", "it is a backbone without a head for a task"),
        ("ResNetBackbone", "it is a backbone without a head for a task"),
        ("ViTForMaskedImageModeling", "it is for pretraining, and has no head for a task"),
        ("ViTMAEForPreTraining", "it is for pretraining, and has no head for a task"),
        ("DetrForSegmentation", "it is for panoptic segmentation"),
        ("DPTForDepthEstimation", "it estimates depth"),
        ("OwlViTForZeroShotObjectDetection", "it reads text beside the image"),
        ("CLIPForZeroShotImageClassification", "it reads text beside the image"),
        ("BlipForConditionalGeneration", "it generates text"),
        ("GitForCausalLM", "it generates text"),
        ("SuperPointForKeypointDetection", "it is for keypoint detection"),
        ("VideoMAEForVideoClassification", "it is for video classification"),
        ("Strange", None),
    ],
)
def test_other_networks_are_described(architecture: str, words: str | None) -> None:
    assert other_task_of({"architectures": [architecture]}) == words


def test_labels_are_in_the_order_of_their_ids_with_gaps() -> None:
    assert labels_of({"1": "dog", "0": "cat", "3": "bird"}) == ("cat", "dog", "", "bird")
    assert labels_of({0: "cat"}) == ("cat",)
    assert labels_of({}) is None
    assert labels_of(None) is None


def test_labels_that_nobody_has_named_are_known() -> None:
    assert placeholders(3) == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert is_placeholder(("LABEL_0", "LABEL_1"))
    assert not is_placeholder(("LABEL_0", "dog"))
    assert not is_placeholder(("LABEL_1",))
    assert not is_placeholder(())
    assert not is_placeholder(None)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ],
)
def test_weights_beside_the_config_are_seen(name: str, tmp_path: Path) -> None:
    (tmp_path / "tf_model.h5").touch()
    assert not has_weights(tmp_path)
    (tmp_path / name).mkdir()
    assert not has_weights(tmp_path)
    (tmp_path / name).rmdir()
    (tmp_path / name).touch()
    assert has_weights(tmp_path)


def test_a_config_is_a_json_object(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"id2label": {"0": "größer"}}, ensure_ascii=False), "utf-8")

    assert read_config(path) == {"id2label": {"0": "größer"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"config\.json is not valid JSON: "),
        (b"\xff\xfe", r"config\.json is not valid JSON: "),
        (b"[" * 100_000, r"config\.json is not valid JSON: "),
        (b"[1]", r"config\.json holds no JSON object"),
        (None, r"config\.json: No such file or directory"),
    ],
)
def test_what_is_no_config_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SourceError, match=message):
        read_config(path)
