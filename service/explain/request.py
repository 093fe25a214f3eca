"""What a request wants to see, checked against what the network has."""

from dataclasses import dataclass
from typing import Literal

from service.card import Card, Stage
from service.errors import InvalidParameterError

View = Literal["filters", "maps", "patterns", "cam", "occlusion", "rise", "probe", "story"]
Method = Literal["auto", "cam", "eigencam", "rise"]
Form = Literal["json", "sheet", "overlay", "heat"]

MOST_SAMPLES = 4000
"""Perturbed copies of one request; RISE's authors took as many for their figures on VGG."""


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """A request, with its class and stage looked up; what None means is the view's own choice."""

    view: View
    form: Form
    stage: Stage | None = None
    channel: int | None = None
    channels: int = 16
    count: int = 9
    class_id: int | None = None
    box: int = 0
    method: Method = "auto"
    samples: int | None = None
    seed: int = 0
    score: bool = True
    steps: int = 16
    thumbnails: bool = False


def find_stage(card: Card, name: str | None) -> Stage | None:
    """Return the stage of this name, None for none asked for.

    Raises:
        InvalidParameterError: the card has no such stage.
    """
    if name is None:
        return None
    require_stages(card)
    for stage in card.stages:
        if stage.name == name:
            return stage
    names = ", ".join(stage.name for stage in card.stages)
    raise InvalidParameterError(f"stage: {card.name} has no stage {name!r}. Stages: {names}.")


def require_stages(card: Card) -> None:
    """Raise where the card names no inner maps.

    Raises:
        InvalidParameterError: it names none; the message says how to get them.
    """
    if not card.stages:
        raise InvalidParameterError(
            f"view: the card of {card.name} lists no `stages`, the inner maps worth looking at. "
            "Export it again with foveal-export, which finds them; views without inner maps: filters, "
            "occlusion, rise, probe."
        )


def check_channel(stage: Stage | None, channel: int | None) -> None:
    """Raise where a channel is asked for that no stage has.

    Raises:
        InvalidParameterError: no stage is named, or it has fewer channels.
    """
    if channel is None:
        return
    if stage is None:
        raise InvalidParameterError("channel: name its stage too, as in stage=stage_1&channel=0")
    if channel >= stage.channels:
        raise InvalidParameterError(
            f"channel: {stage.name} has the channels 0 to {stage.channels - 1}, not {channel}"
        )
