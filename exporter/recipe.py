"""The request for a servable: which network, for which task, and what only its owner can know.

A recipe is a TOML file beside the versions that are made from it, or the command line's options. Each field is declared
here once, with its type, range, default and help text; `exporter.options` makes the command-line options from it.
"""

import re
import tomllib
from functools import reduce
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from exporter.errors import RecipeError, invalid_field
from exporter.file_kind import no_file
from exporter.input_contradictions import refuse_small_side, refuse_unread
from exporter.labels import read_labels, refuse_written_out
from exporter.recipe_tables import (
    ClassifyRecipe,
    DetectRecipe,
    InputRecipe,
    OptionName,
    ProofRecipe,
    SegmentRecipe,
    Table,
    WindowRecipe,
)
from service.card import ImageInput

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
PACKAGE_PREFIX = "package:"
Triple = tuple[float, float, float]
Precision = Literal["fp32", "fp16", "int8"]
VariantPrecision = Literal["int8", "bf16", "fp16"]
Task = Literal["classify", "segment", "detect", "embed", "temporal"]
LABELED: frozenset[Task] = frozenset({"classify", "segment", "detect", "temporal"})
"""The tasks whose networks have classes: an export asks for their labels where the source does not state them."""

AssumedPixels = Literal["mean", "std"]
ASSUMABLE: tuple[AssumedPixels, ...] = ("mean", "std")


class Pixels(Table):
    """The values that the network reads in place of a pixel: `(byte · scale − mean) / std` for each channel.

    With `gray` there is one channel, the ITU-R BT.601 luma of red, green and blue, and only the first number of
    `mean` and `std` is used.
    """

    layout: Literal["NCHW", "NHWC"] = Field("NCHW", description="Order of the axes.")
    scale: float = Field(1 / 255, description="Factor of a byte, applied before mean and std.")
    mean: Triple = Field((0.0, 0.0, 0.0), description="Mean of each channel, as 0.485,0.456,0.406.")
    std: Triple = Field(
        (1.0, 1.0, 1.0), description="Standard deviation of each channel, as 0.229,0.224,0.225."
    )
    color: Literal["rgb", "bgr", "gray"] = Field("rgb", description="Order of the channels.")

    @field_validator("scale", "mean", "std")
    @classmethod
    def _are_numbers(cls, value: float | Triple, info: ValidationInfo) -> float | Triple:
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(isfinite(one) for one in numbers):
            raise ValueError("NaN and infinity are no pixel values")
        if info.field_name != "mean" and 0 in numbers:
            raise ValueError("0 would make all pixels the same, or divide by 0")
        if info.field_name == "std" and min(numbers) < 0:
            raise ValueError(
                f"{min(numbers):g} is no standard deviation: give numbers above 0; a negative scale inverts pixels"
            )
        return value

    @property
    def channels(self) -> int:
        return 1 if self.color == "gray" else 3

    def shape(self, image_input: ImageInput) -> tuple[int, int, int]:
        """Return the shape of one image's pixel values, without the batch axis."""
        if self.layout == "NCHW":
            return (self.channels, image_input.height, image_input.width)
        return (image_input.height, image_input.width, self.channels)


class Recipe(Table):
    """Everything that an export is given. The source fills in what is unset, where it knows it."""

    source: str = Field(description="A recipe.toml, or KIND:WHERE; see the examples.")
    task: Task = Field(description="What the network does.")
    name: str = Field(
        description="Name of the servable: a-z, 0-9 and, after the first, also . _ -, at most 64 characters."
    )
    version: Annotated[int, OptionName(None)] = Field(
        1, ge=1, description="Version of the servable; the command line takes the next free one."
    )
    title: str | None = Field(None, description="Name of the network in prose.")
    description: str | None = Field(None, description="What the network does, in a sentence.")
    license: str | None = Field(None, description="License of the weights.")
    origin: str | None = Field(
        None,
        description="Where the network comes from and how to get its files; becomes the card's `source`.",
    )
    weights: str | None = Field(
        None,
        description="A file, package:PACKAGE/FILE, the name of published weights, DEFAULT, or none for random ones.",
    )
    code: Path | None = Field(
        None,
        description="The folder of the modules that python: and train: name. Without it the recipe's folder, then the "
        "working folder.",
    )
    arguments: Annotated[dict[str, Any], OptionName("arg")] = Field(
        {},
        description="A keyword argument of the source's callable, as num_classes=3. With onnx:, the value of an input "
        "beside the image, the same for every image: a number, which fills its shape, or a list of its shape. None, as "
        "encoder_weights=None, is Python's None.",
    )
    none_arguments: Annotated[tuple[str, ...], OptionName(None)] = Field(
        (),
        description="Keyword arguments of the source's callable that are Python's None, which TOML does not have; on "
        "the command line --arg NAME=None.",
    )
    labels: tuple[str, ...] | str | None = Field(
        None,
        description="A file of labels: text with one per line, JSON, a data.yaml, or the checkpoint or ONNX file that "
        "holds them. package:PACKAGE/FILE is a file of an installed package. A recipe file may hold a list.",
    )
    multi_label: bool = Field(
        default=False, description="An image may have several labels at once: sigmoid, not softmax."
    )
    scores: Annotated[dict[str, float], OptionName("score")] = Field(
        {}, description="A published score of the network, as top1=0.75."
    )
    outputs: tuple[str, ...] = Field(
        (), description="The outputs of an ONNX file to use, boxes before scores; else all."
    )
    backbone: str | None = Field(
        None, description="For task temporal: the model.onnx whose features the head reads."
    )
    precision: tuple[Precision, ...] = Field(
        ("fp32",),
        min_length=1,
        description="In order of preference, as int8,fp32. All are measured; the first that agrees with fp32 on 99 % "
        "of the images is written.",
    )
    variants: tuple[VariantPrecision, ...] = Field(
        (),
        description="Faster files beside the servable, as int8,bf16. A service with FOVEAL_PRECISION=fast uses the "
        "fastest that agrees on its own processor.",
    )
    input: InputRecipe = Field(InputRecipe(), description="Image input")
    pixels: Pixels | None = Field(None, description="Pixel values")
    classify: ClassifyRecipe = Field(ClassifyRecipe(), description="Task classify")
    segment: SegmentRecipe = Field(SegmentRecipe(), description="Task segment")
    detect: DetectRecipe = Field(DetectRecipe(), description="Task detect")
    window: WindowRecipe | None = Field(None, description="Task temporal")
    proof: ProofRecipe = Field(ProofRecipe(), description="Proof")
    folder: Path = Field(Path(), exclude=True)
    """The folder that relative paths of the recipe start from."""

    @model_validator(mode="after")
    def _has_arguments_that_are_none(self) -> Self:
        twice = [name for name in self.none_arguments if self.arguments.get(name) is not None]
        if twice:
            raise ValueError(f"{twice[0]} is in arguments and in none_arguments: leave one out")
        self.arguments.update(dict.fromkeys(self.none_arguments))
        return self

    @field_validator("precision", "variants", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Read a string as a list, with or without commas."""
        return tuple(one.strip() for one in value.split(",")) if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _can_name_a_model(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(
                f"{value!r} can not name a servable; use a-z, 0-9 and, after the first, also . _ -, "
                "at most 64 characters"
            )
        return value

    def pixel_values(self, known: Pixels | None) -> Pixels:
        """Return the pixel values: what the recipe states, completed by what the source knows."""
        stated = self.pixels.model_dump(exclude_unset=True) if self.pixels else {}
        return (known or Pixels()).model_copy(update=stated)

    def assumed_pixels(self, known: Pixels | None) -> tuple[AssumedPixels, ...]:
        """Return which of mean and std neither the recipe nor the source states.

        A scale and a mean without a std state the values completely: the std is 1.
        """
        stated = self.pixels.model_fields_set if self.pixels else set()
        if known is not None or {"scale", "mean"} <= stated:
            return ()
        return tuple(name for name in ASSUMABLE if name not in stated)

    def locate(self, file: str, field: str = "source") -> Path:
        """Return the path of a file that a field names, relative to the recipe or inside an installed package.

        Raises:
            RecipeError: there is no such package or file.
        """
        path = _in_package(file) if file.startswith(PACKAGE_PREFIX) else self.folder / file
        if not path.is_file():
            how = f" How to get it: {self.origin}" if self.origin else ""
            if field == "labels" and not how and not Path(file).suffix:
                how = " Labels are read from a file with one label per line: --labels FILE"
            what = no_file(path)
            raise RecipeError(f"{field} {file!r}: {what}.{how}")
        return path

    def image_input(self, known: ImageInput | None) -> ImageInput:
        """Return the image input: what the recipe states, completed by what the source knows.

        A crop of another size keeps the source's share of the image, unless the shorter side is stated.

        Raises:
            RecipeError: height or width is stated by neither, or the parts contradict each other.
        """
        stated = self.input.model_dump(exclude_none=True)
        merged = {**(known.model_dump() if known else {}), **stated}
        if known is not None and known.shorter_side and "shorter_side" not in stated:
            merged["shorter_side"] = _same_share(known, known.shorter_side, merged)
        if not {"height", "width"} <= merged.keys():
            raise RecipeError("The network's input size is not known: give --height and --width")
        resize = merged.get("resize", "crop")
        if resize == "crop" and not merged.get("shorter_side"):
            merged["shorter_side"] = max(merged["height"], merged["width"])
        refuse_unread(stated, resize)
        if resize == "crop":
            refuse_small_side(merged)
        else:
            merged["shorter_side"] = None
        try:
            return ImageInput.model_validate(merged)
        except ValidationError as error:
            raise RecipeError(f"input: {invalid_field(error)}") from error

    def label_list(self) -> tuple[str, ...] | None:
        """Return the labels that the recipe gives, None where the source gives them.

        Raises:
            RecipeError: the file is of no known kind.
        """
        if self.labels is None or isinstance(self.labels, tuple):
            return self.labels
        if not (self.folder / self.labels).exists():
            refuse_written_out(self.labels)
        return read_labels(self.locate(self.labels, "labels"))


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a TOML file.

    Raises:
        RecipeError: the file is missing, is not TOML, or has a wrong field.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text: save it as such") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    try:
        return make_recipe({**content, "folder": path.parent})
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def make_recipe(content: dict[str, Any]) -> Recipe:
    """Return the recipe with these fields.

    Raises:
        RecipeError: a field is missing, unknown or wrong; the message names it.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise invalid_field(error) from error


def _same_share(known: ImageInput, shorter_side: int, merged: dict[str, Any]) -> int:
    """Return the shorter side of which a crop of another size keeps the same share of the image, as timm does."""
    before, after = (max(size["height"], size["width"]) for size in (known.model_dump(), merged))
    return shorter_side * int(after) // int(before)


def _in_package(file: str) -> Path:
    package, _, inner = file.removeprefix(PACKAGE_PREFIX).partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise RecipeError(
            f"{file!r}: the package {package} is not installed. Install it into .venv with pip install; "
            "what the recipes in models/ need comes with `make export`."
        )
    return reduce(Path.joinpath, inner.split("/"), Path(spec.origin).parent)
