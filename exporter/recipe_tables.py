"""The tables of a recipe: the image input, the proof, and what a task's raw outputs mean."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.card import Interpolation, Placement, ResizePolicy

Activation = Literal["softmax", "sigmoid", "none", "percent", "exp"]
BoxPart = Literal["format", "unit", "nms_free"]

_ACTIVATION_HELP = (
    "What makes probabilities of the raw scores: none where they are probabilities, percent where they are 0 to 100, "
    "exp where they are logarithms of probabilities. Without it the end of the graph and the values on images decide."
)


@dataclass(frozen=True, slots=True)
class OptionName:
    """The name of a field's command-line option where it is not the field's own name; None for no option.

    Fields of several tables may share a name: the value then goes to the table that is named like the task. `others`
    are names that are read too, and that the help does not show. With `has_opposite`, `--no-NAME` states that it is
    not so, where something else decides a field that is not given.
    """

    name: str | None
    others: tuple[str, ...] = ()
    has_opposite: bool = False


class Table(BaseModel):
    """Fields of a recipe, all of which it names: an unknown one is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRecipe(Table):
    """The parts of the card's image input that the recipe states; the source or a default gives the others."""

    height: int | None = Field(
        None, ge=1, le=16384, description="Height of the network's input, in pixels."
    )
    width: int | None = Field(
        None, ge=1, le=16384, description="Width of the network's input, in pixels."
    )
    resize: ResizePolicy | None = Field(None, description="How an image is fitted to this size.")
    shorter_side: int | None = Field(
        None,
        ge=1,
        le=16384,
        description="With crop: the image's shorter side before the crop, in pixels.",
    )
    interpolation: Interpolation | None = Field(
        None,
        description="Interpolation of the resize, by its name in Pillow. linear: bilinear without antialiasing, as "
        "OpenCV's INTER_LINEAR, and TensorFlow's and PyTorch's bilinear with antialias=False.",
    )
    pad_color: tuple[int, int, int] | None = Field(
        None, description="With letterbox: red, green and blue of the border, as 114,114,114."
    )
    placement: Placement | None = Field(
        None,
        description="With letterbox: where the image lies. corner: in the upper left one, with the border on the right "
        "and below, as YOLOX and MMDetection have it; without it in the center.",
    )


class ProofRecipe(Table):
    """How the proof is made, and what it requires."""

    images: Annotated[Path | None, OptionName("images", others=("pictures",))] = Field(
        None,
        description="A folder of images to prove and to calibrate with. Without it the source's own images are "
        "used, else scikit-image's photographs.",
    )
    limit: Annotated[int, OptionName("image-limit")] = Field(
        70, ge=1, description="The largest number of these images that is used."
    )
    labeled: Path | None = Field(
        None,
        description="Images with known answers, to measure the accuracy with: a folder with a folder for each class, a "
        ".csv (file, label), COCO's .json, or for masks a folder with images and masks.",
    )
    labeled_images: Path | None = Field(
        None, description="The folder of the images that --labeled names, where it is another one."
    )
    labeled_limit: int = Field(
        1000, ge=1, description="The largest number of labeled images that is measured with."
    )
    largest: Annotated[int, OptionName("largest-batch")] = Field(
        16,
        ge=1,
        le=1024,
        description="The largest batch at which the outputs are compared. With 1 a network whose images change each "
        "other's answers is not refused, and served one image at a time.",
    )
    tolerance: float = Field(
        1e-3,
        gt=0,
        description="The largest difference between graph and source that is allowed in fp32, below 1. Where it is not "
        "stated, rounding may explain up to 0.05. fp16 and int8 have tolerances of their own.",
    )
    agreement: float = Field(
        0.95, ge=0, le=1, description="The smallest agreement on whole images that is allowed."
    )


class ClassifyRecipe(Table):
    """What the raw scores of a classifier mean."""

    activation: Activation | None = Field(None, description=_ACTIVATION_HELP)


class SegmentRecipe(Table):
    """What the maps of a segmentation network mean."""

    activation: Activation | None = Field(None, description=_ACTIVATION_HELP)
    background_id: int | None = Field(
        None, description="The class id that is background and is not reported as an object."
    )


MOST_CANDIDATES = 16384


class DetectRecipe(Table):
    """What the raw outputs of a detector mean.

    `pair` has one output for boxes and one for scores, `triple` a further one for classes, `pair_objectness` a further
    one that the scores are multiplied by, as an objectness or a centerness. `yolov5`, `yolov8`,
    `end2end` and `detr` are the forms of Ultralytics' networks, `yolov5_columns` is the first one transposed, `yolov7`
    is that network with its own suppression, and `yolox` has boxes relative to a grid. `yolov8_rows` is YOLOv8's,
    transposed. `class_score` is `end2end` with the class before the score. `detection_output` is the list that Caffe's
    and OpenVINO's layer of that name gives. `mmdet`, `paddle` and `efficientdet` are what MMDetection's,
    PaddleDetection's and TensorFlow's EfficientDet give after suppression.
    """

    decoder: Literal[
        "pair",
        "pair_objectness",
        "triple",
        "yolov5",
        "yolov5_columns",
        "yolov7",
        "yolov8",
        "yolov8_rows",
        "yolox",
        "end2end",
        "class_score",
        "detr",
        "detection_output",
        "mmdet",
        "paddle",
        "efficientdet",
    ] = Field(
        "pair",
        description="Form of the raw outputs: pair is boxes and scores, pair_objectness is boxes, scores and "
        "an objectness that multiplies them, triple is boxes, scores and classes; "
        "YOLO11 and YOLO12 have yolov8's form. An ONNX file's own shapes decide where it is not given.",
    )
    box_format: Literal["xyxy", "yxyx", "xywh", "yxhw", "cxcywh", "cycxhw", "grid"] = Field(
        "xyxy",
        description="What the four numbers of a box are: two corners, a corner and the size, or the center and the "
        "size, each with x or with y first; grid is YOLOX's offset from a cell and logarithm of the size.",
    )
    box_unit: Literal["frame", "pixel"] = Field(
        "frame", description="Unit of a box: frame is 0 to 1 of the input, pixel is its pixels."
    )
    score_activation: Annotated[Activation | None, OptionName("activation")] = Field(
        None, description=_ACTIVATION_HELP
    )
    background: Literal["none", "first", "last"] = Field(
        "none", description="The column of the scores that is background; it never becomes a box."
    )
    class_offset: int = Field(
        0,
        ge=-1,
        description="What is added to the network's class ids: 1 where the labels begin with a background that is no "
        "class of the network, -1 where its ids begin at 1, or its first column is the background, and no label is.",
    )
    one_class_a_box: bool = Field(
        default=False, description="Report only the best class of each box."
    )
    nms_free: Annotated[bool, OptionName("nms-free", has_opposite=True)] = Field(
        default=False,
        description="The network itself gives each object one box: requests get no non-maximum suppression by "
        "default. The source, or the form of the outputs and boxes on real images, decides where it is not given.",
    )
    candidates: int = Field(
        2048,
        ge=1,
        le=MOST_CANDIDATES,
        description="The number of candidates before suppression.",
    )
    best_only: bool = Field(
        default=False,
        description="Return the best candidates alone, also where more of them than `candidates` have a score of at "
        "least 0.05. Else the graph then suppresses them itself, and what is kept comes first, so that no object of a "
        "crowd is lost; but a GPU does not capture it as a CUDA graph.",
    )


class WindowRecipe(Table):
    """How a temporal head reads a video; see `service.card.Window`."""

    frames: Annotated[int, OptionName("window-frames")] = Field(
        ge=2, description="Frames in a window."
    )
    stride: Annotated[int, OptionName("window-stride")] = Field(
        ge=1, description="Frames between the beginnings of two windows."
    )
    fps: Annotated[float, OptionName("window-fps")] = Field(
        gt=0, description="Frames per second at which a video is sampled."
    )
