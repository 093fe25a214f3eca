"""torchvision's detectors for one input size."""

import torch
from torchvision.models import get_model
from torchvision.models.detection.image_list import ImageList

from exporter.detectors import adapt_detector
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
