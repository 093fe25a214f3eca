import tracemalloc
from dataclasses import replace
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from service.api.queries import QueryReader, VideoQuery, task_query, video_options, video_query
from service.errors import InvalidParameterError
from service.tasks.classify import ClassifyVideoOptions
from service.tasks.detect import DetectVideoOptions
from service.tasks.task import TaskOptions
from service.tasks.tasks import TASKS
from tests.service.tasks.mean_color import MEAN_COLOR

DETECT = TASKS["detect"]


def test_a_tasks_query_has_its_options_the_model_and_its_formats() -> None:
    query = task_query(DETECT)
    assert {"model", "version", "format", "nms", "classes"} <= set(query.model_fields)
    assert query.model_validate({"format": "overlay"}).model_dump()["format"] == "overlay"
    with pytest.raises(ValidationError):
        query.model_validate({"format": "mask"})


def test_a_task_without_renderings_has_no_format() -> None:
    assert "format" not in task_query(TASKS["classify"]).model_fields


def test_a_query_string_is_read_with_repeated_options_and_read_once() -> None:
    reader = QueryReader(task_query(DETECT))
    query = reader.read(b"classes=cup&classes=cat%2Cdog&max_detections=7")
    assert query.classes == ("cup", "cat,dog")
    assert query.max_detections == 7
    assert reader.read(b"classes=cup&classes=cat%2Cdog&max_detections=7") is query


def test_long_query_strings_are_not_kept() -> None:
    """Each client could fill the memory of 512 strings with heads of 64 KiB: 40 MB for each task."""
    reader = QueryReader(task_query(DETECT))
    tracemalloc.start()
    try:
        for number in range(300):
            reader.read(b"classes=" + b"x" * 60_000 + b"%d" % number)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2_000_000


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        (b"nmz=soft", "^nmz: there is no such parameter here; near: nms$"),
        (
            b"quality=9",
            r"^quality: there is no such parameter here; there are score_threshold, .*, format$",
        ),
        (
            b"x" * 5000 + b"=1",
            "^x{40}: there is no such parameter here; there are score_threshold, ",
        ),
        (b"model=a&version=1&model=b", "^model: it is there more than once. Send it once$"),
        (b"model=&model=", "^model: it is there more than once"),
        (b"a=1&a=1", "^a: there is no such parameter here"),
        (b"version=first", "^version: a whole number is expected, not 'first'$"),
        *(
            (b"version=" + text, "^version: a version is a whole number that does not begin with 0")
            for text in (b"01", b"%2B1", b"1.0", b"1_0", b"+1", b"00", b"%D9%A1")
        ),
        (b"max_detections=1.5", "^max_detections: a whole number is expected, not '1.5'$"),
        (b"score_threshold=high", "^score_threshold: a number is expected, not 'high'$"),
        (b"score_threshold=2", "score_threshold: input should be less than or equal to 1, not '2'"),
        (b"max_detections=", "max_detections"),
        (b"version=0&model=" + b"x" * 98, "model: .*; version: "),
    ],
)
def test_what_a_query_must_not_hold_is_named(query: bytes, fault: str) -> None:
    with pytest.raises(InvalidParameterError, match=fault):
        QueryReader(task_query(DETECT)).read(query)


def test_a_query_has_so_many_parameters_and_one_more_is_refused() -> None:
    """A head of 64 KiB has room for thirty thousand, which took the event loop a tenth of a second."""
    reader = QueryReader(task_query(DETECT))
    assert len(reader.read(b"&".join([b"classes=cup"] * 1000)).classes) == 1000
    with pytest.raises(InvalidParameterError, match=r"has 1001 parameters; at most 1000"):
        reader.read(b"&".join([b"classes=cup"] * 1001))


def test_an_error_names_twenty_faults_and_how_many_more_there_are() -> None:
    query = b"&".join(b"a%d=1" % number for number in range(25))
    with pytest.raises(InvalidParameterError, match=r"^a0: .*; a19: .*; and 5 more$"):
        QueryReader(task_query(DETECT)).read(query)


def video(text: str) -> VideoQuery:
    query: VideoQuery = QueryReader(video_query(TASKS)).read(text.encode())
    return query


def test_a_videos_query_has_the_options_of_all_tasks_each_with_its_owners() -> None:
    fields = video_query({**TASKS, "mean_color": MEAN_COLOR}).model_fields
    assert (fields["top_k"].description or "").startswith("classify, temporal: how many classes")
    assert (fields["polygons"].description or "").startswith("segment: outlines")
    assert {"fps", "every_n", "max_frames", "model", "version", "format"} <= set(fields)


def test_the_options_of_the_task_are_taken_from_a_videos_query() -> None:
    options = video_options(video("task=detect&score_threshold=0.7&classes=cup"), TASKS)
    assert isinstance(options, DetectVideoOptions)
    assert (options.score_threshold, options.classes, options.max_detections) == (
        0.7,
        ("cup",),
        100,
    )
    default = video_options(video("top_k=2"), TASKS)
    assert isinstance(default, ClassifyVideoOptions)
    assert (default.top_k, default.smoothing_seconds) == (2, 1.0)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("task=embed&top_k=2", "top_k: not for task=embed"),
        ("polygons=true&stride=2", "polygons, stride: not for task=classify"),
    ],
)
def test_an_option_of_another_task_is_refused(query: str, fault: str) -> None:
    with pytest.raises(InvalidParameterError, match=fault):
        video_options(video(query), TASKS)


def test_a_task_that_runs_on_no_video_is_none_for_videos() -> None:
    tasks = {**TASKS, "classify": TASKS["classify"]}
    with pytest.raises(InvalidParameterError, match="task: input should be 'classify', 'segment'"):
        QueryReader(video_query(tasks)).read(b"task=dream")


class OwnRange(TaskOptions):
    top_k: Annotated[int, Field(ge=0, description="How many colors")] = 2000


def test_an_option_of_two_tasks_has_the_default_and_the_range_of_the_task_that_is_wanted() -> None:
    assert MEAN_COLOR.over_time is not None
    own = replace(MEAN_COLOR, over_time=replace(MEAN_COLOR.over_time, options=OwnRange))
    tasks = {**TASKS, "mean_color": own}
    reader = QueryReader(video_query(tasks))

    def options(query: bytes) -> TaskOptions:
        return video_options(reader.read(query), tasks)

    assert options(b"task=mean_color") == OwnRange()
    assert options(b"task=mean_color&top_k=0") == OwnRange(top_k=0)
    assert options(b"task=classify").model_dump()["top_k"] == ClassifyVideoOptions().top_k
    with pytest.raises(
        InvalidParameterError, match="top_k: input should be greater than or equal to 1"
    ):
        options(b"task=classify&top_k=0")
