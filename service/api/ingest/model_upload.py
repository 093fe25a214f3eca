"""A model that an admin call sends → its file in the repository, whole or not at all."""

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi import Request

from service.api.ingest.body import next_chunk
from service.api.ingest.pace import Pace
from service.api.record import list_header_of
from service.errors import (
    BodyTooLargeError,
    DeadlineError,
    OverloadedError,
    RefusedModelError,
    ServableError,
    UnavailableError,
    UnsupportedEncodingError,
    VersionExistsError,
    for_clients,
    shortage_of,
)
from service.runtime.first_load import FirstLoad, interrupted
from service.runtime.repository import MODEL_FILE
from service.storage.fetching import FULL
from service.storage.repository_folder import FETCHED
from service.whole_call import whole_call

try:
    import fcntl
except ImportError:  # Windows; there only the age of a draft says whether it was left
    fcntl = None  # type: ignore[assignment]

CHUNK_BYTES = 1 << 20
"""So much is gathered before a thread writes it."""
DRAFT = ".incoming-"
"""How the name of a folder begins to which a model is written."""
_SENT = f"{DRAFT}{'[0-9a-f]' * 16}"
"""The names of those that this module makes: `foveal pull` has a folder too, which it needs for longer."""
ABANDONED_SECONDS = 3600.0
"""What nothing was written to for so long, and no process has locked, was left by a process that was killed. The age
alone would not say so: a clock that is set forward makes all drafts old."""


class UploadPlaces:
    """How many models may arrive at once; what they hold of the disk is so many times the largest one.

    Args:
        most: so many.
    """

    def __init__(self, most: int) -> None:
        self._free = self._most = most

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for one model while the block runs; on the event loop.

        Raises:
            OverloadedError: all are taken.
        """
        if not self._free:
            raise OverloadedError(
                f"{self._most} models are arriving already, which is this service's limit (FOVEAL_MAX_UPLOADS). Try "
                "again in a moment."
            )
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@dataclass(frozen=True, slots=True)
class Upload:
    """A model that was put into the repository.

    Attributes:
        folder: of the version.
        is_first: whether the folder of the model was made for it.
        mark: says that it was not loaded yet.
    """

    folder: Path
    is_first: bool
    mark: FirstLoad

    async def end(self) -> None:
        """Let others load it at their start, too: its first load has ended, and not with this process."""
        await whole_call(self.mark.end, self.folder)

    async def remove(self) -> None:
        """Take it out again: it can not be served."""
        await whole_call(_remove, self.folder, self.is_first)


def _remove(folder: Path, with_model: bool) -> None:  # noqa: FBT001  # called with whole_call
    """Remove the folder of a version, and that of the model if it was made for it and holds no other by now."""
    shutil.rmtree(folder, ignore_errors=True)
    if with_model:
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


async def receive_model(
    request: Request,
    root: Path | None,
    name: str,
    version: int,
    *,
    most_bytes: int,
    most_seconds: float,
    pace: Pace,
    places: UploadPlaces,
    require_room: Callable[[Path], None] | None = None,
) -> Upload | None:
    """Write a request's body to the place of a model's version; None where it has no body.

    It is written to a hidden folder of the repository, where nothing looks for models, and moved when it is whole.

    Args:
        request: its body must not have been read.
        root: the repository; None: there is none that can be written, and a body is refused.
        name: of the model.
        version: of the model.
        most_bytes: that the body may have.
        most_seconds: that the body may take to arrive and to be written.
        pace: at which it must arrive.
        places: of which it takes one with its first bytes.
        require_room: raises `ServableError` where the memory has no room for the file; called on a thread.

    Raises:
        BodyTooLargeError: it has more than `most_bytes`.
        DeadlineError: it arrives too slowly, or takes too long.
        VersionExistsError: there is such a version; the file of a version is never replaced.
        RefusedModelError: the repository can not be written, or is none; or the memory has no room for the model.
        ClientLeftError: the client left before the end.
        OverloadedError: there is no place.
        UnavailableError: no file can be opened now, or the disk has no space for it.
        UnsupportedEncodingError: the body is compressed.
    """
    if list_header_of(request, b"content-encoding"):
        raise UnsupportedEncodingError("Send the model's file as it is, without Content-Encoding.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most_bytes:
        raise BodyTooLargeError(_too_large(most_bytes))
    if root is None:
        await _refuse(request, pace)
        return None
    place = root / name / str(version)
    draft = root / f"{DRAFT}{secrets.token_hex(8)}"
    try:
        return await _receive(
            request,
            draft,
            place,
            most_bytes=most_bytes,
            most_seconds=most_seconds,
            pace=pace,
            places=places,
            require_room=require_room,
        )
    except ServableError as error:
        path = draft / MODEL_FILE
        reason = str(error).replace(str(path), "/".join((name, str(version), MODEL_FILE)))
        raise RefusedModelError(for_clients(reason)) from error
    except OSError as error:
        if shortage := shortage_of(error):
            raise shortage from error
        if error.errno in FULL:
            raise UnavailableError(
                f"There is no space for the model in the folder of the models: {error.strerror}. Nothing of it was "
                "kept. Free space there, then send it again."
            ) from error
        raise RefusedModelError(
            f"The folder of the models can not be written: {error.strerror or error}. Copy the file there yourself."
        ) from error
    finally:
        await whole_call(shutil.rmtree, draft, True)  # noqa: FBT003  # ignore_errors


async def _refuse(request: Request, pace: Pace) -> None:
    """Refuse a request that has a body."""
    more = True
    while more:
        async with pace.limit():
            chunk, more = await next_chunk(request)
        if chunk:
            raise RefusedModelError(
                f"{FETCHED} Put the file there, then send this call without a body."
            )


async def _receive(
    request: Request,
    draft: Path,
    place: Path,
    *,
    most_bytes: int,
    most_seconds: float,
    pace: Pace,
    places: UploadPlaces,
    require_room: Callable[[Path], None] | None,
) -> Upload | None:
    file = _DraftFile(draft / MODEL_FILE)
    gathered, size = bytearray(), 0
    async with _within(most_seconds), contextlib.AsyncExitStack() as held:
        more = True
        while more:
            async with pace.limit():
                chunk, more = await next_chunk(request)
            pace.count(len(chunk))
            size += len(chunk)
            if size > most_bytes:
                raise BodyTooLargeError(_too_large(most_bytes))
            gathered += chunk
            if chunk and not file.is_open:
                held.enter_context(places.place())
                held.push_async_callback(whole_call, file.close)
                # The whole call, else a canceled one could make the draft after its removal.
                await whole_call(file.begin, place)
            if file.is_open and len(gathered) >= CHUNK_BYTES:
                with pace.apart():
                    await whole_call(file.write, bytes(gathered))
                gathered.clear()
        if not file.is_open:
            return None
        await whole_call(file.write, bytes(gathered))
    if require_room is not None:  # in its place the next start would load it
        await whole_call(require_room, draft / MODEL_FILE)
    return await whole_call(_put, draft, place)


@contextlib.asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """End the block after a time; a body at the least rate would hold its place for days."""
    try:
        async with asyncio.timeout(seconds) as timeout:
            yield
    except TimeoutError:
        if not timeout.expired():
            raise
        raise DeadlineError(
            f"The model did not arrive within {seconds:g} s (FOVEAL_MAX_UPLOAD_SECONDS). Send it faster, or copy it "
            "into the folder yourself."
        ) from None


class _DraftFile:
    """The file to which a model is written; locked, so that nobody takes it for one that was left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def begin(self, place: Path) -> None:
        _require_new(place)
        folder = self._path.parent
        _remove_abandoned(folder.parent)
        folder.mkdir()
        self._file = self._path.open("wb")
        _lock(self._file)

    def write(self, content: bytes) -> None:
        assert self._file is not None, "it has begun"
        self._file.write(content)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed, or its process ends; return False where another has."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _remove_abandoned(root: Path) -> None:
    """Remove what a killed process has left: it may be as large as a model."""
    for draft in root.glob(_SENT):
        with contextlib.suppress(OSError):  # another process may be quicker
            written = max(path.lstat().st_mtime for path in (draft, *draft.iterdir()))
            if time.time() - written > ABANDONED_SECONDS and not _arrives(draft):
                shutil.rmtree(draft)


def _arrives(draft: Path) -> bool:
    """Return whether a process still writes to a draft."""
    try:
        with (draft / MODEL_FILE).open("rb") as file:
            return not _lock(file)
    except FileNotFoundError:
        return False


def _put(draft: Path, place: Path) -> Upload:
    """Put a draft into its place, with the mark of one that was not loaded yet."""
    mark = FirstLoad(draft)
    try:
        return Upload(place, _move(draft, place), mark)
    except BaseException:
        mark.release()
        raise


def _move(draft: Path, place: Path) -> bool:
    """Put a draft into its place; return whether the folder of the model was made for it."""
    with interrupted(place, alone=True) as ended:
        if ended:
            shutil.rmtree(place)
    _require_new(place)
    model, is_new = place.parent, True
    try:
        model.mkdir()
    except FileExistsError:
        is_new = False
    try:
        draft.rename(place)  # fails where the folder has come to be meanwhile and is not empty
    except OSError:
        if is_new:
            with contextlib.suppress(OSError):
                model.rmdir()
        raise
    return is_new


def _require_new(place: Path) -> None:
    with interrupted(place) as ended:
        if ended:  # it was never served
            return
    if place.exists():
        raise VersionExistsError(
            f"{place.parent.name} has a version {place.name} already, and the file of a version is never replaced. "
            "Send it as another version; without a body this call serves the one that is there."
        )


def _too_large(most_bytes: int) -> str:
    return f"The model has more than {most_bytes} bytes (FOVEAL_MAX_MODEL_BYTES). Copy it into the folder yourself."
