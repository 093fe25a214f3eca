"""A video that is received while the work on it runs: what ends the work, and which error the caller gets."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from service.api.ingest.arriving import ArrivingBodies
from service.api.ingest.file_memory import FileMemory
from service.api.ingest.growing_file import BEGUN_BYTES, GrowingFile
from service.api.ingest.upload import receiving
from service.api.record import RequestRecord
from service.body_memory import BodyMemory
from service.errors import (
    BodyTooLargeError,
    BrokenVideoError,
    ClientLeftError,
    DeadlineError,
    EmptyBodyError,
    FovealError,
    MalformedEncodingError,
    MalformedMultipartError,
    OverloadedError,
    UnsupportedVideoError,
)
from service.imaging.room import PixelRoom
from service.video_memory import VideoMemory
from tests.service.api.client import Client, settle
from tests.service.api.clock import Clock
from tests.service.api.ingest.forms import END, FORM, NOTE, file_part, form

pytestmark = pytest.mark.anyio

LIMIT = 2**20


def upload(
    client: Client,
    record: RequestRecord | None = None,
    patience_seconds: float = 60,
    *,
    arriving: ArrivingBodies | None = None,
    memory: VideoMemory | None = None,
    least_rate: int = 0,
) -> AbstractAsyncContextManager[GrowingFile]:
    return receiving(
        client.request,
        record or RequestRecord("id"),
        limit=LIMIT,
        patience_seconds=patience_seconds,
        arriving=arriving or ArrivingBodies(4 * LIMIT),
        memory=memory or unlimited(),
        least_rate=least_rate,
    )


def unlimited() -> VideoMemory:
    return VideoMemory(BodyMemory(), PixelRoom(1), most_file_bytes=4 * LIMIT)


async def read(file: GrowingFile) -> bytes:
    return await asyncio.to_thread(file.read)


async def forever() -> None:
    await asyncio.Event().wait()


async def work_that_client_leaves(client: Client) -> None:
    async with upload(client):
        await settle()
        client.leave()
        await forever()


def nothing_is_left() -> bool:
    """Return whether no upload is received any more, and nothing cancels this task."""
    current = asyncio.current_task()
    assert current is not None
    receivers = [task for task in asyncio.all_tasks() if "receive" in repr(task.get_coro())]
    return not receivers and current.cancelling() == 0


async def test_a_body_is_a_file_as_it_was_sent_and_its_size_is_recorded() -> None:
    client, record = Client(), RequestRecord("id")
    for piece in (b"one ", b"", b"two"):
        client.send(piece, more=True)
    client.send(b"")
    async with upload(client, record) as file:
        assert await read(file) == b"one two"
    assert record.body_bytes == 7
    assert nothing_is_left()


async def test_the_file_is_readable_before_the_body_has_ended() -> None:
    client = Client({"content-length": "8"})
    async with upload(client) as file:
        first = asyncio.create_task(asyncio.to_thread(file.read, 4))
        client.send(b"head", more=True)
        assert await first == b"head"
        client.send(b"tail")
        assert await read(file) == b"tail"


async def test_the_announced_length_is_that_of_the_file_but_not_that_of_a_form() -> None:
    raw = Client({"content-length": "100"})
    async with upload(raw) as file:
        assert file.seek(0, 2) == 100
    body = form(b"clip")
    packed = Client({"content-length": str(len(body)), "content-type": FORM})
    packed.send(body)
    async with upload(packed) as file:
        assert await asyncio.to_thread(file.seek, 0, 2) == 4


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_the_one_file_of_a_form_is_the_clip(size: int) -> None:
    client = Client({"content-type": FORM})
    body = NOTE + file_part(b"a clip") + NOTE + END
    for start in range(0, len(body), size):
        client.send(body[start : start + size], more=start + size < len(body))
    async with upload(client) as file:
        assert await read(file) == b"a clip"


async def test_a_body_of_the_limit_is_received() -> None:
    client = Client({"content-length": str(LIMIT)})
    client.send(bytes(LIMIT))
    async with upload(client) as file:
        assert len(await read(file)) == LIMIT


Send = Callable[[Client], None]


@pytest.mark.parametrize(
    ("headers", "error", "message"),
    [
        ({"content-length": "0"}, EmptyBodyError, "Send a video: curl"),
        ({"content-length": str(LIMIT + 1)}, BodyTooLargeError, "larger than the 1 MiB allowed"),
        ({"content-type": "multipart/form-data"}, MalformedMultipartError, "no boundary"),
    ],
)
async def test_what_the_head_shows_is_an_error_before_the_work_begins(
    headers: dict[str, str], error: type[FovealError], message: str
) -> None:
    client = Client(headers)
    client.send(b"clip")
    with pytest.raises(error, match=message):
        async with upload(client):
            pytest.fail("the work began")
    assert client.received == 0
    assert nothing_is_left()


@pytest.mark.parametrize(
    ("headers", "pieces", "error", "message"),
    [
        ({}, [b""], EmptyBodyError, "Send a video: curl"),
        ({}, [bytes(LIMIT), b"x"], BodyTooLargeError, "larger than the 1 MiB allowed"),
        ({"content-type": FORM}, [b"no form"], MalformedMultipartError, "can not be parsed"),
        ({"content-type": FORM}, [b""], EmptyBodyError, "no body"),
        ({"content-type": FORM}, [file_part(b"x")], MalformedMultipartError, "cut short"),
        ({"content-type": FORM}, [NOTE + END], MalformedMultipartError, r"file=@video\.mp4"),
        ({"content-type": FORM}, [form(b"x", b"y")], MalformedMultipartError, "several files"),
    ],
)
async def test_a_body_that_turns_out_to_be_wrong_cancels_the_work_with_its_error(
    headers: dict[str, str], pieces: list[bytes], error: type[FovealError], message: str
) -> None:
    client = Client(headers)
    for index, piece in enumerate(pieces, 1):
        client.send(piece, more=index < len(pieces))
    with pytest.raises(error, match=message):
        async with upload(client):
            await forever()
    assert nothing_is_left()


async def test_a_body_over_the_limit_is_refused_before_it_has_ended() -> None:
    client, record = Client(), RequestRecord("id")
    client.send(bytes(LIMIT + 1), more=True)
    with pytest.raises(BodyTooLargeError):
        async with upload(client, record) as file:
            await forever()
    assert file.read() == b""
    assert record.body_bytes == LIMIT + 1


@pytest.mark.parametrize("whole", [False, True])
async def test_a_client_that_leaves_during_the_work_ends_it(*, whole: bool) -> None:
    client = Client()
    client.send(b"clip", more=not whole)
    with pytest.raises(ClientLeftError):
        await work_that_client_leaves(client)
    assert nothing_is_left()


async def test_a_client_that_left_before_the_work_ends_it_at_once() -> None:
    client = Client()
    client.leave()
    with pytest.raises(ClientLeftError, match="closed its connection"):
        async with upload(client):
            await forever()


async def test_a_client_that_leaves_after_the_work_is_no_error() -> None:
    client = Client()
    client.send(b"clip")
    async with upload(client) as file:
        await read(file)
    client.leave()
    await settle()
    assert client.received == 1
    assert nothing_is_left()


@pytest.mark.parametrize("steps", range(6))
async def test_work_that_ends_as_the_client_leaves_has_ended_or_the_client_has_left(
    steps: int,
) -> None:
    client = Client()
    client.send(b"clip")
    ended = False
    try:
        async with upload(client):
            await settle()
            client.leave()
            for _ in range(steps):
                await asyncio.sleep(0)
            ended = True
    except ClientLeftError:
        assert not ended
    else:
        assert ended
    assert nothing_is_left()


async def test_messages_after_the_body_that_are_no_disconnect_do_not_end_the_work() -> None:
    client = Client()
    client.send(b"clip")
    async with upload(client) as file:
        client.send(b"")
        client.send(b"")
        await settle()
        assert client.received == 3
        assert await read(file) == b"clip"


async def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    client = Client()
    client.send(b"clip", more=True)
    error = BrokenVideoError("no frame")
    with pytest.raises(BrokenVideoError) as raised:
        async with upload(client):
            raise error
    assert raised.value is error
    assert nothing_is_left()


async def test_a_timeout_of_the_works_own_is_raised_as_it_is() -> None:
    client = Client()
    with pytest.raises(TimeoutError, match="a decoder"):
        async with upload(client):
            raise TimeoutError("a decoder")


async def test_an_error_of_the_work_that_comes_of_a_wrong_body_is_only_the_cause() -> None:
    client = Client()
    client.send(b"")

    async def decode() -> None:
        async with upload(client) as file:
            while client.received < 1:
                await asyncio.sleep(0)
            assert file.read() == b""  # the body failed, and the file ended before the cancellation
            raise BrokenVideoError("no frame")

    with pytest.raises(EmptyBodyError) as raised:
        await decode()
    assert isinstance(raised.value.__cause__, BrokenVideoError)
    assert nothing_is_left()


async def test_the_work_may_clean_up_after_its_client_left() -> None:
    client = Client()
    cleaned: list[str] = []

    async def work() -> None:
        try:
            client.leave()
            await forever()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    with pytest.raises(ClientLeftError):
        async with upload(client):
            await work()
    assert cleaned == ["up"]


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_cancellation_from_outside_wins(*, leaves: bool) -> None:
    client = Client()
    client.send(b"clip")
    seen: list[BaseException] = []
    files: list[GrowingFile] = []

    async def serve() -> None:
        try:
            async with upload(client) as file:
                files.append(file)
                await forever()
        except BaseException as error:
            seen.append(error)
            raise

    task = asyncio.create_task(serve())
    await settle()
    if leaves:
        client.leave()
        while client.received < 2:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert [type(error) for error in seen] == [asyncio.CancelledError]
    assert nothing_is_left()


async def test_a_deadline_around_the_upload_is_a_timeout() -> None:
    client = Client()
    client.send(b"clip", more=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0), upload(client):
            await forever()
    assert nothing_is_left()


async def test_a_reader_that_waits_is_freed_when_the_work_ends() -> None:
    client = Client()
    client.send(b"clip", more=True)
    async with upload(client) as file:
        reading = asyncio.create_task(read(file))
        await settle()
        assert not reading.done()
    assert await reading == b"clip"


async def test_a_body_that_comes_to_a_halt_is_cut_short_after_the_patience() -> None:
    client = Client()
    client.send(b"cl", more=True)
    async with upload(client, patience_seconds=0) as file:
        await settle()
        assert await read(file) == b"cl"


async def test_a_body_slower_than_the_least_rate_ends_where_it_is() -> None:
    client = Client()
    client.send(b"clip", more=True)
    async with upload(client, patience_seconds=0.1, least_rate=41) as file:
        await file.begun()
        assert await read(file) == b"clip"


async def test_a_body_of_the_least_rate_goes_on() -> None:
    client = Client()
    client.send(b"clip", more=True)
    async with upload(client, patience_seconds=0.1, least_rate=40) as file:
        await settle()
        client.send(b"clip", more=True)
        client.send(b" ends")
        assert await read(file) == b"clipclip ends"


async def test_the_error_of_a_body_that_never_came_is_its_deadline() -> None:
    async def work() -> None:
        async with upload(Client(), patience_seconds=0.01, least_rate=1000) as file:
            await file.begun()
            raise BrokenVideoError("nothing can be read")

    with pytest.raises(DeadlineError, match=r"fewer than 1000 bytes per second over 0\.01 s"):
        await work()


async def test_uploads_are_counted_together_and_the_costliest_gives_way() -> None:
    clock = Clock()
    arriving = ArrivingBodies(100, clock)
    first, second = Client(), Client()
    first.send(bytes(50), more=True)

    async def work() -> None:
        async with upload(first, arriving=arriving):
            await forever()

    slow = asyncio.create_task(work())
    await settle()
    clock.now += 1
    async with upload(second, arriving=arriving) as file:
        second.send(bytes(50), more=True)
        await settle()
        assert (arriving.bytes, slow.done()) == (100, False)
        second.send(b"x")
        assert len(await read(file)) == 51
    with pytest.raises(OverloadedError, match="Send it again, and faster"):
        await slow
    assert arriving.bytes == 0


async def test_a_compressed_video_is_inflated_while_it_arrives() -> None:
    client, record = (
        Client({"content-encoding": "gzip", "content-length": "99"}),
        RequestRecord("id"),
    )
    sent = gzip.compress(b"clip")
    client.send(sent[:5], more=True)
    client.send(sent[5:])
    async with upload(client, record) as file:
        assert await asyncio.to_thread(file.seek, 0, 2) == 4
        file.seek(0)
        assert await read(file) == b"clip"
    assert record.body_bytes == len(sent)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (gzip.compress(bytes(LIMIT + 1), mtime=0), BodyTooLargeError),
        (gzip.compress(b"clip", mtime=0)[:-1], MalformedEncodingError),
        (b"clip", MalformedEncodingError),
        (b"", EmptyBodyError),
    ],
)
async def test_a_compressed_video_that_is_wrong_cancels_the_work(
    sent: bytes, error: type[FovealError]
) -> None:
    client = Client({"content-encoding": "gzip"})
    client.send(sent)
    with pytest.raises(error):
        async with upload(client):
            await forever()
    assert nothing_is_left()


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        ({}, b"\xff\xd8\xff\xe0", "an image .JPEG."),
        ({"content-type": FORM}, form(b"\x89PNG"), "an image .PNG."),
        ({"content-type": "application/x-www-form-urlencoded"}, b" ftypisom", "--data-binary"),
        ({}, b"hello", "^no video$"),
    ],
)
async def test_bytes_that_are_no_video_are_named(
    headers: dict[str, str], body: bytes, message: str
) -> None:
    client = Client(headers)
    client.send(body)

    async def decode() -> None:
        async with upload(client) as file:
            await read(file)
            raise UnsupportedVideoError("no video")

    with pytest.raises(UnsupportedVideoError, match=message):
        await decode()


@pytest.mark.parametrize(
    "start", [b"\x1aE\xdf\xa3\x9fB\x86", b"GIF89a@@", b"RIFF((((AVI ", b"\x89PNG\x1aIHDR"]
)
async def test_a_damaged_video_that_curl_stripped_says_how_to_send_it(start: bytes) -> None:
    client = Client({"content-type": "application/x-www-form-urlencoded"})
    client.send(start + b"x" * 90)

    async def decode() -> None:
        async with upload(client) as file:
            await read(file)
            raise BrokenVideoError("its header can not be read")

    with pytest.raises(UnsupportedVideoError, match="--data-binary"):
        await decode()
    client = Client({"content-type": "application/x-www-form-urlencoded"})
    client.send(start + b"\0" * 90)
    with pytest.raises(BrokenVideoError, match="its header"):
        await decode()


class Loop(asyncio.SelectorEventLoop):
    """An event loop in which time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__()

    def time(self) -> float:
        return self.now


def is_slow(
    steps: Callable[[Client, Callable[[float], Awaitable[None]]], Awaitable[None]], **rate: int
) -> bool:
    """Return whether a body came too slowly to be waited for, after these steps at moments of a loop's clock."""

    async def run() -> bool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        client = Client()

        async def at(moment: float) -> None:
            loop.now = moment
            await settle()

        try:
            async with receiving(
                client.request,
                RequestRecord("id"),
                limit=LIMIT,
                patience_seconds=10,
                arriving=ArrivingBodies(LIMIT),
                memory=unlimited(),
                **rate,
            ):
                await settle()
                await steps(client, at)
                raise BrokenVideoError("it is no video so far")
        except DeadlineError as error:
            assert "bytes per second over 10 s" in str(error)
            return True
        except BrokenVideoError:
            return False

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(run())


@pytest.mark.parametrize(("moment", "slow"), [(9.9, False), (10, True)])
def test_nothing_may_come_for_as_long_as_the_patience(moment: float, *, slow: bool) -> None:
    async def steps(_: Client, at: Callable[[float], Awaitable[None]]) -> None:
        await at(moment)

    assert is_slow(steps) is slow
    assert is_slow(steps, least_rate=4) is slow


# A least rate of 4 bytes per second is 40 in each window of 10 s.
@pytest.mark.parametrize(
    ("pieces", "moment", "slow"),
    [
        ([(9, 39)], 9.9, False),
        ([(9, 39)], 10, True),
        ([(9, 40)], 18.9, False),
        ([(9, 40)], 19, True),
        ([(3, 20), (9, 20)], 18.9, False),
        ([(3, 20), (9, 19)], 10, True),
        ([(5, 70), (14, 30)], 15, True),
        ([(5, 70), (14, 40)], 23.9, False),
        ([(5, 70), (14, 40)], 24, True),
    ],
)
def test_so_many_bytes_must_come_in_each_window(
    pieces: list[tuple[float, int]], moment: float, *, slow: bool
) -> None:
    async def steps(client: Client, at: Callable[[float], Awaitable[None]]) -> None:
        for when, size in pieces:
            await at(when)
            client.send(bytes(size), more=True)
            await settle()
        await at(moment)

    assert is_slow(steps, least_rate=4) is slow


@pytest.mark.parametrize(("moment", "slow"), [(18.9, False), (19, True)])
def test_without_a_least_rate_any_byte_is_enough(moment: float, *, slow: bool) -> None:
    async def steps(client: Client, at: Callable[[float], Awaitable[None]]) -> None:
        await at(9)
        client.send(b"x", more=True)
        client.send(b"", more=True)
        await settle()
        await at(moment)

    assert is_slow(steps) is slow


FILES_BYTES = 16 << 20
"""What the files of videos have at least."""


def short() -> VideoMemory:
    """Return what videos have where there is no memory beside."""
    memory = VideoMemory(BodyMemory(), PixelRoom(1), most_file_bytes=FILES_BYTES)
    memory.fit(0, 0, 0)
    return memory


async def test_a_video_takes_the_memory_for_all_of_it_when_it_has_begun_and_gives_it_back() -> None:
    client, memory = Client({"content-length": str(LIMIT)}), short()
    async with upload(client, memory=memory) as file:
        client.send(bytes(BEGUN_BYTES - 1), more=True)
        await settle()
        assert memory.bytes == BEGUN_BYTES - 1
        client.send(bytes(2), more=True)
        await settle()
        assert memory.bytes == LIMIT
        client.send(b"x")
        assert len(await read(file)) == BEGUN_BYTES + 2
        assert memory.bytes == BEGUN_BYTES + 2
    assert memory.bytes == 0


async def test_a_video_is_read_on_only_when_there_is_memory_for_it() -> None:
    client, memory = Client({"content-length": str(LIMIT)}), short()
    other = memory.files.place()
    await other.take(FILES_BYTES)
    async with upload(client, memory=memory) as file:
        client.send(bytes(LIMIT))
        await settle()
        assert file.size == 0
        other.close()
        assert len(await read(file)) == LIMIT


async def test_a_video_that_has_waited_too_long_for_memory_is_refused() -> None:
    client, memory = Client(), short()
    await memory.files.place().take(FILES_BYTES)
    client.send(bytes(LIMIT))
    with pytest.raises(OverloadedError, match=r"No memory for the video was free within 0\.01 s"):
        async with upload(client, patience_seconds=0.01, memory=memory):
            await forever()


async def test_a_video_for_which_there_is_never_memory_is_refused_at_once() -> None:
    memory = short()
    memory.files.fit(LIMIT - 1)
    with pytest.raises(BodyTooLargeError, match="memory of the service has room for"):
        async with upload(Client({"content-length": str(LIMIT)}), memory=memory):
            await forever()
    assert memory.bytes == 0


async def test_a_sender_that_pauses_keeps_no_memory_for_what_it_has_not_sent() -> None:
    memory = short()
    place = memory.files.place()
    file = FileMemory(memory, place, size=LIMIT, most_bytes=LIMIT, patience_seconds=30)
    await file.before(BEGUN_BYTES)
    file.came(BEGUN_BYTES)
    assert memory.bytes == LIMIT
    file.leave()
    assert (memory.bytes, place.may_give_way) == (BEGUN_BYTES, True)
    file.came(BEGUN_BYTES + 1)
    file.complete()
    assert (memory.bytes, place.may_give_way) == (BEGUN_BYTES + 1, False)
