"""A step of a chain on the model that runs it, found when a request comes; perhaps with a shadow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.chains.definition import Chain, CheckedStep
from service.errors import FovealError, NotReadyError
from service.heads.detect import Detection
from service.heads.outputs import Outputs
from service.imaging.source_image import SourceImage
from service.runtime.model import Lease, Model
from service.runtime.registry import Registry


@dataclass(frozen=True, slots=True)
class Found:
    """The boxes of a step, and the image that they are on; `outputs` are the network's, where a shadow needs them."""

    things: Sequence[Detection]
    source: SourceImage
    outputs: Outputs | None = None


@dataclass(frozen=True, slots=True)
class StepCall:
    """A step on the model that runs it, with options that the model allows, and the version that is its shadow."""

    checked: CheckedStep
    model: Model
    options: Any
    followers: "tuple[StepCall, ...]"
    lease: Lease | None
    shadow: Model | None = None

    def head(self, outputs: Outputs, source: SourceImage) -> Any:  # noqa: ANN401  # of any task
        """Return the task's result of an image or crop, or what was found there; for worker threads."""
        card, task = self.model.card, self.checked.task
        if self.followers:
            assert task.boxes is not None  # the definition was checked
            things = task.boxes.find(outputs, source, card, self.options, self.checked.boxes)
            return Found(things, source)
        assert task.head is not None
        return task.head(outputs, source, card, self.options)

    @property
    def all(self) -> "list[StepCall]":
        """This step and all behind it."""
        return [self, *(one for follower in self.followers for one in follower.all)]


def bind(chain: Chain, registry: Registry, *, takes_turn: bool = True) -> StepCall:
    """Return a chain on the models that are served now; `takes_turn`: for a request, which counts for the shares.

    Raises:
        NotReadyError: a model of the chain is not served, or can not do what its step wants.
    """
    return _bound(chain, chain.first, registry, takes_turn=takes_turn)


def _bound(chain: Chain, checked: CheckedStep, registry: Registry, *, takes_turn: bool) -> StepCall:
    step, task = checked.stated, checked.task
    try:
        model = registry.find(
            task.networks, step.model, step.version, task=task.name, takes_turn=takes_turn
        )
        options = task.settle(checked.options, model.card)
    except FovealError as error:
        raise NotReadyError(
            f"The step {step.name} of the chain {chain.name} can not run. {error}"
        ) from error
    followers = tuple(
        _bound(chain, one, registry, takes_turn=takes_turn) for one in checked.followers
    )
    shadow = registry.shadow_of(model, step.model, step.version)
    return StepCall(checked, model, options, followers, model.lease, shadow)
