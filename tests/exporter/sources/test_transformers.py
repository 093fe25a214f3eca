"""Networks of Transformers, compared with its own image processor and model run by hand on the same file."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from exporter.errors import ExportError, RecipeError, SourceError, WeightsError
from exporter.outcome import Exported
from exporter.sources.transformers_configs import labels_of, task_of
from exporter.sources.transformers_images import processed_images
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded
from tests.exporter.exporting import export_to, outputs_of
from tests.images import photograph

tf = pytest.importorskip(
    "transformers", reason="needs Transformers: pip install 'foveal[transformers]'"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # the library's own, about its own internals
]

SIDE = 64
NAMED = {"id2label": {0: "cat", 1: "dog", 2: "bird"}, "label2id": {"cat": 0, "dog": 1, "bird": 2}}
SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 64,
}
SQUARE = {"height": SIDE, "width": SIDE}
PROOF = {"limit": 4, "largest": 3, "agreement": 0.0}

Processed = tuple[Any, Any]
"""A network and its image processor."""


def vit() -> Processed:
    config = tf.ViTConfig(**SMALL, image_size=SIDE, **NAMED)
    return tf.ViTForImageClassification(config), tf.ViTImageProcessorPil(size=SQUARE)


def swin() -> Processed:
    config = tf.SwinConfig(
        image_size=SIDE, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4, **NAMED
    )
    return tf.SwinForImageClassification(config), tf.ViTImageProcessorPil(size=SQUARE)


def convnext() -> Processed:
    config = tf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], **NAMED)
    processor = tf.ConvNextImageProcessorPil(size={"shortest_edge": SIDE})
    return tf.ConvNextForImageClassification(config), processor


def resnet() -> Processed:
    config = tf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **NAMED
    )
    processor = tf.ConvNextImageProcessorPil(size={"shortest_edge": 384})
    return tf.ResNetForImageClassification(config), processor


def mobilevit() -> Processed:
    config = tf.MobileViTConfig(
        image_size=SIDE,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 12, 16, 20, 24, 32],
        **NAMED,
    )
    processor = tf.MobileViTImageProcessorPil(size={"shortest_edge": 80}, crop_size=SQUARE)
    return tf.MobileViTForImageClassification(config), processor


def segformer() -> Processed:
    config = tf.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=16,
        **NAMED,
    )
    processor = tf.SegformerImageProcessorPil(size=SQUARE)
    return tf.SegformerForSemanticSegmentation(config), processor


def upernet() -> Processed:
    backbone = tf.ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = tf.UperNetConfig(
        backbone_config=backbone, hidden_size=16, auxiliary_in_channels=24, **NAMED
    )
    return tf.UperNetForSemanticSegmentation(config), tf.SegformerImageProcessorPil(size=SQUARE)


def mask2former() -> Processed:
    backbone = tf.SwinConfig(
        image_size=SIDE,
        embed_dim=12,
        depths=[1, 1, 1, 1],
        num_heads=[2, 2, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = tf.Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        dim_feedforward=16,
        num_attention_heads=2,
        num_queries=8,
        **NAMED,
    )
    processor = tf.Mask2FormerImageProcessorPil(size=SQUARE)
    return tf.Mask2FormerForUniversalSegmentation(config), processor


def yolos() -> Processed:
    config = tf.YolosConfig(**SMALL, image_size=[SIDE, SIDE], num_detection_tokens=10, **NAMED)
    return tf.YolosForObjectDetection(config), tf.YolosImageProcessorPil(size=SQUARE, do_pad=False)


def rt_detr() -> Processed:
    backbone = tf.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = tf.RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[16, 24, 32],
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        d_model=16,
        num_queries=20,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=32,
        decoder_layers=1,
        decoder_attention_heads=2,
        **NAMED,
    )
    return tf.RTDetrForObjectDetection(config), tf.RTDetrImageProcessorPil(size=SQUARE)


def saved(make: Callable[[], Processed], folder: Path) -> Path:
    """Write a network as save_pretrained does, with weights by which images differ and no two scores are equal."""
    torch.manual_seed(0)
    model, processor = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    place = folder / "network"
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


def exported(place: Path, folder: Path, task: str, **fields: Any) -> Exported:
    source = f"transformers:{place.name}"
    return export_to(folder, source, task=task, proof=PROOF, **fields)


def by_hand(place: Path, automatic: str, body: bytes) -> tuple[Any, Any]:
    """Return what Transformers' own model says of an encoded image, and the image processor."""
    model = getattr(tf, automatic).from_pretrained(place).eval()
    processor = tf.AutoImageProcessor.from_pretrained(place, backend="pil")
    pixels = processor(images=Image.open(BytesIO(body)).convert("RGB"), return_tensors="pt")
    with torch.inference_mode():
        return model(pixel_values=pixels["pixel_values"]), processor


def as_png(body: bytes) -> bytes:
    """Return an image at the network's size, as PNG."""
    buffer = BytesIO()
    Image.open(BytesIO(body)).convert("RGB").resize((SIDE, SIDE)).save(buffer, "PNG")
    return buffer.getvalue()


def served(done: Exported, body: bytes) -> dict[str, NDArray[Any]]:
    """Return what the servable says of an encoded image, by the service's own decode and resize."""
    assert done.card.input is not None
    frame, _ = fit_encoded(body, done.card.input, Limits())
    return outputs_of(done.path, frame[None])


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


@pytest.mark.parametrize("make", [segformer, upernet, mask2former])
def test_a_segmenter_says_what_transformers_says(
    make: Callable[[], Processed], tmp_path: Path
) -> None:
    place = saved(make, tmp_path)
    automatic = {
        "mask2former": "AutoModelForUniversalSegmentation",
    }.get(make.__name__, "AutoModelForSemanticSegmentation")

    done = exported(place, tmp_path, "segment")

    # At the network's size, without losses: the classes of an untrained network nearly tie at many pixels.
    body = as_png(photograph("chelsea"))
    outputs, processor = by_hand(place, automatic, body)
    expected = processor.post_process_semantic_segmentation(outputs, target_sizes=[(SIDE, SIDE)])
    same = (served(done, body)["mask"][0] == expected[0].numpy()).mean()
    assert same > 0.995
    assert done.card.background_id is None


@pytest.mark.parametrize("make", [yolos, rt_detr])
def test_a_detector_says_what_transformers_says(
    make: Callable[[], Processed], tmp_path: Path
) -> None:
    place = saved(make, tmp_path)

    done = exported(place, tmp_path, "detect")

    body = photograph("chelsea")
    outputs, processor = by_hand(place, "AutoModelForObjectDetection", body)
    expected = processor.post_process_object_detection(outputs, threshold=0.0)[0]
    order = expected["scores"].argsort(descending=True)
    found = served(done, body)
    best = len(order)
    np.testing.assert_allclose(found["scores"][0][:best], expected["scores"][order], atol=0.02)
    first = order[0]
    assert found["classes"][0][0] == expected["labels"][first]
    np.testing.assert_allclose(
        found["boxes"][0][0], expected["boxes"][first].clamp(0, 1), atol=0.02
    )


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


def edit(place: Path, **changes: Any) -> None:
    """Change fields of a config.json."""
    path = place / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


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


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_a_folder_without_a_config_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"save_pretrained"):
        export_to(tmp_path, f"transformers:{place}")


def test_a_size_that_depends_on_the_image_becomes_one_and_is_said() -> None:
    made = processed_images(
        tf.DetrImageProcessorPil(size={"shortest_edge": 100, "longest_edge": 160})
    )

    assert (made.image_input.height, made.image_input.width) == (100, 100)
    assert made.image_input.resize == "stretch"
    assert "depends on the image" in made.note
    assert made.transform is not None
    assert made.transform(photograph("chelsea")).shape == (3, 100, 100)


def test_a_stretch_before_a_crop_is_said() -> None:
    made = processed_images(tf.DeiTImageProcessorPil())

    assert (made.image_input.shorter_side, made.image_input.height) == (256, 224)
    assert "stretches images to 256×256" in made.note
    assert made.transform is None


def test_the_values_are_those_that_the_processor_computes() -> None:
    """EfficientNet's processor shifts and divides twice, which no field of it says."""
    made = processed_images(
        tf.EfficientNetImageProcessorPil(size=SQUARE, rescale_offset=True, include_top=True)
    )
    black, white = (
        tf.EfficientNetImageProcessorPil(size=SQUARE, rescale_offset=True, include_top=True)(
            images=Image.new("RGB", (SIDE, SIDE), color), return_tensors="np"
        )["pixel_values"][0, :, 0, 0]
        for color in ("black", "white")
    )

    pixels = made.pixels
    np.testing.assert_allclose((0 - np.array(pixels.mean)) / pixels.std, black, atol=1e-5)
    np.testing.assert_allclose(
        (255 * pixels.scale - np.array(pixels.mean)) / pixels.std, white, atol=1e-5
    )


@pytest.mark.parametrize(
    ("processor", "size", "side", "resize"),
    [
        ("ConvNextImageProcessorPil", {"shortest_edge": 224}, 256, "crop"),
        ("ConvNextImageProcessorPil", {"shortest_edge": 384}, None, "stretch"),
        ("LevitImageProcessorPil", {"shortest_edge": 224}, 256, "crop"),
        ("PoolFormerImageProcessorPil", {"shortest_edge": 224}, 248, "crop"),
        ("CLIPImageProcessorPil", {"shortest_edge": 224}, 224, "crop"),
    ],
)
def test_the_shorter_side_is_that_of_the_processor(
    processor: str, size: dict[str, int], side: int | None, resize: str
) -> None:
    made = processed_images(getattr(tf, processor)(size=size))

    assert (made.image_input.shorter_side, made.image_input.resize) == (side, resize)


def test_labels_and_task_of_a_config() -> None:
    assert labels_of({"1": "dog", "0": "cat", "3": "bird"}) == ("cat", "dog", "", "bird")
    assert labels_of({}) is None
    assert task_of({"architectures": ["Mask2FormerForUniversalSegmentation"]}) == "segment"
    assert task_of({"architectures": ["ViTModel"]}) is None
    assert task_of({}) is None


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
