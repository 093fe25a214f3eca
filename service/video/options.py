"""Which frames of a video a request wants."""

from typing import Annotated

from pydantic import Field

from service.errors import InvalidParameterError
from service.tasks.task import TaskOptions
from service.video.sampling import Sampling

DEFAULT_FPS = 2.0


class SamplingOptions(TaskOptions):
    """One of the three; without any, `fps`."""

    fps: Annotated[
        float | None,
        Field(
            gt=0,
            le=240,
            description="Frames per second to run; default: 2, for temporal the model's",
        ),
    ] = None
    every_n: Annotated[int | None, Field(ge=1, description="Run each n-th frame instead")] = None
    max_frames: Annotated[
        int | None, Field(ge=1, description="Run so many, evenly over the video, instead")
    ] = None

    def sampling(self, default_fps: float) -> Sampling:
        """Return the sampling.

        Raises:
            InvalidParameterError: more than one of the three is given.
        """
        names = ("fps", "every_n", "max_frames")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1:
            raise InvalidParameterError(
                f"{' and '.join(given)}: give one of them, not {len(given)}"
            )
        if self.every_n is not None:
            return Sampling(every_n=self.every_n)
        if self.max_frames is not None:
            return Sampling(count=self.max_frames)
        return Sampling(fps=self.fps or default_fps)
