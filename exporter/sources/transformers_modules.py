"""Networks of Transformers as plain modules, from pixel values to a task's raw outputs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from exporter.recipe import Task
from service.card import ImageInput

Pretrained = Any
"""A network of Transformers, with its `config`; the library has no type that says more."""

Processor = Any
"""An image processor of Transformers; they have no common type."""

_SMALLEST = 1e-12
"""A class's share of a pixel is at least this before its logarithm is taken."""


class Logits(nn.Module):
    """A classifier's scores (N, K), or a segmentation network's maps (N, K, h, w)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=pixels).logits
        return logits


class BoxesAndLogits(nn.Module):
    """A detector's boxes, cxcywh in 0–1 of the frame (N, Q, 4), and its scores (N, Q, K)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(pixel_values=pixels)
        return found.pred_boxes, found.logits


class QueryMaps(nn.Module):
    """Mask2Former and MaskFormer in their semantic form: logarithms of each class's share of a pixel (N, K, H, W).

    A class's score at a pixel is the sum over the queries of class probability times mask probability
    (arXiv:2107.06278, "semantic inference"). Mask2Former's masks are first resized to 384×384, as its own
    postprocessing in Transformers does.
    """

    def __init__(self, model: Pretrained, image_input: ImageInput) -> None:
        super().__init__()
        self.model = model
        self.size = (image_input.height, image_input.width)
        self.masks_at = (384, 384) if model.config.model_type == "mask2former" else None

    def forward(self, pixels: Tensor) -> Tensor:
        found = self.model(pixel_values=pixels)
        masks = found.masks_queries_logits
        if self.masks_at is not None:
            masks = interpolate(masks, self.masks_at, mode="bilinear", align_corners=False)
        classes = found.class_queries_logits.softmax(dim=-1)[..., :-1]
        shares = torch.einsum("bqc,bqhw->bchw", classes, masks.sigmoid())
        shares = interpolate(shares, self.size, mode="bilinear", align_corners=False)
        shares = shares.clamp(min=_SMALLEST)
        return torch.log(shares / shares.sum(dim=1, keepdim=True))


def raw_module(model: Pretrained, task: Task, image_input: ImageInput) -> nn.Module:
    """Return the module that the exporter traces: pixel values → what the task's head reads."""
    if task == "detect":
        return BoxesAndLogits(model)
    if model.config.model_type in {"mask2former", "maskformer"}:
        return QueryMaps(model, image_input)
    return Logits(model)
