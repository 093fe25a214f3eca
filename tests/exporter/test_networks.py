"""A network of each kind with random weights can be exported, and its outputs stay the same.

`make families` has some more, `make zoo` the rest.

The weights come from a file, after the batch norms have seen a few images; without that, deep
untrained networks have the same outputs for every image, and any graph would pass. With it, fifty untrained
layers turn an error in float32's last digit into a thousandth; a wrong graph differs by as much as the outputs.
"""

from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import VisionTransformer, get_model

from exporter.outcome import Exported
from tests.exporter.exporting import QUICK, export_to
from tests.exporter.families import families
from tests.images import photograph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the frameworks' own, about their own internals
]


@dataclass(frozen=True)
class Known:
    """A network, its published cost where one is checked, how many stages it should show, and fields of its recipe."""

    source: str
    parameters: float | None = None
    macs: float | None = None
    stages: int = 5
    arguments: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.source


# AlexNet arXiv:1404.5997, ResNet arXiv:1512.03385, MobileNetV2 arXiv:1801.04381
CLASSIFIERS = families(
    Known("torchvision:alexnet", 61.1e6, 0.71e9, stages=4),
    Known("torchvision:resnet18", 11.7e6, 1.81e9),
    # ViT arXiv:2010.11929 at the size of DeiT-Ti, arXiv:2012.12877; attention's products included
    Known("timm:vit_tiny_patch16_224", 5.72e6, 1.26e9, stages=1),
    # PyTorch's own nn.MultiheadAttention; two layers of ViT-B/16 at a quarter of its width
    Known(
        "python:torchvision.models.vision_transformer:VisionTransformer",
        stages=1,
        arguments={
            "image_size": 224,
            "patch_size": 16,
            "num_layers": 2,
            "num_heads": 3,
            "hidden_dim": 192,
            "mlp_dim": 768,
            "num_classes": 100,
        },
        fields={
            "input": {"height": 224, "width": 224},
            "labels": [str(index) for index in range(100)],
        },
    ),
    Known("timm:mobilevit_xs"),
    others=(
        Known("torchvision:googlenet", arguments={"init_weights": False}),
        Known("torchvision:mobilenet_v2", 3.5e6, 0.30e9),
        Known("torchvision:mobilenet_v3_small"),
        Known("torchvision:shufflenet_v2_x1_0"),
    ),
)

PROOF = {**QUICK, "tolerance": 0.02}

SEGMENTERS = families("deeplabv3_mobilenet_v3_large", others=("lraspp_mobilenet_v3_large",))

SMALL = {"min_size": 128, "max_size": 128}

DETECTORS = families(
    ("ssdlite320_mobilenet_v3_large", {}),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", SMALL),
    others=(("fcos_resnet50_fpn", {"min_size": 256, "max_size": 256}),),
)


@pytest.mark.parametrize("known", CLASSIFIERS, ids=str)
def test_a_classifier_goes_through(known: Known, tmp_path: Path) -> None:
    done = _exported(known.source, tmp_path, known.arguments, **known.fields)

    assert done.card.certificate.batches == (1, 2, 3)
    assert done.card.certificate.agreement > 0.6
    assert len(done.card.stages) == known.stages
    if known.parameters is not None and known.macs is not None:
        assert done.card.cost.parameters == pytest.approx(known.parameters, rel=0.01)
        assert done.card.cost.macs == pytest.approx(known.macs, rel=0.02)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_segmenter_goes_through(name: str, tmp_path: Path) -> None:
    frame = {"height": 160, "width": 192}
    done = _exported(f"torchvision:{name}", tmp_path, {}, task="segment", input=frame)

    assert done.card.certificate.agreement > 0.95
    assert (done.card.labels[0], done.card.background_id) == ("background", 0)
    assert len(done.card.stages) >= 3


@pytest.mark.parametrize(("name", "arguments"), DETECTORS)
def test_a_detector_goes_through(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    done = _exported(f"torchvision:{name}", tmp_path, arguments, task="detect")

    # Untrained scores nearly tie: the last digit reorders boxes, of which a wrong graph shares none.
    assert done.card.certificate.max_difference < 1e-3
    assert done.card.certificate.agreement > 0.5
    assert done.card.labels[1] == "person"
    assert done.card.max_batch == (1 if "fasterrcnn" in name else None)
    assert len(done.card.stages) >= 5


def test_a_detector_goes_through_at_a_stated_size(tmp_path: Path) -> None:
    """The images have this size, so that nothing but the conversion could differ."""
    (tmp_path / "images").mkdir()
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(frame).save(tmp_path / "images" / "noise.png")
    done = export_to(
        tmp_path,
        "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn",
        task="detect",
        weights="none",
        arguments={"num_classes": 3},
        labels=["ant", "bee"],
        input={"height": 64, "width": 96},
        proof={"images": "images", "largest": 1},
    )
    assert done.card.certificate.agreement == 1


def test_lenet5_goes_through_untrained(tmp_path: Path) -> None:
    done = export_to(
        tmp_path,
        "python:exporter.training.lenet5:LeNet5",
        weights="none",
        labels=list("0123456789"),
        input={"height": 32, "width": 32},
        pixels={"color": "gray"},
    )
    assert done.card.cost.parameters == 61_706  # LeCun et al. 1998 with a full C3


def _exported(
    source: str,
    folder: Path,
    arguments: dict[str, Any],
    **fields: Any,
) -> Exported:
    kind, _, name = source.partition(":")
    torch.manual_seed(0)
    if kind == "timm":
        module = timm.create_model(name, **arguments)
    elif kind == "python":
        module = VisionTransformer(**arguments)
    elif fields.get("task") in {"segment", "detect"}:
        module = get_model(name, weights=None, weights_backbone=None, **arguments)
    else:
        module = get_model(name, weights=None, **arguments)
    _see_something(module, detects=fields.get("task") == "detect")
    torch.save(module.state_dict(), folder / "weights.pt")
    recipe = {"weights": "weights.pt", "arguments": arguments, "name": "known", **fields}
    return export_to(folder, source, proof=PROOF, **recipe)


def _see_something(module: nn.Module, *, detects: bool) -> None:
    """Let the batch norms gather statistics of real images, as training would have."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    if not norms:
        return
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    images = _photographs()
    with torch.no_grad():
        module(list(images) if detects else (images - 0.45) / 0.225)
        for norm in norms:
            assert norm.running_var is not None
            norm.running_var.clamp_(min=0.01)  # four pooled values may hardly vary
    module.eval()


@cache
def _photographs() -> torch.Tensor:
    """Real ones, (8, 3, 224, 224) in 0–1: statistics of noise make a network explode on what is no noise."""
    shots = []
    for name in ("chelsea", "coffee", "rocket", "astronaut"):
        image = Image.open(BytesIO(photograph(name))).convert("RGB")
        half = (0, 0, image.width // 2, image.height // 2)
        shots += [image.resize((224, 224)), image.crop(half).resize((224, 224))]
    stacked = np.stack([np.asarray(shot) for shot in shots])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2) / 255
