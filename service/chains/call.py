"""A chain with the models that run it: the first step finds boxes, and each box fans out to the steps behind it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from service.chains.crop import Crop, bytes_of, chosen, pixels_of, region_of
from service.chains.crop_pixels import CropPixels
from service.chains.definition import Chain
from service.chains.overlay import draw_chain
from service.chains.result import ServedStep, answer_json, box_json
from service.chains.samples import Samples, found_with_outputs
from service.chains.step_call import Found, StepCall
from service.errors import ClientLeftError, FovealError, UnavailableError
from service.fanout import FanOut, HeldBytes
from service.heads.outputs import Outputs
from service.imaging.overlay import RenderedImage, encode_image, require_png
from service.imaging.room import SMALL_PIXELS, TIGHT_BYTES_PER_PIXEL
from service.imaging.source_image import SourceImage
from service.media_types import JPEG
from service.pipeline import EncodedImage, Pipeline, refuse
from service.runtime.job import Job, JobResult, Tensor, Trace
from service.runtime.model import Model
from service.shadows import Shadows

MOST_HELD_BYTES = 256 << 20
"""How many bytes the crops of one image may take that wait for the network of a step or run through it.

Of three steps the second and the third may hold as many each.
"""
HELD_SHARE = 8
"""Where memory is short, they take one in so many bytes of what large images have room for, or one crop does."""


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all images of a request share: the pixels that their crops may have, and what shadows will run."""

    pixels: CropPixels
    samples: Samples | None = None


@dataclass(frozen=True, slots=True)
class _Way:
    """Until when an image must be answered, by the clock, the trace of its first step, and what its request shares."""

    until: float
    trace: Trace | None
    shared: _Shared

    def note(self, crop: Trace) -> None:
        """Add a crop's part of the seconds of its batch to those of its image."""
        trace, count = self.trace, max(1, crop.batch_size)
        if trace is not None:
            trace.decode += crop.decode / count
            trace.infer += crop.infer / count
            trace.head += crop.head / count
            trace.batch_size = max(trace.batch_size, crop.batch_size)


@dataclass(frozen=True, slots=True)
class ChainCall:
    """A chain on the models that are served now; `run` takes images through it."""

    chain: Chain
    first: StepCall
    pipeline: Pipeline
    fan_out: FanOut
    shadows: Shadows
    clock: Callable[[], float] = time.perf_counter

    @property
    def models(self) -> list[Model]:
        """The models of all steps."""
        return [one.model for one in self.first.all]

    @property
    def steps(self) -> list[ServedStep]:
        """The steps in order, each with the model that runs it."""
        calls = {one.checked.stated.name: one for one in self.first.all}
        return [
            {
                "name": step.name,
                "task": step.task,
                "model": calls[step.name].model.name,
                "version": calls[step.name].model.version,
            }
            for step in self.chain.steps
        ]

    async def run(
        self, images: Sequence[EncodedImage], *, timeout_seconds: float
    ) -> list[JobResult[Mapping[str, Any]] | FovealError]:
        """Return each image's result or its own error, in order.

        The first step runs on all images together. Then the crops of one image after the other go through the low-
        priority lines of their models.

        Raises:
            OverloadedError: as many requests fan out as may, or a queue is full.
            UnavailableError: a model is not ready, or the service is shutting down.
            TooManyPixelsError: all images together have too many.
        """
        until = self.clock() + timeout_seconds
        with self.fan_out.admit():
            outcomes = await self.pipeline.predict(
                self.first.model,
                images,
                self._first_head(),
                timeout_seconds=timeout_seconds,
                low_priority=True,
            )
            samples = Samples(self.first)
            shared = _Shared(self._crop_pixels(), samples)
            results = [await self._result(one, until, shared) for one in outcomes]
        samples.offer(self.shadows, images, outcomes)
        return results

    async def render(
        self, image: EncodedImage, *, timeout_seconds: float, media_type: str
    ) -> JobResult[RenderedImage]:
        """Return the image with its boxes and what the steps say of them.

        Raises:
            FovealError: the image can not be read, or as `run` says.
        """
        until = self.clock() + timeout_seconds
        with self.fan_out.admit():
            (outcome,) = await self.pipeline.predict(
                self.first.model,
                [image],
                self._first_head(),
                timeout_seconds=timeout_seconds,
                low_priority=True,
                require=None if media_type == JPEG else require_png,
            )
            if isinstance(outcome, FovealError):
                raise outcome
            samples = Samples(self.first)
            shared = _Shared(self._crop_pixels(), samples)
            async with self.pipeline.displayed(outcome.value.source, until) as shown:
                result = await self._result(outcome, until, shared, shown)
                assert isinstance(result, JobResult)
                samples.offer(self.shadows, [image], [outcome])

                def draw() -> RenderedImage:
                    drawn = draw_chain(shown, result.value["boxes"])
                    return encode_image(drawn, "jpeg" if media_type == JPEG else "png")

                return JobResult(await asyncio.to_thread(draw), outcome.trace)

    def _first_head(self) -> Callable[[Outputs, SourceImage], Found]:
        if self.first.shadow is None:
            return self.first.head
        return partial(found_with_outputs, self.first)

    async def _result(
        self,
        outcome: JobResult[Found] | FovealError,
        until: float,
        shared: _Shared,
        shown: Image.Image | None = None,
    ) -> JobResult[Mapping[str, Any]] | FovealError:
        if isinstance(outcome, FovealError):
            if isinstance(outcome, UnavailableError | ClientLeftError):
                raise outcome
            return outcome
        found, trace = outcome.value, outcome.trace
        boxes = await self.follow(found, until, shown, trace, shared)
        geometry = found.source.geometry
        result = {
            "width": geometry.width,
            "height": geometry.height,
            "found": len(found.things),
            "boxes": boxes,
        }
        return JobResult(result, trace)

    async def follow(
        self,
        found: Found,
        until: float,
        shown: Image.Image | None = None,
        trace: Trace | None = None,
        shared: _Shared | None = None,
    ) -> list[dict[str, Any]]:
        """Return the boxes of the first step as JSON, each with what the later steps say of it.

        Args:
            found: the boxes, and the image that they are on.
            until: when it must be ready, by the clock.
            shown: the image as displayed, where it was decoded already.
            trace: gets each crop's part of the seconds of its batch, and the size of the largest of these batches.
            shared: what the images of the request share; None: there is one, as in a video, and no shadow runs.

        Raises:
            UnavailableError: a model is not ready, a queue is full, the deadline passed, or the service ends.
        """
        size = (found.source.geometry.width, found.source.geometry.height)
        way = _Way(until, trace, shared or _Shared(self._crop_pixels()))
        if shown is None and any(
            chosen(one.checked.stated, found.things, size) for one in self.first.followers
        ):
            async with self.pipeline.displayed(found.source, until) as decoded:
                return await self._nested(self.first, found, decoded, (0, 0), way)
        return await self._nested(self.first, found, shown, (0, 0), way)

    @property
    def most_held_bytes(self) -> int:
        """How many bytes the crops of an image may take that wait for a step or run through it."""
        return min(MOST_HELD_BYTES, self.pipeline.room.pixels * TIGHT_BYTES_PER_PIXEL // HELD_SHARE)

    def _crop_pixels(self) -> CropPixels:
        return CropPixels(self.pipeline.max_request_pixels)

    async def _nested(
        self,
        call: StepCall,
        found: Found,
        image: Image.Image | None,
        origin: tuple[int, int],
        way: _Way,
    ) -> list[dict[str, Any]]:
        boxes = [box_json(thing, origin) for thing in found.things]
        if image is None:
            return boxes
        for follower in call.followers:
            name = follower.checked.stated.name
            crops = {
                index: self._crop(follower, found, index, image)
                for index in chosen(follower.checked.stated, found.things, image.size)
            }
            answers = self._answers(follower, list(crops.values()), origin, way)
            async with aclosing(answers) as coming:
                places = iter(crops)
                async for answer in coming:
                    boxes[next(places)]["answers"][name] = answer
        return boxes

    @staticmethod
    def _crop(follower: StepCall, found: Found, index: int, image: Image.Image) -> Crop:
        step, thing = follower.checked.stated, found.things[index]
        region = region_of(step, thing.box, image.size)
        return Crop(image, region, thing, step, found.source.limits)

    async def _answers(
        self,
        call: StepCall,
        crops: Sequence[Crop],
        origin: tuple[int, int],
        way: _Way,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield what a step says of each crop, in order; a few crops at a time are made and run."""
        held, target = HeldBytes(self.most_held_bytes), call.model.card.image_input
        faults = [way.shared.pixels.take(crop.region, crop.limits.max_pixels) for crop in crops]
        samples = way.shared.samples
        kept = [
            None if fault is not None or samples is None else samples.of(call) for fault in faults
        ]
        sizes = [
            bytes_of(crop.region) if fault is None else 0
            for crop, fault in zip(crops, faults, strict=True)
        ]

        async def jobs() -> AsyncGenerator[Job[SourceImage, Any], None]:
            for crop, fault, size, sample in zip(crops, faults, sizes, kept, strict=True):
                prepare: Callable[[], tuple[Tensor, SourceImage]] = partial(crop.prepare, target)
                if fault is not None:
                    prepare = partial(refuse, fault)
                if size:
                    await held.room_for(size)
                    held.add(size)
                    pixels = pixels_of(crop.region)
                    if pixels > SMALL_PIXELS:
                        prepare = await self.pipeline.prepared_aside(prepare, pixels, way.until)
                head = call.head
                if sample is not None:
                    prepare, head = partial(sample.prepare, prepare), partial(sample.head, call)
                yield self.pipeline.finishing(prepare, head, way.until)

        left = max(0.0, way.until - self.clock())
        outcomes = self.fan_out.run(call.model, jobs(), timeout_seconds=left)
        async with aclosing(outcomes) as coming:
            crops_left = iter(zip(crops, sizes, strict=True))
            async for outcome in coming:
                crop, size = next(crops_left)
                if isinstance(outcome, UnavailableError | ClientLeftError):
                    raise outcome
                if isinstance(outcome, FovealError):
                    result: Mapping[str, Any] | FovealError = outcome
                else:
                    way.note(outcome.trace)
                    corner = (origin[0] + crop.region[0], origin[1] + crop.region[1])
                    result = await self._read(call, outcome.value, corner, way)
                held.remove(size)
                yield answer_json(crop.region, origin, result)

    async def _read(
        self,
        call: StepCall,
        outcome: Any,  # noqa: ANN401  # the result of any task, or what was found
        origin: tuple[int, int],
        way: _Way,
    ) -> Mapping[str, Any]:
        if not call.followers:
            result: Mapping[str, Any] = outcome
            return result
        image = outcome.source.displayed()  # a crop is decoded already
        boxes = await self._nested(call, outcome, image, origin, way)
        return {"found": len(outcome.things), "boxes": boxes}
