"""torchvision's detectors without their own resizing and suppression: decoded boxes and scores.

Boxes are cut to the frame, since torchvision cuts them before its suppression.

The forward of each adapter takes normalized pixels of one fixed size, since in a servable every size is fixed except
the batch. So the anchors are constants, which torchvision itself computes once.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import ceil, log, log2

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import nms, roi_align

from exporter.errors import SourceError
from exporter.heads.detect import SHOWN, SHOWN_SCORE
from exporter.heads.thinning import NMS_IOU
from exporter.network import Outputs
from exporter.recipe import Pixels
from exporter.recipe_tables import DetectRecipe
from exporter.transforms import decode, fit
from service.card import ImageInput

WIDTH_LIMIT = log(1000 / 16)
"""The logarithm of the factor by which a box may grow at most, as in torchvision's BoxCoder."""

MULTIPLE = 32
"""Sides of images are filled up to a multiple of this, as torchvision does."""

SIZES = ("min_size", "max_size")
"""The arguments of torchvision's detectors that state to which sizes they resize images."""

_OTHER_HEADS = {
    "masks": ("mask_roi_pool", "mask_head", "mask_predictor"),
    "keypoints": ("keypoint_roi_pool", "keypoint_head", "keypoint_predictor"),
}
"""The parts of a Mask R-CNN and of a Keypoint R-CNN that a servable does not have, by what they find."""

THINNEST = 1e-3
"""Proposals that are thinner than this, in pixels, are dropped, as in torchvision's RPN."""


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector for one input size.

    `postprocessed` returns one encoded image's detections by torchvision's complete model, suppression included, with
    boxes in 0–1 of the frame.
    """

    module: nn.Module
    recipe: DetectRecipe
    image_input: ImageInput
    pixels: Pixels
    postprocessed: Callable[[bytes], Outputs]
    max_batch: int | None = None


class Constants(nn.Module):
    """Anchors as center and size, in pixels of the frame.

    They are constants, not trained parameters; a module keeps them under the name `foveal`, so that they are not
    counted as parameters.
    """

    center: Tensor
    size: Tensor
    frame: Tensor

    def __init__(self, anchors: Tensor, image_input: ImageInput) -> None:
        super().__init__()
        size = anchors[:, 2:] - anchors[:, :2]
        self.register_buffer("size", size)
        self.register_buffer("center", anchors[:, :2] + size / 2)
        self.register_buffer(
            "frame", torch.tensor([image_input.width, image_input.height] * 2).float()
        )


class AnchorDetector(nn.Module):
    """SSD (arXiv:1512.02325) and RetinaNet (arXiv:1708.02002): boxes as offsets from anchors."""

    def __init__(self, model: SSD | RetinaNet, image_input: ImageInput) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head
        self.foveal = Constants(anchors_of(model, image_input), image_input)
        self.filling = _filling_of(model, image_input)
        self.weights = model.box_coder.weights if isinstance(model, SSD) else (1.0, 1.0, 1.0, 1.0)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        found = self.head(list(self.backbone(self.filling(pixels)).values()))
        return self._boxes(found["bbox_regression"]), found["cls_logits"]

    def _boxes(self, offsets: Tensor) -> Tensor:
        boxes = _decoded(offsets, self.foveal.center, self.foveal.size, self.weights)
        return (boxes / self.foveal.frame).clamp(0, 1)


class PointDetector(nn.Module):
    """FCOS (arXiv:1904.01355): boxes as distances from points, scores multiplied by the center-ness."""

    def __init__(self, model: FCOS, image_input: ImageInput) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head
        self.foveal = Constants(anchors_of(model, image_input), image_input)
        self.filling = _filling_of(model, image_input)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        found = self.head(list(self.backbone(self.filling(pixels)).values()))
        left_top, right_bottom = found["bbox_regression"].split(2, dim=-1)
        first = self.foveal.center - left_top * self.foveal.size
        second = self.foveal.center + right_bottom * self.foveal.size
        boxes = (torch.cat([first, second], dim=-1) / self.foveal.frame).clamp(0, 1)
        scores = found["cls_logits"].sigmoid() * found["bbox_ctrness"].sigmoid()
        return boxes, scores.sqrt()


class ProposalDetector(nn.Module):
    """Faster R-CNN (arXiv:1506.01497) for one image: proposals, then a class and a box for each.

    The number of proposals that its first suppression leaves depends on the image. They are padded to the largest
    possible number, so that all later sizes are fixed. Every proposal is pooled at every level, and then the right
    level is selected, instead of sorting the proposals by level.
    """

    def __init__(self, model: FasterRCNN, image_input: ImageInput) -> None:
        super().__init__()
        self.backbone, self.rpn_head = model.backbone, model.rpn.head
        self.box_head, self.box_predictor = model.roi_heads.box_head, model.roi_heads.box_predictor
        self.size = (image_input.height, image_input.width)
        self.pooling = model.roi_heads.box_roi_pool
        self.proposals = model.rpn.post_nms_top_n()
        self.considered = model.rpn.pre_nms_top_n()
        self.iou = model.rpn.nms_thresh
        self.weights = model.roi_heads.box_coder.weights
        self.filling = _filling_of(model, image_input)
        with torch.inference_mode():
            blank = self.filling(torch.zeros(1, 3, *self.size))
            maps = list(self.backbone(blank).values())
            images = ImageList(blank, [self.size])
            anchors = model.rpn.anchor_generator(images, maps)[0].clone()
            counts = [scores[0].numel() for scores in self.rpn_head(maps)[0]]
        self.foveal = nn.ModuleList(Constants(a, image_input) for a in anchors.split(counts))

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.backbone(self.filling(pixels))
        boxes, present = self._propose(list(maps.values()))
        pooled = self._pool(maps, boxes)
        logits, offsets = self.box_predictor(self.box_head(pooled))
        classes = logits.shape[1]
        size = (boxes[:, 2:] - boxes[:, :2])[:, None]
        center = boxes[:, None, :2] + size / 2
        found = _decoded(offsets.reshape(-1, classes, 4), center, size, self.weights)
        scores = logits.softmax(dim=1) * present[:, None]
        ids = torch.arange(classes, dtype=torch.float32).expand(len(scores), classes)
        rows = torch.cat([self._inside(found), scores[..., None], ids[..., None]], dim=2)
        return rows[:, 1:].reshape(1, -1, 6)

    def _propose(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return proposals (P, 4) in pixels, the best first, and (P,), 1 for a proposal and 0 for padding."""
        all_boxes, all_scores, all_levels = [], [], []
        for level, (scores, offsets, held) in enumerate(
            zip(*self.rpn_head(maps), self.foveal, strict=True)
        ):
            flat = scores.permute(0, 2, 3, 1).reshape(-1)
            moved = offsets.reshape(1, -1, 4, *offsets.shape[2:]).permute(0, 3, 4, 1, 2)
            best, where = flat.topk(min(self.considered, flat.shape[0]))
            center, size = held.center[where], held.size[where]
            boxes = _decoded(moved.reshape(-1, 4)[where], center, size, (1.0, 1.0, 1.0, 1.0))
            all_boxes.append(self._inside(boxes))
            all_scores.append(best.sigmoid())
            all_levels.append(torch.full_like(best, float(level)))
        boxes, scores = torch.cat(all_boxes), torch.cat(all_scores)
        thin = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) < THINNEST
        scores = torch.where(thin, torch.zeros_like(scores), scores)
        apart = torch.cat(all_levels)[:, None] * float(max(self.size) + 1)
        kept = nms(boxes + apart, scores, self.iou)
        padding = torch.zeros(self.proposals, dtype=kept.dtype)
        where = torch.cat([kept, padding])[: self.proposals]
        present = torch.cat([torch.ones_like(kept), padding])[: self.proposals]
        return boxes[where], present.to(boxes.dtype)

    def _pool(self, maps: dict[str, Tensor], boxes: Tensor) -> Tensor:
        """Return the features of each box (P, C, 7, 7), from the level that suits its size.

        Feature Pyramid Networks (arXiv:1612.03144), equation 1.
        """
        # As torchvision does: some backbones lack a level, and two of a backbone's levels may have the same stride.
        named = [one for name, one in maps.items() if name in self.pooling.featmap_names]
        strides = [round(log2(self.size[0] / one.shape[2])) for one in named]
        lowest = strides[0]
        area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        level = self.pooling.canonical_level + torch.log2(
            area.sqrt() / self.pooling.canonical_scale
        )
        level = (level + 1e-6).floor().clamp(lowest, strides[-1]) - lowest
        rows = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)
        pooled = torch.zeros(1)
        for index, one in enumerate(named):
            aligned = roi_align(
                one,
                rows,
                self.pooling.output_size,
                2.0 ** -strides[index],
                self.pooling.sampling_ratio,
            )
            pooled = pooled + aligned * (level == index).to(aligned.dtype)[:, None, None, None]
        return pooled

    def _inside(self, boxes: Tensor) -> Tensor:
        height, width = self.size
        x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
        return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def adapt_detector(model: nn.Module, image_input: ImageInput) -> Detector:
    """Return a torchvision detector for one input size.

    Raises:
        SourceError: there is no adapter for its architecture.
    """
    match model:
        case SSD():
            module: nn.Module = AnchorDetector(model, image_input)
            detect = DetectRecipe(score_activation="softmax", background="first")
        case RetinaNet():
            module = AnchorDetector(model, image_input)
            detect = DetectRecipe(score_activation="sigmoid")
        case FCOS():
            module = PointDetector(model, image_input)
            detect = DetectRecipe(score_activation="none")
        case FasterRCNN():
            module = ProposalDetector(model, image_input)
            detect = DetectRecipe(decoder="end2end", nms_free=False, class_offset=0)
        case _:
            raise SourceError(f"Detectors like {type(model).__name__} can not be exported yet")
    transform = _transform_of(model)
    pixels = Pixels(mean=tuple(transform.image_mean), std=tuple(transform.image_std))
    postprocessed = _torchvision_detections(model, image_input)
    max_batch = 1 if isinstance(model, FasterRCNN) else None
    return Detector(module.eval(), detect, image_input, pixels, postprocessed, max_batch)


def frame_of(model: nn.Module) -> ImageInput:
    """Return the image input that a torchvision detector was trained with."""
    transform = _transform_of(model)
    if transform.fixed_size is not None:
        width, height = transform.fixed_size
        return ImageInput(height=height, width=width, resize="stretch")
    side = min(transform.min_size[-1], transform.max_size)
    red, green, blue = (round(255 * mean) for mean in transform.image_mean)
    return ImageInput(height=side, width=side, resize="letterbox", pad_color=(red, green, blue))


def set_size(model: nn.Module, image_input: ImageInput, stated: Collection[str]) -> None:
    """Let a torchvision detector work at the size of the image input, as it does without a stated size.

    Args:
        model: its own resizing is changed.
        image_input: of the servable.
        stated: the names of the arguments that the recipe states; what these set is not changed.

    Raises:
        SourceError: the detector works at another size, which is fixed or stated.
    """
    transform = _transform_of(model)
    height, width = image_input.height, image_input.width
    if transform.fixed_size is not None:
        if transform.fixed_size != (width, height):
            own_width, own_height = transform.fixed_size
            raise SourceError(
                f"{type(model).__name__} works at {own_height}×{own_width} (height × width) alone, and --height and "
                f"--width make its input {height}×{width}. Leave them out"
            )
        return
    if _scale_of(transform, height, width) == 1:
        return
    if "min_size" not in stated:
        transform.min_size = (min(height, width),)
    if "max_size" not in stated:
        transform.max_size = max(height, width)
    scale = _scale_of(transform, height, width)
    if scale != 1:
        named = " and ".join(name for name in SIZES if name in stated)
        raise SourceError(
            f"By --arg {named} the network resizes images of {height}×{width}, the size of its input, to "
            f"{int(height * scale)}×{int(width * scale)}. Leave {named} out, or --height and --width"
        )


def size_note(model: nn.Module) -> str | None:
    """Return in which size torchvision gives the detector images of 4:3, None where it is that of the image input."""
    transform = _transform_of(model)
    if transform.fixed_size is not None:
        return None
    side, scale = frame_of(model).height, _scale_of(transform, 480, 640)
    height, width = round(480 * scale), round(640 * scale)
    seen = round(100 * side / width)
    even = ceil(width / MULTIPLE) * MULTIPLE
    return (
        f"the input is {side}×{side}, where images get a border: objects of an image of 640×480 pixels have {seen} % "
        f"of the size that torchvision's own resize to {width}×{height} gives them. Where most have that form, "
        f"--height {height} --width {even} gives them the same size"
    )


def drop_other_heads(model: nn.Module) -> str | None:
    """Remove what a detector computes beside boxes, and return what that was; None where there is nothing else."""
    if not isinstance(model, FasterRCNN):
        return None
    for found, parts in _OTHER_HEADS.items():
        if getattr(model.roi_heads, parts[0], None) is not None:
            for part in parts:
                setattr(model.roi_heads, part, None)
            return found
    return None


def anchors_of(model: SSD | RetinaNet | FCOS, image_input: ImageInput) -> Tensor:
    """Return torchvision's own anchors for an input size, xyxy in pixels, float32 (A, 4)."""
    with torch.inference_mode():
        blank = torch.zeros(1, 3, image_input.height, image_input.width)
        blank = _filling_of(model, image_input)(blank)
        maps = list(OrderedDict(model.backbone(blank)).values())
        images = ImageList(blank, [(image_input.height, image_input.width)])
        anchors: Tensor = model.anchor_generator(images, maps)[0]
    return anchors.clone()


def _transform_of(model: nn.Module) -> GeneralizedRCNNTransform:
    transform = model.transform
    assert isinstance(transform, GeneralizedRCNNTransform)
    return transform


def _scale_of(transform: GeneralizedRCNNTransform, height: int, width: int) -> float:
    """Return by what torchvision's own resizing multiplies the sides of an image."""
    short, long = min(height, width), max(height, width)
    scale: float = min(transform.min_size[-1] / short, transform.max_size / long)
    return scale


def _filling_of(model: nn.Module, image_input: ImageInput) -> nn.Module:
    """Return a module that fills pixels with zeros at the right and at the bottom, as torchvision does."""
    multiple = _transform_of(model).size_divisible
    height, width = -image_input.height % multiple, -image_input.width % multiple
    return nn.ZeroPad2d((0, width, 0, height)) if height or width else nn.Identity()


def _decoded(offsets: Tensor, center: Tensor, size: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Return xyxy boxes of offsets from anchors, as in R-CNN (arXiv:1311.2524), appendix C."""
    x, y, wide, high = weights
    moved = torch.stack([offsets[..., 0] / x, offsets[..., 1] / y], dim=-1)
    grown = torch.stack([offsets[..., 2] / wide, offsets[..., 3] / high], dim=-1)
    middle = moved * size + center
    half = torch.exp(grown.clamp(max=WIDTH_LIMIT)) * size / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def _torchvision_detections(
    model: nn.Module, image_input: ImageInput
) -> Callable[[bytes], Outputs]:
    """Return torchvision's complete model as a function, with the thresholds of `exporter.heads.detect`."""
    thresholds = model.roi_heads if isinstance(model, FasterRCNN) else model
    for name, value in {
        "score_thresh": SHOWN_SCORE,
        "nms_thresh": NMS_IOU,
        "detections_per_img": SHOWN,
    }.items():
        setattr(thresholds, name, value)

    def detections(body: bytes) -> Outputs:
        frame = np.asarray(fit(decode(body), image_input), np.float32) / 255
        with torch.inference_mode():
            found = model([torch.from_numpy(frame).permute(2, 0, 1)])[0]
        unit = torch.tensor([image_input.width, image_input.height] * 2)
        return {
            "boxes": (found["boxes"] / unit).numpy()[None],
            "scores": found["scores"].numpy()[None],
            "classes": found["labels"].numpy()[None],
        }

    return detections
