"""The contract between exporter and service: the card that a servable carries.

A servable is one ONNX file. Its card, as JSON under `foveal.card` in the file's `metadata_props`, says
what the network is, how an image becomes its input, what its outputs mean, what an image costs and how
the file was proved equal to the network it came from. `service.servable_file` reads it.
"""

import re
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, model_validator

CARD_KEY = "foveal.card"
REFERENCE_FILE = "reference.npy"
"""Beside variants, the frames that they are compared on: uint8 (N, H, W, 3), what the service makes of real images."""
DATA_SUFFIX = ".data"
"""The weights of a network above 2 GiB lie beside the graph, in a file of its name with this ending."""
INPUT_NAME = "image"
TEMPORAL_INPUT_NAME = "features"

TaskName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
ResizePolicy = Literal["crop", "stretch", "letterbox"]
Placement = Literal["center", "corner"]
Interpolation = Literal["nearest", "linear", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Metric = Literal["top1", "exact_match", "mask_iou", "map50", "cosine"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
Byte = Annotated[int, Field(ge=0, le=255)]
Side = Annotated[int, Field(ge=1, le=16384)]
Whole = Annotated[int, Field(le=2**53 - 1)]
"""A program that reads JSON's numbers as doubles reads those beyond as others."""
Count = Annotated[Whole, Field(ge=0)]
LONGEST_LABEL = 1024
MOST_LABELS = 2**18
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def _on_one_line(text: str) -> str:
    """Return a text with a space in place of control characters and ends of lines, which a terminal would obey."""
    return _CONTROLS.sub(" ", text).strip() if _CONTROLS.search(text) else text


Label = Annotated[str, Field(max_length=LONGEST_LABEL), AfterValidator(_on_one_line)]
Line = Annotated[str, AfterValidator(_on_one_line)]


class CardError(ValueError):
    """The file carries no card, or one that can not be trusted; the message says how to mend it."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ImageInput(_Frozen):
    """How a displayed image (sRGB, after EXIF) becomes the network's uint8 (H, W, 3) frame.

    `crop`: the shorter side is resized to `shorter_side`, then the center H×W is kept.
    `stretch`: both sides are resized to H×W, whatever the aspect.
    `letterbox`: the image is resized to fit inside H×W and lies on `pad_color`, centered without a `placement`.
    """

    height: Side = Field(description="Of the frame, in pixels")
    width: Side = Field(description="Of the frame, in pixels")
    resize: ResizePolicy = Field(
        "crop",
        description="How the image gets this size. crop: its shorter side is resized to shorter_side, then the center "
        "is kept. stretch: both sides are resized, whatever the aspect. letterbox: it is resized to fit inside, "
        "on pad_color",
    )
    shorter_side: Side | None = Field(
        None, description="For crop, to how many pixels the shorter side is resized"
    )
    interpolation: Interpolation = Field(
        "bilinear",
        description="The filter of the resize, by its name in Pillow. linear, which is not Pillow's, is bilinear "
        "without antialiasing: between the four nearest pixels, as OpenCV's INTER_LINEAR, and TensorFlow's and "
        "PyTorch's bilinear with antialias=False",
    )
    pad_color: tuple[Byte, Byte, Byte] = Field(
        (114, 114, 114),
        description="For letterbox, red, green and blue of what is beside the image",
    )
    placement: Placement | None = Field(
        None,
        description="For letterbox, where the image lies: in the center, or in the upper left corner with what is "
        "beside it on the right and below. Without it in the center",
    )

    @property
    def words(self) -> str:
        """Size, resize and interpolation, as `224×224 (height × width): the whole image, stretched, bilinear`."""
        how = {
            "crop": f"the center, after the shorter side is resized to {self.shorter_side}",
            "stretch": "the whole image, stretched",
            "letterbox": "the whole image, with a border",
        }[self.resize]
        corner = " on the right and below" if self.placement == "corner" else ""
        return f"{self.height}×{self.width} (height × width): {how}{corner}, {self.interpolation}"

    @model_validator(mode="after")
    def _crop_has_its_side(self) -> Self:
        if self.resize == "crop" and self.shorter_side is None:
            raise ValueError("resize 'crop' needs shorter_side")
        if self.shorter_side is not None and self.shorter_side < max(self.height, self.width):
            raise ValueError("shorter_side is smaller than the region that is kept")
        return self


class Stage(_Frozen):
    """A feature map worth looking at: an inner tensor (N, C, H, W) of the graph."""

    name: Line = Field(description="As requests name it; stage_1 is the shallowest")
    tensor: str = Field(description="The name of the tensor in the graph")
    channels: Whole = Field(ge=1, description="How many maps it has")
    stride: float = Field(gt=0, description="Pixels of the frame from one cell to the next")


class Window(_Frozen):
    """How a temporal head looks at a clip: so many frames at once, sampled at `fps`, then `stride` frames on."""

    frames: int = Field(ge=2, le=1024, description="How many it reads at once")
    stride: int = Field(ge=1, le=1024, description="Frames from one window to the next")
    fps: float = Field(gt=0, le=240, description="How many frames a second of the video has")


class Cost(_Frozen):
    """What one image costs, counted on the final graph."""

    parameters: Count = Field(description="Learned numbers")
    macs: Count = Field(description="Multiplications with an addition, for one image")
    activation_bytes: Count = Field(
        description="The size of all tensors that one image makes, in bytes"
    )


class Normalization(_Frozen):
    """The value that the network reads in place of a byte: (byte · scale − mean) / std, channel by channel.

    The order of mean and std is that of the network's channels, `color`.
    """

    scale: float = Field(description="By which each byte is multiplied")
    mean: tuple[float, ...] = Field(description="What is subtracted then, channel by channel")
    std: tuple[float, ...] = Field(description="By which it is divided then, channel by channel")
    color: Literal["rgb", "bgr", "gray"] = Field(description="The order of the network's channels")
    assumed: tuple[Literal["mean", "std"], ...] = Field(
        (),
        description="What neither the source nor its user stated. No proof shows whether it is right; measured "
        "accuracy may",
    )

    @property
    def assumption(self) -> str | None:
        """What is assumed, with its values, as a sentence; None where all is stated."""
        if not self.assumed:
            return None
        parts = [f"{name} {_listed(getattr(self, name))}" for name in self.assumed]
        return (
            f"{' and '.join(parts)} {'are' if len(parts) > 1 else 'is'} assumed: the network's source does not state "
            "how its inputs were normalized in training, and the certificate can not show it"
        )


_ASSUMED_WORDS = {
    "nms_free": "that each object has one box",
    "background": "that no class is the background",
}


class BoxForm(_Frozen):
    """How the network's own boxes were read; the servable's are xyxy in 0–1 of the frame, and may reach beyond it."""

    format: Literal["xyxy", "yxyx", "xywh", "yxhw", "cxcywh", "cycxhw", "grid"] = Field(
        description="The order of the numbers: corners (xyxy, yxyx), corner and size (xywh, yxhw), center and size "
        "(cxcywh, cycxhw), or relative to a cell (grid)"
    )
    unit: Literal["frame", "pixel"] = Field(description="0 to 1 of the frame, or its pixels")
    assumed: tuple[Literal["format", "unit", "nms_free", "background"], ...] = Field(
        (),
        description="What nobody stated, and real images did not show; nms_free is that each object has one box, "
        "background that no class is the background. No proof shows whether it is right; measured accuracy may",
    )

    @property
    def words(self) -> str:
        """Format and unit, as `cxcywh in pixels`."""
        return f"{self.format} in {'pixels' if self.unit == 'pixel' else '0–1 of the frame'}"

    @property
    def assumption(self) -> str | None:
        """What is assumed, with its values, as a sentence; None where all is stated or was seen."""
        if not self.assumed:
            return None
        parts = [
            f"{part} {getattr(self, part)}" for part in self.assumed if part not in _ASSUMED_WORDS
        ]
        words = [f"the boxes' {' and '.join(parts)}"] if parts else []
        words += [said for part, said in _ASSUMED_WORDS.items() if part in self.assumed]
        verb, it = ("are", "them") if len(self.assumed) > 1 else ("is", "it")
        return (
            f"{' and '.join(words)} {verb} assumed: the network's source does not state {it}, real images did not "
            f"show {it}, and the certificate can not show {it}"
        )


class CutCandidates(_Frozen):
    """What crowds may lose: a detector's candidates that its graph has no place for, on the images of its proof."""

    images: Whole = Field(
        ge=1, description="On how many images of the proof candidates were cut off"
    )
    of: Whole = Field(ge=1, description="How many images the proof has")
    below: float = Field(
        ge=0, le=1, description="Objects of a lower score than this may be lost there"
    )

    @property
    def words(self) -> str:
        """What is lost, as a sentence without its period."""
        return (
            f"on {self.images} of {self.of} images of the proof there were more candidates than the graph has places "
            f"for: objects of a score below {self.below:.2g} may be lost in such crowds"
        )


class Accuracy(_Frozen):
    """What the served graph reached on images whose right answers are known.

    Measured from encoded bytes through the service's decode, resize and head. `reference` is what the source reached in
    its own framework on the same pixels, through the same head.
    """

    images: Whole = Field(ge=1, description="How many were measured")
    scores: dict[str, float] = Field(description="What the graph reached, by the name of the score")
    reference: dict[str, float] = Field(
        {}, description="What the source reached in its own framework on the same pixels"
    )
    by_label: dict[str, dict[str, float]] = Field(
        {}, description="The scores of each label that occurs, where they are not too many"
    )


Digest = Literal[1, 2]
"""How the digest of a graph is made."""


class Certificate(_Frozen):
    """The proof that the graph is the network it was made from.

    `agreement` is measured on real images from encoded bytes, through the service's own decode and resize against the
    source's own: the share of equal top classes, the mean mask IoU, or the mAP@0.5 between the two.
    """

    reference: str = Field(description="What the graph was compared with")
    batches: tuple[Count, ...] = Field(description="The sizes of the batches that were compared")
    max_difference: float = Field(ge=0, description="The largest difference of an output")
    tolerance: float = Field(gt=0, description="How large it was allowed to be")
    metric: Metric = Field(description="What agreement measures")
    agreement: float = Field(ge=0, le=1, description="Of the results on whole images")
    images: Count = Field(description="How many images were compared")
    tools: dict[str, str] = Field(description="The versions of what exported and compared")
    date: Annotated[date, Field(description="When")]
    graph_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="The digest of the graph that was compared"
    )
    digest: Digest = Field(
        1,
        description="What graph_sha256 covers: 1 the graph and the functions, 2 the versions of the operator sets too",
    )
    data_sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="For a network above 2 GiB, the digest of the file beside it that holds its weights",
    )


class Variant(_Frozen):
    """What a variant says besides: which servable it may stand in for, and on which frames that was proved.

    `agreement` has the figures of `service.heads.agreement` that it reached against that servable at the export.
    """

    of_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="The digest of the servable's graph"
    )
    reference_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="The digest of the file of reference frames beside it",
    )
    agreement: dict[str, float] = Field(
        description="What it reached against that servable at the export"
    )


class Card(_Frozen):
    """Everything a service needs to know about a network, and everything its user may ask."""

    format: Literal[1] = Field(1, description="Of the card itself")
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="The model's, as its folder has it"
    )
    task: TaskName = Field(description="What the network does")
    title: Line = Field(description="Its name for people")
    description: str = Field("", description="What it was made for, and how good it is")
    labels: Annotated[tuple[Label, ...], FailFast()] = Field(
        (),
        max_length=MOST_LABELS,
        description="The name of each class id; an id that means nothing is the empty string",
    )
    multi_label: bool = Field(
        default=False,
        description="For classify, whether each label has a probability of its own",
    )
    license: str = Field(description="Of the weights")
    source: str = Field(description="Where network and weights come from")
    input: ImageInput | None = Field(
        None, description="How an image becomes the network's frame; a temporal head has none"
    )
    backbone: str | None = Field(
        None, description="For a temporal head, the name of the model whose features it reads"
    )
    backbone_sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="The digest of that model's graph: features of another mean nothing to the head",
    )
    window: Window | None = Field(None, description="For a temporal head, what it reads at once")
    background_id: Count | None = Field(
        None, description="For segment, the class id that is not reported as a thing"
    )
    nms_free: bool | None = Field(
        None,
        description="For detect, whether the network itself gives each object one box; requests then get no NMS by "
        "default",
    )
    max_batch: Whole | None = Field(
        default=None,
        ge=1,
        description="The largest batch the graph allows, where it allows no more",
    )
    stages: Annotated[tuple[Stage, ...], FailFast()] = Field(
        (), description="The feature maps that explanations look at, the shallowest first"
    )
    cost: Cost = Field(description="What one image costs")
    precision: Precision = Field("fp32", description="In which the network computes")
    scores: dict[str, float] = Field(
        {},
        description="What the network reached on held-out data, by the name of the metric, as its source states it",
    )
    normalization: Normalization | None = Field(
        None,
        description="How bytes become the network's numbers; given by exports since this field exists, and not for a "
        "temporal head",
    )
    boxes: BoxForm | None = Field(
        None,
        description="For detect, how the network's own boxes are read; given by exports since this field exists",
    )
    cut: CutCandidates | None = Field(
        None,
        description="For detect, what crowds may lose; given where the images of the proof show it",
    )
    accuracy: Accuracy | None = Field(
        None,
        description="What was measured at the export on images with known answers, where there were any",
    )
    variant: Variant | None = Field(
        None,
        description="For a variant: a file beside a servable that computes nearly the same, faster",
    )
    certificate: Certificate = Field(description="The proof that this is the network of its source")

    @model_validator(mode="after")
    def _reads_images_or_features(self) -> Self:
        if self.input is not None:
            return self
        if self.backbone is None or self.backbone_sha256 is None or self.window is None:
            raise ValueError(
                "a network needs an input; one over the features of several frames needs its backbone, "
                "the digest of the backbone's graph, and its window"
            )
        return self

    @model_validator(mode="after")
    def _has_its_background(self) -> Self:
        if (
            self.background_id is not None
            and self.labels
            and self.background_id >= len(self.labels)
        ):
            raise ValueError("background_id is the id of no label")
        return self

    @property
    def image_input(self) -> ImageInput:
        """The image input; only a temporal head has none.

        Raises:
            CardError: the network takes features, not images.
        """
        if self.input is None:
            raise CardError(f"{self.name} takes features, not images")
        return self.input


def _listed(values: tuple[float, ...]) -> str:
    """Return numbers with commas between, or one where all are the same."""
    return ", ".join(f"{value:.4g}" for value in (values[:1] if len(set(values)) == 1 else values))
