"""Networks of Transformers as plain modules, from pixel values to a task's raw outputs."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from exporter.errors import SourceError
from exporter.recipe import Task
from exporter.shortage import shortage
from exporter.sources.transformers_sizes import near_sizes
from service.card import ImageInput

Pretrained = Any
"""A network of Transformers, with its `config`; the library has no type that says more."""

Processor = Any
"""An image processor of Transformers; they have no common type."""

_NEEDED: dict[Task, str] = {
    "classify": "logits (N, K)",
    "segment": "logits (N, K, h, w), or class_queries_logits and masks_queries_logits",
    "detect": "pred_boxes (N, Q, 4) and logits (N, Q, K)",
}

_MASKS_AT = {"mask2former": (384, 384)}
"""To what the postprocessing of a kind of network first resizes its masks."""

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
    """MaskFormer and its followers in their semantic form: logarithms of each class's share of a pixel (N, K, H, W).

    A class's score at a pixel is the sum over the queries of class probability times mask probability
    (arXiv:2107.06278, "semantic inference"). Mask2Former's masks are first resized to 384×384, EoMT's to the
    input size, as their own postprocessing in Transformers does.
    """

    def __init__(self, model: Pretrained, image_input: ImageInput) -> None:
        super().__init__()
        self.model = model
        self.size = (image_input.height, image_input.width)
        self.masks_at = _MASKS_AT.get(model.config.model_type)
        if model.config.model_type.startswith("eomt"):
            self.masks_at = self.size

    def forward(self, pixels: Tensor) -> Tensor:
        found = self.model(pixel_values=pixels)
        masks = found.masks_queries_logits
        if self.masks_at is not None:
            masks = interpolate(masks, self.masks_at, mode="bilinear", align_corners=False)
        classes = found.class_queries_logits.softmax(dim=-1)[..., :-1]
        # ONNX Runtime's Sigmoid is 0 below about -17, and where no query has a mask the smallest values decide.
        probabilities = 1 / (1 + torch.exp(-masks))
        shares = torch.einsum("bqc,bqhw->bchw", classes, probabilities)
        shares = interpolate(shares, self.size, mode="bilinear", align_corners=False)
        shares = shares.clamp(min=_SMALLEST)
        return torch.log(shares / shares.sum(dim=1, keepdim=True))


def raw_module(model: Pretrained, task: Task, image_input: ImageInput) -> nn.Module:
    """Return the module that the exporter traces: pixel values → what the task's head reads.

    Raises:
        SourceError: the network needs more than an image, or does not return what the task needs.
    """
    found = first_outputs(model, image_input)
    dims = {name: len(value.shape) for name, value in found.items() if isinstance(value, Tensor)}
    if task == "detect" and dims.get("pred_boxes") == dims.get("logits") == 3:
        return BoxesAndLogits(model)
    if task == "segment" and dims.get("class_queries_logits") == 3:
        return QueryMaps(model, image_input)
    if task != "detect" and dims.get("logits") == {"classify": 2, "segment": 4}.get(task):
        return Logits(model)
    shapes = ", ".join(
        f"{name} {tuple(value.shape)}" for name, value in found.items() if isinstance(value, Tensor)
    )
    raise SourceError(
        f"{type(model).__name__} returns {shapes} for one image; --task {task} needs {_NEEDED[task]}. Export it as "
        "python:package.module:callable with a forward that returns this"
    )


def first_outputs(model: Pretrained, image_input: ImageInput) -> Mapping[str, Any]:
    """Return what the network returns for a black image.

    Raises:
        SourceError: it does not run on an image alone, or not on one of this size.
    """
    try:
        return _run(model, image_input.height, image_input.width)
    # The network's own code may raise anything.
    except Exception as error:
        if shortage(error) is not None:
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        size = f"{image_input.height}×{image_input.width}"
        raise SourceError(
            f"{type(model).__name__} does not run on an image of {size} alone: {first}. "
            f"{_next_step(model, image_input)}"
        ) from error


def _run(model: Pretrained, height: int, width: int) -> Mapping[str, Any]:
    channels = getattr(model.config, "num_channels", 3)
    with torch.inference_mode():
        found: Mapping[str, Any] = model(pixel_values=torch.zeros(1, channels, height, width))
    return found


def _next_step(model: Pretrained, image_input: ImageInput) -> str:
    """Return what to do about a network that does not run at its input size: another size at which it runs, if any."""
    for height, width in near_sizes(model.config, image_input):
        with suppress(Exception):  # as above; another size is tried
            _run(model, height, width)
            return (
                f"It runs on one of {height}×{width}: state --height {height} --width {width}, or the size that the "
                "network was trained with"
            )
    return (
        "If --height and --width are right, export it as python:package.module:callable with a forward that needs "
        "nothing else"
    )
