"""Jobs in a queue, and what their errors are called and keep."""

import asyncio
import gc
import weakref

import pytest

from service.errors import (
    BrokenImageError,
    ClientLeftError,
    DeadlineError,
    FovealError,
    InferenceError,
    OverloadedError,
    RequestError,
    ShuttingDownError,
    TooManyPixelsError,
    UnavailableError,
)
from service.runtime.entry import Entry, Line, deadline_error, outcome_name, without_frames
from service.runtime.job import Job


@pytest.fixture
def loop() -> asyncio.AbstractEventLoop:
    made = asyncio.new_event_loop()
    made.close()  # futures need one, and none of these waits
    return made


def entry_in(
    line: Line, loop: asyncio.AbstractEventLoop, *, accepted_at: float = 10, deadline: float = 11
) -> Entry:
    job: Job[None, None] = Job(lambda: NotImplemented, lambda *_: None)
    return Entry(job, asyncio.Future(loop=loop), accepted_at, deadline, line)


def test_the_depth_of_a_line_is_what_waits_and_what_is_prepared_ahead(
    loop: asyncio.AbstractEventLoop,
) -> None:
    line = Line()
    assert line.depth == 0
    line.waiting.extend(entry_in(line, loop) for _ in range(3))
    line.preparing = 2
    assert line.depth == 5


def test_what_was_answered_makes_room_and_the_others_keep_their_order(
    loop: asyncio.AbstractEventLoop,
) -> None:
    line = Line(preparing=1)
    entries = [entry_in(line, loop) for _ in range(5)]
    line.waiting.extend(entries)
    waiting = line.waiting
    entries[0].future.cancel()
    entries[3].future.cancel()
    line.keep_unanswered()
    assert list(line.waiting) == [entries[1], entries[2], entries[4]]
    assert line.waiting is waiting, "others hold it"
    assert line.depth == 4


def test_entries_are_equal_only_to_themselves(loop: asyncio.AbstractEventLoop) -> None:
    line = Line()
    one, other = entry_in(line, loop), entry_in(line, loop)
    assert one != other
    assert one.trace is not other.trace
    assert (one.tensor, one.context) == (None, None)


def failed() -> FovealError:
    try:
        try:
            raise ValueError("a cause")
        except ValueError as cause:
            raise BrokenImageError("It is damaged.") from cause
    except FovealError as error:
        return error


def test_an_error_without_frames_keeps_its_message_and_nothing_else() -> None:
    error = failed()
    assert error.__cause__ is not None
    assert error.__traceback__ is not None
    kept = without_frames(error)
    assert kept is error
    assert (kept.__traceback__, kept.__cause__, kept.__context__) == (None, None, None)
    assert str(kept) == "It is damaged."


def test_the_memory_of_a_job_does_not_hang_on_its_error() -> None:
    class Image:
        pass

    def fail() -> tuple[FovealError, "weakref.ref[Image]"]:
        image = Image()
        image.error = None  # type: ignore[attr-defined]  # the circle that a job makes with its error
        try:
            raise BrokenImageError("It is damaged.")
        except FovealError as error:
            image.error = error  # type: ignore[attr-defined]
            return without_frames(error), weakref.ref(image)

    gc.disable()
    try:
        _, image = fail()
        assert image() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.25, "250 ms"), (30, "30000 ms"), (0.0006, "0.6 ms"), (0.000001, "0.001 ms")],
)
def test_a_late_job_names_the_time_that_it_had(
    loop: asyncio.AbstractEventLoop, seconds: float, shown: str
) -> None:
    error = deadline_error(entry_in(Line(), loop, accepted_at=10, deadline=10 + seconds))
    assert str(error) == f"The answer was not ready within {shown}."
    assert error.status == 504


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (RequestError, "refused"),
        (BrokenImageError, "refused"),
        (TooManyPixelsError, "refused"),
        (DeadlineError, "expired"),
        (ClientLeftError, "abandoned"),
        (InferenceError, "failed"),
        (UnavailableError, "failed"),
        (OverloadedError, "failed"),
        (ShuttingDownError, "failed"),
        (FovealError, "failed"),
    ],
)
def test_each_error_is_counted_under_one_name(error: type[FovealError], name: str) -> None:
    assert outcome_name(error("why")) == name
