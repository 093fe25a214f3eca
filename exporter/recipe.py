"""The request for a servable: which network, as what, and what only its owner can know.

A recipe is a TOML file beside the versions it makes, or the command line's arguments, which say the same.
"""

import json
import tomllib
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from exporter.errors import RecipeError
from service.card import ImageInput, Interpolation, ResizePolicy, Task

PACKAGE_PREFIX = "package:"
Triple = tuple[float, float, float]
Precision = Literal["fp32", "fp16", "int8"]
ImageTask = Literal["classify", "segment", "detect", "embed"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pixels(_Frozen):
    """What the network wants in a pixel's place: `(byte · scale − mean) / std` a channel, in its layout and order.

    With `gray` there is one channel, ITU-R BT.601 luma of the image's red, green and blue, and the first of `mean`
    and `std` counts.
    """

    layout: Literal["NCHW", "NHWC"] = "NCHW"
    scale: float = 1 / 255
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    color: Literal["rgb", "bgr", "gray"] = "rgb"

    @property
    def channels(self) -> int:
        return 1 if self.color == "gray" else 3


class InputRecipe(_Frozen):
    """What the recipe says itself of the card's image input; the source knows the rest, or it defaults."""

    height: int | None = None
    width: int | None = None
    resize: ResizePolicy | None = None
    shorter_side: int | None = None
    interpolation: Interpolation | None = None
    pad_color: tuple[int, int, int] | None = None


class ProofRecipe(_Frozen):
    """How hard the proof looks.

    `images` is a folder of the user's own; without it the source's own images or scikit-image's photographs serve.
    `tolerance` bounds the largest difference, `agreement` the measure on whole images.
    """

    images: str | None = None
    limit: int = Field(default=70, ge=1)
    largest: int = Field(default=16, ge=1)
    tolerance: float = Field(default=1e-3, gt=0)
    agreement: float = Field(default=0.95, ge=0, le=1)


class SegmentRecipe(_Frozen):
    """What the maps of a segmenter mean."""

    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    background_id: int | None = None


class DetectRecipe(_Frozen):
    """What the raw outputs of a detector mean.

    `pair` has an output for boxes and one for scores; the others are Ultralytics' YOLOs. Classes are
    the scores' columns from 0, `class_offset` more. The background's column is never a candidate.
    """

    decoder: Literal["pair", "yolov5", "yolov8", "end2end"] = "pair"
    box_format: Literal["xyxy", "yxyx", "xywh", "cxcywh"] = "xyxy"
    box_unit: Literal["frame", "pixel"] = "frame"
    score_activation: Literal["softmax", "sigmoid", "none"] = "none"
    background: Literal["none", "first", "last"] = "none"
    class_offset: int = Field(default=0, ge=0)
    one_class_a_box: bool = False
    candidates: int = Field(default=300, ge=1, le=300)


class WindowRecipe(_Frozen):
    """How a temporal head looks at a clip; see `service.card.Window`."""

    frames: int = Field(ge=2)
    stride: int = Field(ge=1)
    fps: float = Field(gt=0)


class Recipe(_Frozen):
    """Everything the exporter is told. Unset fields come from the source where it knows them."""

    source: str
    task: Task
    name: str
    version: int = Field(default=1, ge=1)
    title: str | None = None
    description: str | None = None
    license: str | None = None
    origin: str | None = None
    """Where the network comes from and how its files are got; becomes the card's `source`."""
    weights: str | None = None
    """A file, `package:PACKAGE/FILE`, an enum name of the source's, or `none`."""
    arguments: dict[str, Any] = {}
    """Keyword arguments of the source's callable."""
    labels: tuple[str, ...] | str | None = None
    """A list, or a file: .txt with one label a line; .json with a list, or with id → synonyms (the first is taken).
    `package:PACKAGE/FILE` lies in an installed package."""
    multi_label: bool = False
    scores: dict[str, float] = {}
    outputs: tuple[str, ...] = ()
    """The names of an adopted graph's outputs that matter, boxes before scores; all, where none is named."""
    backbone: str | None = None
    """For a temporal head, the servable whose features it reads: the path of its file from the recipe."""
    window: WindowRecipe | None = None
    segment: SegmentRecipe = SegmentRecipe()
    detect: DetectRecipe = DetectRecipe()
    input: InputRecipe = InputRecipe()
    pixels: Pixels | None = None
    precision: Annotated[tuple[Precision, ...], Field(min_length=1)] = ("fp32",)
    """In order of preference: the first that agrees with fp32 is written. One may be a plain string."""
    proof: ProofRecipe = ProofRecipe()
    folder: Path = Field(default=Path(), exclude=True)
    """Where relative files of the recipe start from."""

    @field_validator("precision", mode="before")
    @classmethod
    def _split(cls, said: object) -> object:
        """Take a string, with commas or without, for a list."""
        return tuple(one.strip() for one in said.split(",")) if isinstance(said, str) else said

    def locate(self, file: str) -> Path:
        """Return the path of a file that the recipe names, relative to the recipe or inside an installed package.

        Raises:
            RecipeError: no such package or file.
        """
        path = _in_package(file) if file.startswith(PACKAGE_PREFIX) else self.folder / file
        if not path.is_file():
            how = f" How it is got: {self.origin}" if self.origin else ""
            raise RecipeError(f"{file!r}: there is no file {path}.{how}")
        return path

    def image_input(self, known: ImageInput | None) -> ImageInput:
        """Return the image input: what the recipe says, then what the source knows.

        Raises:
            RecipeError: height and width are known to neither, or the parts contradict each other.
        """
        said = self.input.model_dump(exclude_none=True)
        merged = {**(known.model_dump() if known else {}), **said}
        if not {"height", "width"} <= merged.keys():
            raise RecipeError("The network's input size is not known: say --height and --width")
        if known is None and merged.get("resize", "crop") == "crop":
            merged.setdefault("shorter_side", max(merged["height"], merged["width"]))
        try:
            return ImageInput.model_validate(merged)
        except ValidationError as error:
            raise RecipeError(f"input: {error.errors()[0]['msg']}") from error

    def label_list(self) -> tuple[str, ...] | None:
        """Return the labels that the recipe gives, None where it leaves them to the source.

        Raises:
            RecipeError: the file is of no known kind.
        """
        if self.labels is None or isinstance(self.labels, tuple):
            return self.labels
        return read_labels(self.locate(self.labels))


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the labels in a file: .json with a list or id → synonyms, else one a line.

    Raises:
        RecipeError: the JSON holds neither.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return _labels_in_json(json.loads(text), path)
    return tuple(line.strip() for line in text.splitlines())


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a TOML file.

    Raises:
        RecipeError: it is missing, no TOML, or has a field that is wrong.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    return make_recipe({**content, "folder": path.parent})


def make_recipe(content: dict[str, Any]) -> Recipe:
    """Return the recipe that a table of fields describes.

    Raises:
        RecipeError: a field is missing, unknown or wrong; the message names it.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{where}: {first['msg']}") from error


def _labels_in_json(content: object, path: Path) -> tuple[str, ...]:
    if isinstance(content, list):
        return tuple(str(label) for label in content)
    if isinstance(content, dict) and all(key.isdecimal() for key in content):
        named = {int(key): str(value).split(",")[0] for key, value in content.items()}
        return tuple(named.get(class_id, "") for class_id in range(max(named) + 1))
    raise RecipeError(
        f"labels: {path.name} holds neither a list of labels nor an object of id → label"
    )


def _in_package(file: str) -> Path:
    package, _, inner = file.removeprefix(PACKAGE_PREFIX).partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise RecipeError(
            f"{file!r}: the package {package} is not installed. pip install 'foveal[exporter]'"
        )
    return reduce(Path.joinpath, inner.split("/"), Path(spec.origin).parent)
