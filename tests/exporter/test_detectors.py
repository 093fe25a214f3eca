"""torchvision's detectors for one input size."""

import pytest
import torch
from torchvision.models import get_model
from torchvision.models.detection.image_list import ImageList

from exporter.detectors import adapt_detector, size_note
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
