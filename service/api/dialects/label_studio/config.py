"""A project's label config: which of its tags can be filled in from an image, and what it calls each class."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Literal
from xml.etree import ElementTree

from service.errors import InvalidParameterError
from service.value import value

LARGEST_CONFIG = 256 * 1024
"""Characters: ten thousand labels with their colors."""
MOST_CONTROLS = 20
"""Tags that are filled in. Each repeats what is found in each image, and an image of its own may belong to each."""
Kind = Literal["RectangleLabels", "PolygonLabels", "BrushLabels", "Choices"]
TASKS: Mapping[Kind, str] = {
    "RectangleLabels": "detect",
    "PolygonLabels": "segment",
    "BrushLabels": "segment",
    "Choices": "classify",
}
"""The task that fills in a tag."""
_OPTION = {"Choices": "Choice"}
_UNSAFE = ("<!DOCTYPE", "<!ENTITY")


@value
class Control:
    """A tag that is filled in.

    Args:
        kind: the tag.
        name: its name in results.
        image: the name of the tag of the image.
        variable: the key of the image in the data of a task.
        labels: the label of the project, by the class of a model in lower case.
        several: whether an image may have several of the choices.
    """

    kind: Kind
    name: str
    image: str
    variable: str
    labels: Mapping[str, str]
    several: bool

    def label_of(self, name: str) -> str | None:
        """Return what the project calls a class of a model; None where it has no such label."""
        return self.labels.get(name.lower())


def controls_of(config: str) -> list[Control]:
    """Return the tags that can be filled in, in the order of the config. Blocking where it is large.

    A label stands for the classes in its `predicted_values`, and for the class of its own name or alias; upper and
    lower case are the same.

    Raises:
        InvalidParameterError: the config is not XML, is too large, or has too many such tags.
    """
    if len(config) > LARGEST_CONFIG:
        raise InvalidParameterError(
            f"The label config has {len(config)} characters; at most {LARGEST_CONFIG} are read."
        )
    if any(one in config for one in _UNSAFE):
        raise InvalidParameterError("The label config has a document type, which is not read.")
    try:
        root = ElementTree.fromstring(config)  # noqa: S314  # bounded, and without entities
    except ElementTree.ParseError as error:
        raise InvalidParameterError(f"The label config is not XML: {error}.") from error
    images = {
        one.get("name", ""): one.get("value", "")[1:]
        for one in root.iter("Image")
        if one.get("name") and one.get("value", "").startswith("$") and one.get("value") != "$"
    }
    found = list(islice(_elements(root, images), MOST_CONTROLS + 1))
    if len(found) > MOST_CONTROLS:
        raise InvalidParameterError(
            f"The label config has more than {MOST_CONTROLS} tags that are filled in ({', '.join(TASKS)}). Use fewer."
        )
    return [_control(*one, images) for one in found]


def _elements(
    root: ElementTree.Element, images: Mapping[str, str]
) -> Iterator[tuple[ElementTree.Element, Kind, str]]:
    """Yield each tag that can be filled in, its kind, and the name of its image."""
    for element in root.iter():
        kind = next((one for one in TASKS if one == element.tag), None)
        if kind is None:
            continue
        names = [one.strip() for one in element.get("toName", "").split(",")]
        image = next((one for one in names if one in images), None)
        if image is not None:
            yield element, kind, image


def _control(
    element: ElementTree.Element, kind: Kind, image: str, images: Mapping[str, str]
) -> Control:
    labels = _labels(element, _OPTION.get(kind, "Label"))
    several = element.get("choice") == "multiple"
    return Control(kind, element.get("name", ""), image, images[image], labels, several)


def _labels(element: ElementTree.Element, tag: str) -> dict[str, str]:
    by_name, by_prediction = dict[str, str](), dict[str, str]()
    for one in element.iter(tag):
        label = one.get("value", "")
        for name in (one.get("alias"), label):
            if name:
                by_name[name.lower()] = label
        for name in one.get("predicted_values", "").split(","):
            if name.strip():
                by_prediction[name.strip().lower()] = label
    return by_name | by_prediction
