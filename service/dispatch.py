"""What a request asks for → a call that is ready to run: its model is found, and its options are held against it."""

from collections.abc import Callable, Mapping

from service.caching import CachingPipeline
from service.calls import ExplainCall, ShadowCall, TaskCall, TensorCall, TensorShadow
from service.card import Card
from service.chains.chains import CHAIN, Chains
from service.chains.over_time import ChainCombiner
from service.errors import InvalidParameterError
from service.explain.options import (
    ExplainOptions,
    FiltersOptions,
    explain_request,
    filters_request,
)
from service.explain.request import Form
from service.explain.runner import Runner
from service.pipeline import Pipeline
from service.runtime.model import Model
from service.runtime.registry import Registry
from service.shadows import Shadows
from service.tasks.task import JsonForm, Task, TaskOptions
from service.video.options import DEFAULT_FPS, SamplingOptions
from service.video.pipeline import VideoRun


class Dispatch:
    """Makes the calls of an engine. A call holds its model until it has run.

    Args:
        tasks: that the engine offers, by name.
        registry: has the models.
        pipeline: takes images through them.
        cache: has answers that are known already; None: none is kept.
        shadows: run what a second version runs too.
        runner: explains networks.
        chains: are called by name.
        timeout_seconds: of a call that names no time.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        *,
        registry: Registry,
        pipeline: Pipeline,
        cache: CachingPipeline | None,
        shadows: Shadows,
        runner: Runner,
        chains: Chains,
        timeout_seconds: float,
    ) -> None:
        self._tasks = tasks
        self._registry = registry
        self._pipeline = pipeline
        self._cache = cache
        self._shadows = shadows
        self._runner = runner
        self._chains = chains
        self._timeout_seconds = timeout_seconds

    def seconds(self, timeout_seconds: float | None) -> float:
        """Return how long a call may take: the setting, unless it names a time."""
        return self._timeout_seconds if timeout_seconds is None else timeout_seconds

    def call(
        self,
        task: Task,
        options: TaskOptions | Callable[[Card], TaskOptions],
        *,
        model: str | None = None,
        version: int | None = None,
        rendering: str | None = None,
        media_type: str = "",
        form: JsonForm | None = None,
    ) -> TaskCall:
        """Return a call of a task, its options held against the model that will run.

        Args:
            task: one of `tasks`; a variation of it is a `form`, so that answers of both are never mistaken.
            options: of the request, or what makes them for a model.
            model: its name, `name:version` or `name@alias`; None: the task's default model.
            version: None: by the model's shares, else the newest that is ready.
            rendering: a rendering's name; None: JSON.
            media_type: of the rendering; empty: its first one.
            form: the JSON that another protocol needs; None: the task's own.

        Raises:
            UnknownModelError, UnknownVersionError, WrongTaskError: no such model does the task.
            InvalidParameterError: the model can not do what is wanted.
        """
        if task.head is None:
            raise InvalidParameterError(f"task: {task.name} takes videos, not images")
        assert self._tasks.get(task.name) is task  # a name stands for one head
        found = self._registry.find(task.networks, model, version, task=task.name)
        own = _options_for(options, found.card)
        settled = task.settle(own, found.card)
        chosen = None
        if rendering is not None:
            chosen = task.rendering(rendering)
            chosen.check(found.card)
            media_type = media_type or chosen.media_types[0]
        else:
            media_type = ""
        question: tuple[str, ...] = ()
        if self._cache is not None:
            shape = rendering or ("" if form is None else f" {form.key}")
            question = (task.name, shape, media_type, _text_of(task, own))
        return TaskCall(
            task,
            found,
            settled,
            chosen,
            media_type,
            self._pipeline,
            found.lease,
            self._cache,
            question,
            None if chosen else self._shadow_call(found, options, model, version),
            form,
        )

    def _shadow_call(
        self,
        found: Model,
        options: TaskOptions | Callable[[Card], TaskOptions],
        name: str | None,
        version: int | None,
    ) -> ShadowCall | None:
        shadow = self._registry.shadow_of(found, name, version)
        if shadow is None:
            return None
        return ShadowCall(shadow, _options_for(options, shadow.card), self._shadows)

    def tensor_call(self, model: str, version: int | None = None) -> TensorCall:
        """Return a call of a network without a head.

        Args:
            model: its name, whatever its task.
            version: None: the newest that is ready.

        Raises:
            UnknownModelError, UnknownVersionError: there is no such model.
        """
        found = self._registry.find(tuple(self._tasks), model, version)
        shadow, task = None, self._tasks.get(found.card.task)
        second = self._registry.shadow_of(found, model, version)
        if second is not None and task is not None and task.head and found.card.input:
            shadow = TensorShadow(second, task, self._shadows)
        return TensorCall(found, self._pipeline, found.lease, self._cache, shadow)

    def video_run(
        self,
        task: Task,
        options: TaskOptions,
        sampling: SamplingOptions,
        *,
        model: str | None = None,
        version: int | None = None,
        draws: bool = False,
        timeout_seconds: float | None = None,
    ) -> VideoRun:
        """Return how a video runs through a task, its options held against the model that will run.

        Raises:
            UnknownModelError, UnknownVersionError, WrongTaskError: no such model does the task.
            InvalidParameterError: the task or the model can not do what is wanted.
            NotReadyError: the backbone of a temporal network is not served.
        """
        over_time = task.over_time
        if over_time is None:
            raise InvalidParameterError(f"task: {task.name} takes images, not videos")
        if draws and not over_time.draws:
            raise InvalidParameterError(f"format: {task.name} has nothing that can be drawn")
        found = self._registry.find(task.networks, model, version, task=task.name)
        window = found.card.window
        backbone = self._registry.backbone_of(found) if found.card.backbone else found
        return VideoRun(
            task=task.name,
            model=found,
            backbone=backbone,
            leases=(found.lease, backbone.lease),
            combiner=over_time.begin(options, found.card),
            sampling=sampling.sampling(window.fps if window else DEFAULT_FPS),
            draws=draws,
            timeout_seconds=self.seconds(timeout_seconds),
            served={"model": found.name, "version": found.version},
        )

    def chain_run(
        self,
        sampling: SamplingOptions,
        *,
        name: str | None = None,
        draws: bool = False,
        timeout_seconds: float | None = None,
    ) -> VideoRun:
        """Return how a video runs through a chain.

        Raises:
            UnknownModelError: there is no such chain.
            NotReadyError: a model of the chain is not served.
        """
        call = self._chains.call(name)
        seconds = self.seconds(timeout_seconds)
        combiner = ChainCombiner(call, seconds)
        return VideoRun(
            task=CHAIN,
            model=call.first.model,
            backbone=call.first.model,
            combiner=combiner,
            sampling=sampling.sampling(DEFAULT_FPS),
            draws=draws,
            timeout_seconds=seconds,
            served={"chain": call.chain.name, "steps": call.steps},
            follow=combiner.follow,
        )

    def explain_call(
        self,
        options: ExplainOptions | FiltersOptions,
        form: Form,
        *,
        model: str | None = None,
        version: int | None = None,
    ) -> ExplainCall:
        """Return a call of a view, its options held against the model that is explained.

        Raises:
            UnknownModelError, UnknownVersionError, WrongTaskError: no such model can be explained.
            InvalidParameterError: the view does not use an option, or the model does not allow it.
        """
        explained = [name for name, task in self._tasks.items() if task.target is not None]
        found = self._registry.find(explained, model, version)
        if isinstance(options, FiltersOptions):
            request = filters_request(options, form)
        else:
            request = explain_request(options, found.card, form)
        return ExplainCall(
            self._tasks[found.card.task], found, request, self._runner, self._registry, found.lease
        )


def _options_for(options: TaskOptions | Callable[[Card], TaskOptions], card: Card) -> TaskOptions:
    return options if isinstance(options, TaskOptions) else options(card)


def _text_of(task: Task, options: TaskOptions) -> str:
    """Return a task's own options as text, without the model and the format that a query holds beside them."""
    return options.model_dump_json(include=set(task.options.model_fields))
