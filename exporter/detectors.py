"""torchvision's detectors without their own resizing and suppression: decoded boxes and scores.

Each adapter's forward takes normalised pixels of one fixed frame, as every tensor in a servable has
a fixed size but the batch. The anchors then are constants, computed once by torchvision itself.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from exporter.errors import SourceError
from exporter.network import Outputs
from exporter.recipe import DetectRecipe, Pixels
from exporter.transforms import decode, fit
from service.card import PictureInput

WIDTH_LIMIT = log(1000 / 16)
"""A box grows by no more than this factor, as in torchvision's BoxCoder."""

FRAME_SIDE = 800
"""The shorter side torchvision's larger detectors were trained at (references/detection)."""


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector fitted to a frame.

    `answer` gives one picture's detections by the whole of torchvision's own model, suppression
    included, with boxes in 0–1 of the frame.
    """

    module: nn.Module
    meaning: DetectRecipe
    picture: PictureInput
    pixels: Pixels
    answer: Callable[[bytes], Outputs]
    max_batch: int | None = None


class Constants(nn.Module):
    """Anchors as centre and size, in pixels of the frame; constants, no trained parameters.

    Held under the name `foveal`, so that they are not counted as the network's.
    """

    center: Tensor
    size: Tensor
    frame: Tensor

    def __init__(self, anchors: Tensor, picture: PictureInput) -> None:
        super().__init__()
        size = anchors[:, 2:] - anchors[:, :2]
        self.register_buffer("size", size)
        self.register_buffer("center", anchors[:, :2] + size / 2)
        self.register_buffer("frame", torch.tensor([picture.width, picture.height] * 2).float())


class AnchorDetector(nn.Module):
    """SSD (arXiv:1512.02325) and RetinaNet (arXiv:1708.02002): boxes as offsets from anchors."""

    def __init__(self, model: SSD | RetinaNet, picture: PictureInput) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head
        self.foveal = Constants(anchors_of(model, picture), picture)
        self.weights = model.box_coder.weights if isinstance(model, SSD) else (1.0, 1.0, 1.0, 1.0)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        found = self.head(list(self.backbone(pixels).values()))
        return self._boxes(found["bbox_regression"]), found["cls_logits"]

    def _boxes(self, offsets: Tensor) -> Tensor:
        """Return xyxy in 0–1 of the frame (N, A, 4), as in R-CNN (arXiv:1311.2524), appendix C."""
        x, y, wide, high = self.weights
        moved = torch.stack([offsets[..., 0] / x, offsets[..., 1] / y], dim=-1)
        grown = torch.stack([offsets[..., 2] / wide, offsets[..., 3] / high], dim=-1)
        center = moved * self.foveal.size + self.foveal.center
        half = torch.exp(grown.clamp(max=WIDTH_LIMIT)) * self.foveal.size / 2
        return torch.cat([center - half, center + half], dim=-1) / self.foveal.frame


class PointDetector(nn.Module):
    """FCOS (arXiv:1904.01355): boxes as distances from points, scores weighed by centredness."""

    def __init__(self, model: FCOS, picture: PictureInput) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head
        self.foveal = Constants(anchors_of(model, picture), picture)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        found = self.head(list(self.backbone(pixels).values()))
        left_top, right_bottom = found["bbox_regression"].split(2, dim=-1)
        first = self.foveal.center - left_top * self.foveal.size
        second = self.foveal.center + right_bottom * self.foveal.size
        boxes = torch.cat([first, second], dim=-1) / self.foveal.frame
        chances = found["cls_logits"].sigmoid() * found["bbox_ctrness"].sigmoid()
        return boxes, chances.sqrt()


def adapt_detector(model: nn.Module, picture: PictureInput) -> Detector:
    """Return a torchvision detector fitted to a frame.

    Raises:
        SourceError: it is of a kind that is not known.
    """
    match model:
        case SSD():
            module: nn.Module = AnchorDetector(model, picture)
            meaning = DetectRecipe(score_activation="softmax", background="first")
        case RetinaNet():
            module = AnchorDetector(model, picture)
            meaning = DetectRecipe(score_activation="sigmoid")
        case FCOS():
            module, meaning = PointDetector(model, picture), DetectRecipe()
        case _:
            raise SourceError(f"Detectors like {type(model).__name__} can not be exported yet")
    transform = _transform_of(model)
    pixels = Pixels(mean=tuple(transform.image_mean), std=tuple(transform.image_std))
    return Detector(module.eval(), meaning, picture, pixels, _own_answer(model, picture))


def frame_of(model: nn.Module) -> PictureInput:
    """Return the frame that a torchvision detector was trained for."""
    transform = _transform_of(model)
    if transform.fixed_size is not None:
        width, height = transform.fixed_size
        return PictureInput(height=height, width=width, resize="stretch")
    grey = tuple(round(255 * mean) for mean in transform.image_mean)
    return PictureInput(
        height=FRAME_SIDE,
        width=FRAME_SIDE,
        resize="letterbox",
        pad_color=(grey[0], grey[1], grey[2]),
    )


def anchors_of(model: SSD | RetinaNet | FCOS, picture: PictureInput) -> Tensor:
    """Return torchvision's own anchors for the frame, xyxy in pixels, float32 (A, 4)."""
    with torch.inference_mode():
        blank = torch.zeros(1, 3, picture.height, picture.width)
        maps = list(OrderedDict(model.backbone(blank)).values())
        images = ImageList(blank, [(picture.height, picture.width)])
        anchors: Tensor = model.anchor_generator(images, maps)[0]
    return anchors.clone()


def _transform_of(model: nn.Module) -> GeneralizedRCNNTransform:
    transform = model.transform
    assert isinstance(transform, GeneralizedRCNNTransform)
    return transform


def _own_answer(model: nn.Module, picture: PictureInput) -> Callable[[bytes], Outputs]:
    def answer(body: bytes) -> Outputs:
        frame = np.asarray(fit(decode(body), picture), np.float32) / 255
        with torch.inference_mode():
            found = model([torch.from_numpy(frame).permute(2, 0, 1)])[0]
        unit = torch.tensor([picture.width, picture.height] * 2)
        return {
            "boxes": (found["boxes"] / unit).numpy()[None],
            "scores": found["scores"].numpy()[None],
            "classes": found["labels"].numpy()[None],
        }

    return answer
