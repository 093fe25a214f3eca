"""Networks with random weights, as files that a user would have, so that `make zoo` needs no download.

The batch norms first see a few photographs: without that, deep untrained networks have the same outputs for every
image, and any graph would pass.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from exporter.images import photographs
from exporter.transforms import decode
from zoo.networks import Listed

CLASSES = 3
RARE = -3.0
"""A bias so low makes a score that is almost 0."""


def recipe_of(listed: Listed, folder: Path) -> dict[str, Any]:
    """Write a network's files into the folder and return a recipe's fields that name them."""
    torch.manual_seed(0)
    return {"task": listed.task, "name": "zoo", **_FAMILIES[listed.family](listed, folder)}


def _torchvision(listed: Listed, folder: Path) -> dict[str, Any]:
    from torchvision.models import get_model  # noqa: PLC0415 - each family has an environment of its own

    arguments = dict(listed.arguments)
    backbone = {} if listed.task == "classify" else {"weights_backbone": None}
    extra = {"init_weights": False} if listed.name in {"googlenet", "inception_v3"} else {}
    module = get_model(listed.name, weights=None, **backbone, **extra, **arguments)
    side = {"segment": 520, "detect": 320, "classify": 299 if "inception" in listed.name else 224}
    settle(module, side[listed.task], as_list=listed.task == "detect")
    torch.save(module.state_dict(), folder / "weights.pt")
    return {
        "source": f"torchvision:{listed.name}",
        "weights": "weights.pt",
        "arguments": arguments,
    }


def _timm(listed: Listed, folder: Path) -> dict[str, Any]:
    import timm  # noqa: PLC0415

    module: Any = timm.create_model(listed.name, **dict(listed.arguments))
    settle(module, module.pretrained_cfg["input_size"][1])
    torch.save(module.state_dict(), folder / "weights.pt")
    recipe: dict[str, Any] = {"source": f"timm:{listed.name}", "weights": "weights.pt"}
    if module.num_classes not in {0, 1000}:
        recipe["labels"] = [f"class {index}" for index in range(module.num_classes)]
    return recipe


def _transformers(listed: Listed, folder: Path) -> dict[str, Any]:
    import transformers  # noqa: PLC0415
    from transformers import AutoConfig  # noqa: PLC0415
    from transformers.models.auto import modeling_auto  # noqa: PLC0415

    kinds = {
        "classify": ("ImageClassification",),
        "segment": ("SemanticSegmentation", "UniversalSegmentation"),
        "detect": ("ObjectDetection",),
    }[listed.task]
    model_type = listed.name.removesuffix(" (segment)")
    config = AutoConfig.for_model(model_type, **dict(listed.arguments))
    config.architectures = config.architectures or []  # None ends in a TypeError for LeViT and DeiT
    for field in ("use_pretrained_backbone", "use_timm_backbone"):
        if hasattr(config, field):
            setattr(config, field, False)
    automatic = [getattr(modeling_auto, f"AutoModelFor{kind}") for kind in kinds]
    build = next(auto for auto in automatic if type(config) in auto._model_mapping)  # noqa: SLF001
    module = build.from_config(config)
    disturb(module)
    size = _SIZES.get(model_type)
    settle(_Pixels(module), size["height"] if size else _side(config))
    module.save_pretrained(folder / "model")
    if model_type in _PROCESSORS:
        stated = {"size": size} if size else {}
        getattr(transformers, _PROCESSORS[model_type])(**stated).save_pretrained(folder / "model")
    return {"source": f"transformers:{folder / 'model'}"}


_PROCESSORS = {
    "dinov2_with_registers": "BitImageProcessorPil",
    "d_fine": "RTDetrImageProcessorPil",
    "rt_detr_v2": "RTDetrImageProcessorPil",
    "dab-detr": "ConditionalDetrImageProcessorPil",
    "hgnet_v2": "ConvNextImageProcessorPil",
    "lw_detr": "DeformableDetrImageProcessorPil",
    "rf_detr": "RfDetrImageProcessor",
}
"""The image processors of networks that have none of their own, or none of a size at which they run: those that their
published weights name."""

_SIZES = {
    "lw_detr": {"height": 640, "width": 640},
    "rf_detr": {"height": 560, "width": 560},
}
"""Input sizes of networks whose windows must fill the image: those of their published weights."""


def _side(config: Any) -> int:  # noqa: ANN401
    side = getattr(config, "image_size", 224)
    return side if isinstance(side, int) else 224


class _Pixels(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> Any:  # noqa: ANN401
        return self.model(pixel_values=pixels)


def _smp(listed: Listed, folder: Path) -> dict[str, Any]:
    import segmentation_models_pytorch as smp  # noqa: PLC0415

    encoder = {"Segformer": "mit_b0", "DPT": "tu-vit_tiny_patch16_224.augreg_in21k"}
    arguments = {
        "encoder_name": encoder.get(listed.name, "resnet18"),
        "encoder_weights": None,
        "classes": CLASSES,
        **dict(listed.arguments),
    }
    module = getattr(smp, listed.name)(**arguments)
    settle(module, 224)
    torch.save(module.state_dict(), folder / "weights.pt")
    return {
        "source": f"python:segmentation_models_pytorch:{listed.name}",
        "weights": "weights.pt",
        "arguments": arguments,
        "labels": ["sky", "road", "tree"],
        "input": {"height": 224, "width": 224, "resize": "stretch"},
        "pixels": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    }


def _ultralytics(listed: Listed, folder: Path) -> dict[str, Any]:
    from ultralytics import RTDETR, YOLO  # noqa: PLC0415

    network = (RTDETR if "rtdetr" in listed.name else YOLO)(f"{listed.name}.yaml")
    side = 224 if listed.task == "classify" else 320
    disturb(network.model)
    settle(network.model, side, normalize=False)
    written = Path(network.export(format="onnx", imgsz=side, dynamic=True, simplify=False))
    written.rename(folder / "network.onnx")
    recipe: dict[str, Any] = {"source": f"onnx:{folder / 'network.onnx'}"}
    recipe["input"] = {"height": side, "width": side, "resize": "letterbox"}
    if listed.task == "classify":
        recipe["input"]["resize"] = "crop"
    if "rtdetr" in listed.name:
        recipe["input"]["resize"] = "stretch"
        recipe["detect"] = {"box_unit": "frame", "box_format": "cxcywh"}
    return recipe  # the file's own metadata and shapes show its form


_FAMILIES: dict[str, Callable[[Listed, Path], dict[str, Any]]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "transformers": _transformers,
    "smp": _smp,
    "ultralytics": _ultralytics,
}


def disturb(module: nn.Module) -> None:
    """Make the scores of a detector differ: at first they are all alike, so that rounding would select its boxes.

    Biases of its first training, by which nothing is found, are replaced by random ones.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
            if parameter.dim() == 1 and parameter.max() < RARE:
                parameter.normal_()


def settle(module: nn.Module, side: int, *, as_list: bool = False, normalize: bool = True) -> None:
    """Let the batch norms gather the statistics of eight photographs, (8, 3, side, side), as training would have."""
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    norms = [norm for norm in norms if norm.running_var is not None]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    images = _views(side)
    with torch.no_grad():
        if as_list:
            module(list(images))
        else:
            module((images - 0.45) / 0.225 if normalize else images)
        for norm in norms:
            assert norm.running_var is not None
            if not norm.num_batches_tracked:
                norm.running_var.fill_(1.0)
            norm.running_var.clamp_(min=0.01)  # a few pooled values may hardly vary
    module.eval()


def _views(side: int) -> torch.Tensor:
    shots = [
        decode(body).resize((side, side), Image.Resampling.BILINEAR) for body in photographs(8)
    ]
    stacked = np.stack([np.asarray(shot) for shot in shots])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2) / 255


def write_labels(folder: Path, count: int) -> Path:
    """Write labels into the folder and return their file."""
    path = folder / "labels.json"
    path.write_text(json.dumps([f"class {index}" for index in range(count)]), encoding="utf-8")
    return path
