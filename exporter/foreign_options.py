"""Options of other tools, which an export does not have, and what is written in their place."""

from collections.abc import Sequence

from exporter.errors import RecipeError

_CLASSES = "--arg num_classes=N"
_SIZE = "--height N --width N"
_PLACE = "--models FOLDER --name NAME, which write FOLDER/NAME/1/model.onnx"
_WEIGHTS = "--weights FILE"
_LABELS = "--labels FILE, with one label per line"

FOREIGN = {
    "--num-classes": _CLASSES,
    "--num_classes": _CLASSES,
    "--nc": _CLASSES,
    "--imgsz": _SIZE,
    "--img": _SIZE,
    "--img-size": _SIZE,
    "--image-size": _SIZE,
    "--input-size": _SIZE,
    "--size": _SIZE,
    "-o": _PLACE,
    "--out": _PLACE,
    "--output": _PLACE,
    "--output-dir": _PLACE,
    "--checkpoint": _WEIGHTS,
    "--ckpt": _WEIGHTS,
    "--class-names": _LABELS,
    "--names": _LABELS,
    "--half": "--precision fp16",
    "--fp16": "--precision fp16",
    "--int8": "--precision int8",
}
"""By the option of another tool, ours."""


def refuse_foreign_options(words: Sequence[str]) -> None:
    """Refuse options of other tools by the names of ours.

    Args:
        words: the command line of an export.

    Raises:
        RecipeError: one of them is such an option.
    """
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option not in FOREIGN:
            continue
        following = [value] if equals else words[place + 1 : place + 2]
        ours = FOREIGN[option]
        if following and following[0].isdecimal():
            ours = ours.replace("N", following[0]) if ours in {_CLASSES, _SIZE} else ours
        raise RecipeError(f"There is no option {option}. Write {ours}")
