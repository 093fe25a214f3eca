"""A model that is sent is put into the repository whole, and what a killed process has left goes."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from service.api.ingest.model_upload import (
    ABANDONED_SECONDS,
    DRAFT,
    Upload,
    UploadPlaces,
    receive_model,
)
from service.api.ingest.pace import Pace
from service.errors import (
    ClientLeftError,
    DeadlineError,
    FovealError,
    OverloadedError,
    RefusedModelError,
    ServableError,
    UnavailableError,
    VersionExistsError,
)
from service.storage.pulling import WORK_FOLDER
from tests.full_disk import small_files
from tests.full_table import no_free_descriptor

pytestmark = pytest.mark.anyio
Message = dict[str, Any]


def piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def sending(*messages: Message) -> Callable[[], Awaitable[Message]]:
    """Return a client that sends these messages and then nothing, with its connection open."""
    waiting = list(messages)

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    return receive


async def receive(
    root: Path,
    *messages: Message,
    least_rate: int = 0,
    window_seconds: float = 0.05,
    most_seconds: float = 60,
    most_bytes: int = 1000,
    places: UploadPlaces | None = None,
    require_room: Callable[[Path], None] | None = None,
) -> Upload | None:
    request = Request({"type": "http", "headers": []}, sending(*messages))
    pace = Pace(least_rate, window_seconds)
    return await receive_model(
        request,
        root,
        "colors",
        1,
        most_bytes=most_bytes,
        most_seconds=most_seconds,
        pace=pace,
        places=places or UploadPlaces(1),
        require_room=require_room,
    )


async def test_a_model_that_the_memory_has_no_room_for_is_never_in_its_place(
    tmp_path: Path,
) -> None:
    def refuse(path: Path) -> None:
        assert path.read_bytes() == b"one two"
        raise ServableError(f"{path}: to load it takes too much.")

    with pytest.raises(
        RefusedModelError, match=r"^colors/1/model\.onnx: to load it takes too much\.$"
    ):
        await receive(tmp_path, piece(b"one "), piece(b"two", more=False), require_room=refuse)
    assert not drafts(tmp_path)
    assert not (tmp_path / "colors").exists()


async def test_a_model_is_in_its_place_when_it_is_whole(tmp_path: Path) -> None:
    upload = await receive(tmp_path, piece(b"one "), piece(b"two", more=False))
    assert upload is not None
    assert (tmp_path / "colors/1/model.onnx").read_bytes() == b"one two"
    assert await receive(tmp_path, piece(b"", more=False)) is None, "the one of the folder is meant"


async def test_a_model_whose_first_load_ended_its_process_can_be_sent_again(tmp_path: Path) -> None:
    first = await receive(tmp_path, piece(b"one", more=False))
    assert first is not None
    with pytest.raises(VersionExistsError):
        await receive(tmp_path, piece(b"two", more=False))
    first.mark.release()  # as the system does at the end of a process
    second = await receive(tmp_path, piece(b"two", more=False))
    assert second is not None
    assert (tmp_path / "colors/1/model.onnx").read_bytes() == b"two"
    with pytest.raises(VersionExistsError):
        await receive(tmp_path, piece(b"three", more=False))
    await second.end()
    assert [path.name for path in (tmp_path / "colors/1").iterdir()] == ["model.onnx"]


async def test_while_no_file_can_be_opened_it_can_be_sent_again(tmp_path: Path) -> None:
    with no_free_descriptor(), pytest.raises(UnavailableError):
        await receive(tmp_path, piece(b"one", more=False))
    assert await receive(tmp_path, piece(b"one", more=False)) is not None


async def test_on_a_full_disk_it_can_be_sent_again_and_nothing_of_it_stays(tmp_path: Path) -> None:
    messages = piece(bytes(2000), more=False)
    with small_files(), pytest.raises(UnavailableError, match="no space for the model"):
        await receive(tmp_path, messages, most_bytes=3000)
    assert not drafts(tmp_path)
    assert await receive(tmp_path, messages, most_bytes=3000) is not None


@pytest.mark.parametrize(
    ("messages", "least_rate", "error"),
    [
        ((piece(b"one"),), 0, DeadlineError),
        ((piece(b"one"), *[piece(b"") for _ in range(9)]), 0, DeadlineError),
        ((piece(b"one"), piece(b"two")), 1000, DeadlineError),
        ((), 0, DeadlineError),
        ((piece(b"one"), {"type": "http.disconnect"}), 0, ClientLeftError),
    ],
)
async def test_of_a_model_that_stops_to_arrive_nothing_stays(
    tmp_path: Path, messages: tuple[Message, ...], least_rate: int, error: type[FovealError]
) -> None:
    with pytest.raises(error):
        await receive(tmp_path, *messages, least_rate=least_rate)
    assert not any(os.scandir(tmp_path))


async def test_a_model_that_comes_fast_enough_and_never_ends_is_given_up_in_time(
    tmp_path: Path,
) -> None:
    places = UploadPlaces(1)
    pieces = [piece(b"x")] * 3
    with pytest.raises(DeadlineError, match=r"within 0\.05 s"):
        await receive(tmp_path, *pieces, window_seconds=60, most_seconds=0.05, places=places)
    assert not any(os.scandir(tmp_path))
    with places.place():
        pass  # it is free again


async def test_only_so_many_models_arrive_at_once_and_one_that_is_announced_takes_no_place(
    tmp_path: Path,
) -> None:
    places = UploadPlaces(2)
    whole = piece(b"whole", more=False)

    async def sends(name: str, *messages: Message) -> Upload | None:
        return await receive(tmp_path / name, *messages, window_seconds=30, places=places)

    for name in "abcd":
        (tmp_path / name).mkdir()
    announced = asyncio.create_task(sends("a"))
    arriving = asyncio.create_task(sends("b", piece(b"half of it")))
    while not any((tmp_path / "b").iterdir()):
        await asyncio.sleep(0)
    assert await sends("c", whole) is not None, "one place is left"
    with places.place(), pytest.raises(OverloadedError, match="2 models are arriving already"):
        await sends("d", whole)
    assert not any((tmp_path / "d").iterdir())
    for left in (announced, arriving):
        left.cancel()
        await asyncio.wait([left])
    with places.place():
        assert await sends("d", whole) is not None, "the place of the one that left is free"


def draft(root: Path, name: str, written: float) -> Path:
    folder = root / f"{DRAFT}{name}"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"half a mod")
    for path in (folder / "model.onnx", folder):
        os.utime(path, (written, written))
    return folder


async def test_what_killed_processes_have_left_is_removed_and_what_arrives_is_not(
    tmp_path: Path,
) -> None:
    now = time.time()
    left = draft(tmp_path, "0" * 16, now - ABANDONED_SECONDS - 1)
    begun_long_ago = draft(tmp_path, "1" * 16, now - ABANDONED_SECONDS - 1)
    os.utime(begun_long_ago / "model.onnx", (now, now))
    new = draft(tmp_path, "2" * 16, now)
    pulls = draft(tmp_path, "pull", now - ABANDONED_SECONDS - 1)
    assert pulls.name == WORK_FOLDER
    upload = await receive(tmp_path, piece(b"a model", more=False))
    assert upload is not None
    assert (upload.folder / "model.onnx").read_bytes() == b"a model"
    assert [one.exists() for one in (left, begun_long_ago, new, pulls)] == [False, True, True, True]


def drafts(root: Path) -> list[Path]:
    """Return the folders of models that arrive, or were left."""
    return list(root.glob(f"{DRAFT}*"))


async def test_a_model_that_arrives_is_not_removed_by_another_when_the_clock_jumps(
    tmp_path: Path,
) -> None:
    """Its draft is then older than any that a killed process has left."""
    places, go_on = UploadPlaces(2), asyncio.Event()

    async def halting() -> Message:
        if go_on.is_set():
            return piece(b" of it", more=False)
        if drafts(tmp_path):
            await go_on.wait()
            return piece(b" of it", more=False)
        return piece(b"half")

    slow = asyncio.create_task(
        receive_model(
            Request({"type": "http", "headers": []}, halting),
            tmp_path,
            "slow",
            1,
            most_bytes=1000,
            most_seconds=60,
            pace=Pace(0, 30),
            places=places,
        )
    )
    while not any((one / "model.onnx").exists() for one in drafts(tmp_path)):
        await asyncio.sleep(0)
    (arriving,) = drafts(tmp_path)
    old = time.time() - 10 * ABANDONED_SECONDS
    for path in (arriving / "model.onnx", arriving):
        os.utime(path, (old, old))
    assert await receive(tmp_path, piece(b"a model", more=False), places=places) is not None
    go_on.set()
    upload = await slow
    assert upload is not None
    assert (upload.folder / "model.onnx").read_bytes() == b"half of it"


async def test_a_client_that_leaves_while_its_draft_is_made_leaves_none(tmp_path: Path) -> None:
    """A folder that was made after its removal stayed until an upload an hour later."""
    reads, begun = threading.Event(), threading.Event()

    class SlowPlace(type(tmp_path)):  # type: ignore[misc]
        """A file system that takes its time to say that there is no such version."""

        def exists(self, **options: bool) -> bool:
            begun.set()
            assert reads.wait(20)
            return bool(super().exists(**options))

    task = asyncio.create_task(receive(SlowPlace(tmp_path), piece(b"half")))
    while not begun.is_set():
        await asyncio.sleep(0)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    reads.set()
    await asyncio.wait([task])
    assert task.cancelled()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert not any(os.scandir(tmp_path))
