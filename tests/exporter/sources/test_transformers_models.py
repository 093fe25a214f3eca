"""Networks of Transformers, compared with its own image processor and model run by hand on the same file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.errors import ExportError, RecipeError, SourceError, WeightsError
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
from exporter.sources.transformers_models import load
from tests.exporter.exporting import export_to
from tests.exporter.sources.pretrained import (
    NAMED,
    PROOF,
    SIDE,
    SMALL,
    SQUARE,
    Processed,
    by_hand,
    convnext,
    edit,
    exported,
    mobilevit,
    resnet,
    saved,
    served,
    swin,
    vit,
)
from tests.images import photograph

tf = pytest.importorskip(
    "transformers", reason="needs Transformers: pip install -e '.[transformers]'"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the library's own, about its own internals
]


@pytest.mark.parametrize("make", [vit, swin, convnext, resnet, mobilevit])
def test_a_classifier_says_what_transformers_says(
    make: Callable[[], Processed], tmp_path: Path
) -> None:
    place = saved(make, tmp_path)

    done = exported(place, tmp_path, "classify")

    assert done.card.labels == ("cat", "dog", "bird")
    for name in ("chelsea", "coffee", "rocket"):
        body = photograph(name)
        expected = by_hand(place, "AutoModelForImageClassification", body)[0].logits.softmax(-1)
        found = served(done, body)["probabilities"]
        # 0.02: the decode of a JPEG at a reduced scale, and another crop by half a pixel.
        np.testing.assert_allclose(found, expected.numpy(), atol=0.02)


def test_classes_that_a_config_only_counts_get_numbered_labels(tmp_path: Path) -> None:
    """PVT's configuration has no id2label of its own."""
    config = tf.PvtConfig(
        image_size=SIDE,
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 2, 3, 4],
        num_labels=5,
    )
    place = saved(
        lambda: (tf.PvtForImageClassification(config), tf.PvtImageProcessorPil(size=SQUARE)),
        tmp_path,
    )

    done = exported(place, tmp_path, "classify")

    assert done.card.labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3", "LABEL_4")


def test_several_labels_at_once(tmp_path: Path) -> None:
    place = saved(vit, tmp_path)
    edit(place, problem_type="multi_label_classification")

    done = exported(place, tmp_path, "classify")

    body = photograph("coffee")
    expected = by_hand(place, "AutoModelForImageClassification", body)[0].logits.sigmoid()
    assert done.card.multi_label
    np.testing.assert_allclose(served(done, body)["probabilities"], expected, atol=0.02)


def test_a_config_alone_is_for_random_weights(tmp_path: Path) -> None:
    place = saved(vit, tmp_path)
    (place / "model.safetensors").unlink()

    with pytest.raises(WeightsError, match="--weights none"):
        exported(place, tmp_path, "classify")
    done = export_to(tmp_path, "transformers:network/config.json", weights="none", proof=PROOF)

    assert done.card.source == "transformers:network (vit, untrained)"


def test_weights_that_lack_the_head_are_refused(tmp_path: Path) -> None:
    place = saved(vit, tmp_path)
    model = tf.ViTModel(tf.ViTConfig(**SMALL, image_size=SIDE))
    config = (place / "config.json").read_text()
    model.save_pretrained(place)
    (place / "config.json").write_text(config)

    with pytest.raises(WeightsError, match=r"lacks classifier\.bias, classifier\.weight"):
        exported(place, tmp_path, "classify")


@pytest.mark.parametrize(
    ("changes", "task", "kind", "words"),
    [
        ({}, "detect", RecipeError, "ViTForImageClassification, which is for classify"),
        ({}, "embed", RecipeError, "export it with --task classify"),
        ({"problem_type": "regression"}, "classify", RecipeError, "no classifier"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "classify", SourceError, "code of its own"),
        ({"model_type": "no_such"}, "classify", SourceError, "no_such"),
        ({"model_type": "bert", "architectures": []}, "classify", SourceError, "bert"),
        ({"hidden_size": 52}, "classify", ExportError, "Of another shape"),
    ],
)
def test_what_the_config_contradicts_is_refused(
    changes: dict[str, Any], task: str, kind: type[Exception], words: str, tmp_path: Path
) -> None:
    place = saved(vit, tmp_path)
    edit(place, **changes)

    with pytest.raises(kind, match=words):
        exported(place, tmp_path, task)


def test_a_processor_that_keeps_an_image_s_size_takes_the_stated_one(tmp_path: Path) -> None:
    place = saved(vit, tmp_path)
    path = place / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_resize": False}))

    with pytest.raises(SourceError, match=r"no input size\. Give --height and --width"):
        exported(place, tmp_path, "classify")
    done = exported(place, tmp_path, "classify", input={"height": SIDE, "width": SIDE})

    assert done.card.input is not None
    assert (done.card.input.height, done.card.input.resize) == (SIDE, "stretch")


@pytest.mark.parametrize(
    ("content", "task", "kind", "words"),
    [
        ({"architectures": ["ViTForImageClassification"]}, "classify", WeightsError, "no model.safetensors beside"),
        ({"architectures": []}, "detect", SourceError, "Transformers has no vit for --task detect; see transf"),
        ({"architectures": ["ViTModel"]}, "classify", RecipeError, "ViTModel: it is a backbone without a head"),
        ({"model_type": "videomt"}, "segment", SourceError, "videomt reads several frames of a video beside"),
    ],
)  # fmt: skip
def test_a_config_alone_is_refused_before_anything_is_traced(
    content: dict[str, Any], task: str, kind: type[Exception], words: str, tmp_path: Path
) -> None:
    (tmp_path / "network").mkdir()
    (tmp_path / "network/config.json").write_text(json.dumps({"model_type": "vit", **content}))

    with pytest.raises(kind, match=words):
        export_to(tmp_path, "transformers:network", task=task)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"hidden_size": "many"}, "hidden_size"),
        ("config.json", {"num_attention_heads": 0}, "transformers:"),
        ("config.json", {"id2label": []}, "transformers:"),
        (
            "preprocessor_config.json",
            {"image_mean": {"red": 1}},
            "its image processor can not be used",
        ),
        ("preprocessor_config.json", {"rescale_factor": 0}, "its image processor can not be used"),
        ("preprocessor_config.json", {"size": {"height": {}}}, "its image processor can not be"),
        ("preprocessor_config.json", {"resample": "large"}, "its image processor can not be used"),
    ],
)
def test_settings_that_transformers_does_not_expect_are_refused_in_words(
    file: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    place = saved(vit, tmp_path)
    path = place / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(SourceError, match=message):
        exported(place, tmp_path, "classify")


def test_classes_are_those_of_label2id_where_it_alone_names_them(tmp_path: Path) -> None:
    place = saved(vit, tmp_path)
    path = place / "config.json"
    content = json.loads(path.read_text())
    del content["id2label"]
    path.write_text(json.dumps(content))
    assert exported(place, tmp_path, "classify").card.labels == ("cat", "dog", "bird")

    path.write_text(json.dumps({**content, "label2id": {"cat": 0, "bird": 2}}))
    with pytest.raises(WeightsError, match=r"have 3 classes, and config\.json gives 2.*0 to 2"):
        exported(place, tmp_path, "classify")


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_a_folder_without_a_config_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"save_pretrained"):
        export_to(tmp_path, f"transformers:{place}")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"", "is empty"),
        (None, "is truncated"),
    ],
)
def test_weights_that_are_no_weights_are_named(
    content: bytes | None, what: str, tmp_path: Path
) -> None:
    file = saved(vit, tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    with pytest.raises(WeightsError, match=rf"network: model\.safetensors {what}"):
        exported(file.parent, tmp_path, "classify")


@pytest.mark.parametrize("lost", [["model-00002-of-00003.safetensors"], []])
def test_a_checkpoint_in_several_files_names_those_that_are_missing(
    lost: list[str], tmp_path: Path
) -> None:
    """The names and the index are those that `save_pretrained` writes with a small `max_shard_size`."""
    folder = saved(vit, tmp_path)
    names = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    index = {"metadata": {}, "weight_map": {f"layer_{name}": name for name in names}}
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in set(names) - set(lost):
        (folder / name).write_bytes(b"")

    refused = (
        r"network: model-00002-of-00003\.safetensors: 1 of the 3 files that model\.safetensors\.index\.json names "
        r"are missing\. Download the whole folder again"
        if lost
        else r"model-00001-of-00003\.safetensors is empty"
    )
    with pytest.raises(WeightsError, match=refused):
        exported(folder, tmp_path, "classify")


class Warnings(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.said.append(message)


def gray_vit() -> Processed:
    config = tf.ViTConfig(**SMALL, image_size=SIDE, num_channels=1, **NAMED)
    return tf.ViTForImageClassification(config), tf.ViTImageProcessorPil(size=SQUARE)


def test_one_mean_and_std_are_those_of_gray_images(tmp_path: Path) -> None:
    place = saved(gray_vit, tmp_path)
    path = place / "preprocessor_config.json"
    stated = {**json.loads(path.read_text()), "image_mean": [0.4], "image_std": [0.2]}
    path.write_text(json.dumps(stated))

    done = exported(place, tmp_path, "classify")

    normalization = done.card.normalization
    assert normalization is not None
    assert (normalization.color, normalization.assumed) == ("gray", ())
    assert (normalization.mean, normalization.std) == ((0.4,), (0.2,))


def test_three_means_for_one_channel_do_not_pass_for_its_own(tmp_path: Path) -> None:
    place = saved(gray_vit, tmp_path)
    path = place / "preprocessor_config.json"
    means = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.2] * 3}
    path.write_text(json.dumps({**json.loads(path.read_text()), **means}))
    notes = Warnings()

    recipe = make_recipe(
        {
            "source": f"transformers:{place.name}",
            "task": "classify",
            "name": "gray",
            "folder": tmp_path,
        }
    )
    load(place.name, recipe, notes)

    (said,) = (one for one in notes.said if "three that differ" in one)
    assert "states a mean for three" in said


@pytest.mark.parametrize("named", [True, False])
def test_names_are_asked_for_where_none_are_given(tmp_path: Path, *, named: bool) -> None:
    place = saved(gray_vit, tmp_path)
    config = json.loads((place / "config.json").read_text())
    count = len(config["id2label"])
    edit(place, id2label={str(one): f"LABEL_{one}" for one in range(count)}, label2id={})
    notes = Warnings()

    labels = {"labels": tuple("abcdefghij"[:count])} if named else {}
    recipe = make_recipe(
        {
            "source": f"transformers:{place.name}",
            "task": "classify",
            "name": "gray",
            "folder": tmp_path,
            **labels,
        }
    )
    load(place.name, recipe, notes)

    assert any("Give --labels FILE" in one for one in notes.said) == (not named)


def test_weights_for_gray_images_name_the_argument_for_them(tmp_path: Path) -> None:
    place = saved(gray_vit, tmp_path)
    edit(place, num_channels=3)

    with pytest.raises(WeightsError, match=r"read 1 channels, .* gives 3: --arg num_channels=1"):
        exported(place, tmp_path, "classify")
    with pytest.raises(WeightsError, match=r"reads 1 channels: give .*num_channels=1"):
        exported(place, tmp_path, "classify", weights="network/model.safetensors")


def test_four_channels_are_refused_in_words(tmp_path: Path) -> None:
    place = saved(gray_vit, tmp_path)
    edit(place, num_channels=4)

    with pytest.raises(ExportError, match=r"reads 4 channels, and images have one \(gray\) or"):
        exported(place, tmp_path, "classify", weights="none")
