import pytest
from pydantic import ValidationError

from service.errors import InvalidParameterError
from service.video.options import SamplingOptions
from service.video.sampling import Sampling


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Sampling(fps=6)),
        ({"fps": 0.5}, Sampling(fps=0.5)),
        ({"every_n": 3}, Sampling(every_n=3)),
        ({"max_frames": 9}, Sampling(count=9)),
    ],
)
def test_one_way_of_sampling_is_taken(options: dict[str, float], expected: Sampling) -> None:
    assert SamplingOptions.model_validate(options).sampling(default_fps=6) == expected


def test_two_ways_contradict_each_other() -> None:
    with pytest.raises(InvalidParameterError, match="fps and max_frames: give one of them, not 2"):
        SamplingOptions(fps=2, max_frames=3).sampling(2)


@pytest.mark.parametrize("options", [{"fps": 0}, {"fps": 241}, {"every_n": 0}, {"max_frames": 0}])
def test_what_is_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SamplingOptions.model_validate(options)
