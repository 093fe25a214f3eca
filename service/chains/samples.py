"""What the steps of a chain saw and answered, a few crops of each: their shadows run the same after the request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.chains.step_call import Found, StepCall
from service.errors import FovealError
from service.heads.outputs import Outputs
from service.imaging.source_image import SourceImage
from service.pipeline import EncodedImage
from service.runtime.job import JobResult, Tensor, Trace
from service.shadows import MOST_IMAGES, Shadows


@dataclass(slots=True)
class Sample:
    """One crop of a step: the network's frame of it, and the outputs; both come from worker threads.

    `outputs` stays None where the crop has no result.
    """

    frame: Tensor | None = None
    outputs: Outputs | None = None

    def prepare(
        self, prepare: Callable[[], tuple[Tensor, SourceImage]]
    ) -> tuple[Tensor, SourceImage]:
        """Prepare the crop, and keep its frame."""
        frame, source = prepare()
        self.frame = frame
        return frame, source

    def head(self, step: StepCall, outputs: Outputs, source: SourceImage) -> object:
        """Return what the step says of the crop, and keep the outputs."""
        result = step.head(outputs, source)
        self.outputs = _own(outputs)
        return result


def found_with_outputs(step: StepCall, outputs: Outputs, source: SourceImage) -> Found:
    """Return what the first step of a chain finds, with its outputs, for a shadow; for worker threads."""
    found: Found = step.head(outputs, source)
    return Found(found.things, found.source, _own(outputs))


class Samples:
    """What the shadows of a chain will run of one request. Each step has the same part of what shadows run at once.

    Args:
        first: the chain on its models.
    """

    def __init__(self, first: StepCall) -> None:
        self._first = first
        self._shadowed = [one for one in first.all if one.shadow is not None]
        self._most = MOST_IMAGES // max(1, len(self._shadowed))
        self._taken: dict[str, list[Sample]] = {_name(one): [] for one in self._shadowed}
        self._more = dict.fromkeys(self._taken, 0)

    def of(self, step: StepCall) -> Sample | None:
        """Return what keeps a crop of a step; None where no shadow will run it. It counts as dropped then."""
        taken = self._taken.get(_name(step))
        if taken is None:
            return None
        if len(taken) >= self._most:
            self._more[_name(step)] += 1
            return None
        taken.append(Sample())
        return taken[-1]

    def offer(
        self,
        shadows: Shadows,
        images: Sequence[EncodedImage],
        found: Sequence[JobResult[Found] | FovealError],
    ) -> None:
        """Let the shadows run what was kept beside everything else, or drop it.

        Args:
            shadows: they run it.
            images: of the request.
            found: what the first step has found on each.
        """
        for step in self._shadowed:
            if step is self._first:
                outcomes = [_outputs_of(one) for one in found]
                _offer(shadows, step, images, outcomes)
                continue
            ran = [
                (one.frame, JobResult(one.outputs, Trace()))
                for one in self._taken[_name(step)]
                if one.frame is not None and one.outputs is not None
            ]
            _offer(shadows, step, [frame for frame, _ in ran], [outcome for _, outcome in ran])
            if step.shadow is not None and (more := self._more[_name(step)]):
                shadows.drop(step.shadow, more)


def _offer(
    shadows: Shadows,
    step: StepCall,
    inputs: Sequence[Tensor | EncodedImage],
    outcomes: Sequence[JobResult[Outputs] | FovealError],
) -> None:
    assert step.shadow is not None
    queue = step.model.queue
    shadows.offer_inputs(
        step.checked.task,
        step.model.card,
        step.shadow,
        inputs,
        outcomes,
        options=step.checked.options,
        busy=queue is None or queue.depth > 0,
    )


def _outputs_of(one: JobResult[Found] | FovealError) -> JobResult[Outputs] | FovealError:
    if isinstance(one, FovealError):
        return one
    assert one.value.outputs is not None  # its step has a shadow
    return JobResult(one.value.outputs, one.trace)


def _own(outputs: Outputs) -> Outputs:
    """Return copies, because a row of a batch keeps the whole batch."""
    return {name: row.copy() for name, row in outputs.items()}


def _name(step: StepCall) -> str:
    return step.checked.stated.name
