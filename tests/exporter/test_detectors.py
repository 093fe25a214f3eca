"""torchvision's detectors for one input size."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import get_model
from torchvision.models.detection.image_list import ImageList

from exporter.detectors import adapt_detector, drop_other_heads, frame_of, set_size, size_note
from service.card import ImageInput

SIDE = 128


def test_a_faster_rcnn_may_have_fewer_maps_than_its_pooling_names() -> None:
    """MobileNetV3's pyramid has two maps, and torchvision's pooling names four."""
    torch.manual_seed(0)
    model = get_model(
        "fasterrcnn_mobilenet_v3_large_320_fpn", weights=None, weights_backbone=None, num_classes=5
    ).eval()
    adapted = adapt_detector(model, ImageInput(height=SIDE, width=SIDE, resize="letterbox")).module
    pixels = torch.rand(1, 3, SIDE, SIDE)

    with torch.inference_mode():
        found = adapted(pixels)[0].reshape(-1, 4, 6)[..., 4]

        maps = model.backbone(pixels)
        proposals, _ = model.rpn(ImageList(pixels, [(SIDE, SIDE)]), maps)
        pooled = model.roi_heads.box_roi_pool(maps, proposals, [(SIDE, SIDE)])
        logits, _ = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))
    truth = logits.softmax(dim=1)[:, 1:]
    torch.testing.assert_close(found[: len(truth)], truth)
    assert not found[len(truth) :].any()


def test_the_size_of_objects_that_a_square_input_changes_is_named() -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    sizes = {"weights_backbone": None, "min_size": 160, "max_size": 256}
    note = size_note(get_model(name, weights=None, **sizes))
    assert note is not None
    assert "75 % of the size that torchvision's own resize to 213×160 gives" in note
    assert "--height 160 --width 224" in note

    fixed = get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None)
    assert size_note(fixed) is None


@pytest.mark.parametrize(
    "name", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn", "fcos_resnet50_fpn"]
)
def test_boxes_are_cut_where_torchvision_cuts_them_before_its_suppression(name: str) -> None:
    torch.manual_seed(0)
    model = get_model(name, weights=None, weights_backbone=None, num_classes=5).eval()
    adapted = adapt_detector(model, ImageInput(height=SIDE, width=SIDE, resize="stretch")).module
    with torch.inference_mode():
        boxes, _ = adapted(torch.rand(1, 3, SIDE, SIDE))
    assert boxes.min() == 0
    assert boxes.max() <= 1


@pytest.mark.parametrize(
    "name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn"]
)
def test_the_complete_model_works_at_the_size_that_is_stated(name: str) -> None:
    """Sides that are no multiples of 32 are filled up as torchvision does."""
    torch.manual_seed(0)
    model = get_model(name, weights=None, weights_backbone=None, num_classes=3).eval()
    if name.startswith(("retinanet", "fcos")):
        torch.nn.init.zeros_(model.head.classification_head.cls_logits.bias)
    frame = ImageInput(height=70, width=100, resize="stretch")
    set_size(model, frame, ())
    detector = adapt_detector(model, frame)
    image = np.random.default_rng(0).integers(0, 256, (70, 100, 3), dtype=np.uint8)

    pixels = (image / 255 - detector.pixels.mean) / detector.pixels.std
    with torch.inference_mode():
        found = detector.module(torch.from_numpy(pixels).float().permute(2, 0, 1)[None])
    boxes = found[0, :, :4] / torch.tensor([100, 70] * 2) if len(found) == 1 else found[0][0]
    truth = detector.postprocessed(_png(image))["boxes"][0]
    assert len(truth) > 5
    nearest = np.abs(truth[:, None] - boxes.clip(0, 1).numpy()[None]).max(axis=2).min(axis=1)
    assert nearest.max() < 1e-4


def test_the_complete_model_computes_no_masks() -> None:
    model = get_model("maskrcnn_resnet50_fpn", weights=None, weights_backbone=None).eval()
    model.transform.min_size, model.transform.max_size = (64,), 64
    assert drop_other_heads(model) == "masks"
    assert drop_other_heads(model) is None
    with torch.inference_mode():
        (found,) = model([torch.rand(3, 64, 64)])
    assert sorted(found) == ["boxes", "labels", "scores"]


def test_a_square_input_is_no_larger_than_the_largest_size() -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    sizes = {"weights_backbone": None, "min_size": 320, "max_size": 256}
    frame = frame_of(get_model(name, weights=None, **sizes))
    assert (frame.height, frame.width) == (256, 256)


def _png(image: np.ndarray) -> bytes:
    written = BytesIO()
    Image.fromarray(image).save(written, "PNG")
    return written.getvalue()
