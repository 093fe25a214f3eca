"""The service without HTTP: settings in, an engine out that predicts, infers, watches videos and explains.

Routes, protocols, the command line and other programs call an engine and nothing below it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import FovealError, InvalidParameterError
from service.explain.options import ExplainOptions
from service.explain.views import ExplainResult
from service.imaging.overlay import RenderedImage
from service.machinery import Machinery
from service.pipeline import EncodedImage
from service.runtime.job import JobResult
from service.runtime.model import Model
from service.settings import Settings
from service.tasks.given import options_of
from service.tasks.task import Task, TaskOptions
from service.tasks.tasks import TASKS
from service.video.events import VideoEvent
from service.video.options import SamplingOptions
from service.video.source import Source


class Engine(Machinery):
    """Everything that the service can do. It accepts work inside `running()` only."""

    # Tasks.

    def task(self, name: str) -> Task:
        """Return a task by its name.

        Raises:
            InvalidParameterError: there is none.
        """
        try:
            return self.tasks[name]
        except KeyError:
            known = ", ".join(self.tasks)
            raise InvalidParameterError(f"task: there is no {name!r}. Tasks: {known}.") from None

    async def predict(
        self,
        task: str,
        images: Sequence[EncodedImage],
        options: TaskOptions | Mapping[str, Any] | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        rendering: str | None = None,
        timeout_seconds: float | None = None,
    ) -> list[Any]:
        """Take images through a task and return each one's result, in order.

        Args:
            task: its name.
            images: the bytes of each encoded image: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.
            options: an instance of the task's `options` (`service.tasks.detect.DetectOptions`), or its fields by name;
                None: the defaults.
            model: the model's name; None: the task's default model.
            version: None: the newest that is ready.
            rendering: a rendering's name, for `RenderedImage`s in place of results.
            timeout_seconds: until when; None: the setting.

        Returns:
            The task's `result` for each image, or the FovealError of that image.

        Raises:
            FovealError: the call as a whole can not be answered.
        """
        found = self.task(task)
        call = self.dispatch.call(
            found,
            options_of(found.options, options),
            model=model,
            version=version,
            rendering=rendering,
        )
        seconds = self.dispatch.seconds(timeout_seconds)
        outcomes = await call.run(images, timeout_seconds=seconds)
        return _values(outcomes)

    def model(self, name: str, version: int | None = None) -> Model:
        """Return a model for what is said of it; a request that runs it has a call, which counts for the shares.

        Args:
            name: its name, `name:version` or `name@alias`, whatever its task.
            version: None: the one that would answer a request now.

        Raises:
            UnknownModelError, UnknownVersionError: there is no such model.
        """
        return self.registry.find(tuple(self.tasks), name, version, takes_turn=False)

    async def infer(
        self,
        model: str,
        tensors: Mapping[str, NDArray[Any]],
        *,
        version: int | None = None,
        timeout_seconds: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Run a network on tensors, through the same queue and batches as images.

        Args:
            model: its name, whatever its task.
            tensors: every input of the network by name, (N, …), in the network's own dtype.
            version: None: the newest that is ready.
            timeout_seconds: until when; None: the setting.

        Returns:
            Every output of the network by name, (N, …).

        Raises:
            UnknownModelError, UnknownVersionError: there is no such model.
            InvalidParameterError: a tensor is missing or has another dtype or shape than the network's input.
            FovealError: the first error of a row.
        """
        call = self.dispatch.tensor_call(model, version)
        rows = call.rows(tensors)
        seconds = self.dispatch.seconds(timeout_seconds)
        outcomes = await call.run(rows, timeout_seconds=seconds)
        found_rows = []
        for outcome in outcomes:
            if isinstance(outcome, FovealError):
                raise outcome
            found_rows.append(outcome.value)
        return {name: np.stack([row[name] for row in found_rows]) for name in found_rows[0]}

    # Videos.

    async def watch(
        self,
        task: str,
        video: Source,
        options: TaskOptions | Mapping[str, Any] | None = None,
        sampling: SamplingOptions | None = None,
        *,
        model: str | None = None,
        version: int | None = None,
        draws: bool = False,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[VideoEvent, None]:
        """Yield what happens while a video runs through a task: a start, frames, a summary.

        Iterate inside `contextlib.aclosing`: what has not run is dropped when the iteration is closed.

        Args:
            task: its name.
            video: a binary file object: MP4, MOV, WebM, Matroska, AVI, GIF, animated PNG or animated WebP.
            options: an instance of the task's `over_time.options` (`service.tasks.detect.DetectVideoOptions`), or its
                fields by name; None: the defaults.
            sampling: which frames; None: two frames per second, for temporal networks the card's rate.
            model: the model's name; None: the task's default model.
            version: None: the newest that is ready.
            draws: whether each frame is returned with its result drawn on it.
            timeout_seconds: how long each frame may take; None: the setting.

        Raises:
            FovealError: the video can not be read, or a network does not answer.
        """
        found = self.task(task)
        kind = found.over_time.options if found.over_time is not None else TaskOptions
        run = self.dispatch.video_run(
            found,
            options_of(kind, options),
            sampling or SamplingOptions(),
            model=model,
            version=version,
            draws=draws,
            timeout_seconds=timeout_seconds,
        )
        async with aclosing(self.videos.run(run, video, stop_reading=_nothing)) as events:
            async for event in events:
                yield event

    # Chains.

    async def read(
        self,
        images: Sequence[EncodedImage],
        chain: str | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> list[Any]:
        """Take images through a chain and return each one's `ChainResult`, or its FovealError, in order.

        Args:
            images: the bytes of each encoded image.
            chain: its name; None: the default chain.
            timeout_seconds: until when; None: the setting.

        Raises:
            FovealError: the call as a whole can not be answered.
        """
        call = self.chains.call(chain)
        seconds = self.dispatch.seconds(timeout_seconds)
        outcomes = await call.run(images, timeout_seconds=seconds)
        return _values(outcomes)

    # Explanations.

    async def explain(
        self,
        image: EncodedImage | None,
        options: ExplainOptions,
        *,
        model: str | None = None,
        version: int | None = None,
        timeout_seconds: float | None = None,
    ) -> ExplainResult | RenderedImage:
        """Return an explanation of a network: what it sees in an image, or what its first filters look like.

        Args:
            image: an encoded image; None for `view=filters`.
            options: the view, its form (JSON unless given) and its options.
            model: the model's name; None: the default classifier.
            version: None: the newest that is ready.
            timeout_seconds: how long each run of the network may take; None: the setting.

        Raises:
            FovealError: the network does not allow it, the image can not be read, or a run failed.
        """
        call = self.dispatch.explain_call(
            options, options.format or "json", model=model, version=version
        )
        seconds = self.dispatch.seconds(timeout_seconds)
        return (await call.run(image, timeout_seconds=seconds)).value


@asynccontextmanager
async def open_engine(
    settings: Settings, *, tasks: Mapping[str, Task] = TASKS
) -> AsyncIterator[Engine]:
    """Give an engine for the length of the block, its models loaded.

    A model that can not be loaded does not end the block: `engine.not_ready()` says why it is not served.

    Raises:
        ConfigurationError: the device does not work, there is no repository, or a default names no model.
    """
    engine = Engine(settings, tasks=tasks)
    async with engine.running():
        await engine.loaded.wait()
        yield engine


def _values(outcomes: Sequence[JobResult[Any] | FovealError]) -> list[Any]:
    return [one.value if isinstance(one, JobResult) else one for one in outcomes]


def _nothing() -> None:
    """A file that is complete needs no wake-up."""
