"""Files of a place that fsspec reaches: listed, read from any byte on, each call within a time."""

import contextlib
import importlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from service.errors import ConfigurationError, StorageError
from service.logs import printable
from service.storage.begun import within
from service.storage.links import MOST_PAGE_BYTES, folder_links
from service.storage.pinned_version import opened
from service.storage.url import SCHEMES, WEB, StorageUrl, redacted

T = TypeVar("T")

ANSWER_SECONDS = 60.0
"""How long a place may take to answer a call that moves no file."""
CHUNK_BYTES = 4 << 20
SAME_ATTEMPTS = 3
"""How often an image of a web server is read that changes while it comes."""
MOST_CONNECTIONS = 64
_LIBRARIES = ("fsspec", "s3fs", "aiobotocore", "botocore", "gcsfs", "google", "huggingface_hub")
_LONGEST_REASON = 300
_VALIDATORS = (
    *("ETag", "etag", "generation", "md5Hash", "blob_id", "checksum"),
    *("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "created"),
)
"""What file systems call that which changes with a file, the surest first."""


class FileGoneError(Exception):
    """There is no such file or folder."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file or folder, as it is listed.

    Attributes:
        name: the last part of its path.
        size: in bytes; None where the place does not say, and for a folder.
        validator: changes with the file; empty where the place does not say.
        is_folder: whether it may have children.
    """

    name: str
    size: int | None = None
    validator: str = ""
    is_folder: bool = False


class Stream(Protocol):
    """A file that is read from one byte on."""

    def read(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class RemoteFiles:
    """The files under one URL. Every path is relative to it, without a slash at either end; all calls block.

    Args:
        url: the place.
        file_system: fsspec's for it.
        answer_seconds: how long a call may take.
    """

    def __init__(
        self,
        url: StorageUrl,
        file_system: Any,  # noqa: ANN401  # fsspec has no types
        *,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.url = url
        self._fs = file_system
        self._seconds = answer_seconds
        self._root = str(url) if url.is_web else url.path

    def children(self, path: str = "") -> list[RemoteFile]:
        """Return what lies in a folder.

        Raises:
            FileGoneError: there is no such folder.
            StorageError: the place does not answer, or refuses.
        """
        if self.url.is_web:
            return self._linked(path)
        place = self._place(path)

        def listed() -> list[dict[str, Any]]:
            self._fs.invalidate_cache()
            found: list[dict[str, Any]] = self._fs.ls(place, detail=True)
            return found

        return [
            _remote_file(one)
            for one in self._call(f"list {path or 'the folder'}", listed)
            if str(one["name"]).strip("/") != place.strip("/")  # the marker of an empty folder
        ]

    def stat(self, path: str) -> RemoteFile:
        """Return what is said of one file; see `children` for the errors."""
        place = self._place(path)

        def asked() -> dict[str, Any]:
            self._fs.invalidate_cache()
            found: dict[str, Any] = self._fs.info(place)
            return found

        return _remote_file(self._call(f"look at {path}", asked))

    def open(self, path: str, offset: int = 0) -> tuple[Stream, int]:
        """Open a file as it is now; see `children` for the errors. What it gives is of no other version of the file.

        Args:
            path: the file.
            offset: the byte to read from.

        Returns:
            What reads it, and from which byte on: `offset`, or 0 where the place can not begin inside a file.
        """
        place = self._place(path)
        if self.url.is_web:
            return self._call(f"open {path or 'its page'}", lambda: self._open_http(place, offset))

        def begun() -> Any:  # noqa: ANN401
            self._fs.invalidate_cache()
            return opened(self._fs, self.url.scheme, place, offset, CHUNK_BYTES)

        return self._call(f"open {path}", begun), offset

    def read(self, stream: Stream, path: str, size: int, seconds: float) -> bytes:
        """Return the next bytes, at most `size`; empty at the end; see `children` for the errors."""
        return self._call(f"read {path or 'its page'}", lambda: stream.read(size), seconds)

    def read_small(self, path: str, most_bytes: int) -> bytes:
        """Return a whole file that must be small.

        Raises:
            StorageError: it is larger; or see `children`.
        """
        stream, _ = self.open(path)
        try:
            content = b""
            while len(content) <= most_bytes:
                chunk = self.read(stream, path, most_bytes + 1 - len(content), self._seconds)
                if not chunk:
                    return content
                content += chunk
        finally:
            self.close(stream)
        raise StorageError(f"{self.url}/{printable(path)} has more than {most_bytes} bytes.")

    def beginning(self, path: str, most_bytes: int, seconds: float) -> bytes:
        """Return the first bytes of a file, at most so many, by one request; see `children` for the errors."""
        if self.url.is_web:
            return self._call(
                f"read {path}", lambda: self._beginning_http(path, most_bytes), seconds
            )
        place = self._place(path)

        def read() -> bytes:
            try:
                content: bytes = self._fs.cat_file(place, start=0, end=most_bytes)
            except Exception as error:
                if _status_of(error) == 416:  # there is no such part of a file without bytes
                    return b""
                raise
            return content

        return self._call(f"read {path}", read, seconds)

    def ask(self, what: str, function: Callable[[Any], T]) -> T:
        """Return what a function gets of the file system itself; see `children` for the errors."""
        return self._call(what, lambda: function(self._fs))

    def close(self, stream: Stream) -> None:
        """Close a file; nothing that was read depends on it."""
        with contextlib.suppress(Exception):  # so its errors do not count either
            stream.close()

    def _open_http(self, place: str, offset: int) -> tuple[Stream, int]:
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        stream = self._fs.open(place, "rb", block_size=0, size=1, headers=headers)
        answer = stream.r
        if answer.status >= 400:
            stream.close()
            answer.raise_for_status()
        if answer.status == 206 and not str(answer.headers.get("Content-Range", "")).startswith(
            f"bytes {offset}-"
        ):
            stream.close()
            raise OSError("it sent another part than the one that was asked for")
        return stream, offset if answer.status == 206 else 0

    def _beginning_http(self, path: str, most_bytes: int) -> bytes:
        """Return the first bytes of a file that stays as it is, or is the same twice, while they come.

        A file that is overwritten in its place gives an answer with bytes of both.
        """
        place, before = self._place(path), None
        for _ in range(SAME_ATTEMPTS):
            content, tag = self._answer_http(place, most_bytes)
            # The second time, servers behind one name may have a tag each.
            if content == before or self._has_tag(place, tag):
                return content
            before = content
        raise OSError("it changes while it is read")

    def _answer_http(self, place: str, most_bytes: int) -> tuple[bytes, str]:
        """Return the first bytes of a file, and what the server says with them that changes with the file."""
        stream, _ = self._open_http(place, 0)
        try:
            content = b""
            while len(content) < most_bytes and (
                block := stream.read(min(CHUNK_BYTES, most_bytes - len(content)))
            ):
                content += block
            return content, _tag_of(stream.r.headers)  # type: ignore[attr-defined]
        finally:
            self.close(stream)

    def _has_tag(self, place: str, tag: str) -> bool:
        """Return whether a server says the same of a file now; where it says nothing, it does."""
        if not tag:
            return True
        try:
            return _tag_of(self._fs.info(place)) in {"", tag}
        except FileNotFoundError:  # it was removed, or the server does not say
            return True

    def _linked(self, path: str) -> list[RemoteFile]:
        """Return what a page of links, as web servers make of a folder, has in that folder."""
        page = self.read_small(f"{path}/" if path else "", MOST_PAGE_BYTES)
        return [
            RemoteFile(name, is_folder=is_folder)
            for name, is_folder in folder_links(page, f"{self._place(path).rstrip('/')}/")
        ]

    def _place(self, path: str) -> str:
        if self.url.is_web and not path:
            return f"{self._root}/"
        return f"{self._root}/{path}" if path else self._root

    def _call(self, what: str, function: Callable[[], T], seconds: float | None = None) -> T:
        limit = self._seconds if seconds is None else seconds
        try:
            return within(limit, function)
        except FileNotFoundError as error:
            cause = _cause_of(error)
            if cause is None:
                raise FileGoneError(f"{self.url}: {printable(what)}: it is not there") from error
            raise self._failed(what, cause) from error
        except TimeoutError as error:
            raise StorageError(
                f"{self.url}: to {printable(what)} took more than {limit:g} s. Is the place reachable from here?"
            ) from error
        except Exception as error:  # each library has errors of its own
            if _status_of(error) in {404, 410}:
                raise FileGoneError(f"{self.url}: {printable(what)}: it is not there") from error
            raise self._failed(what, error) from error

    def _failed(self, what: str, error: BaseException) -> StorageError:
        said = " ".join(str(error).split())
        reason = printable(redacted(said))[:_LONGEST_REASON] or type(error).__name__
        text = f"{self.url}: can not {printable(what)}: {reason.rstrip('.')}."
        if isinstance(error, PermissionError) or _status_of(error) in {401, 403}:
            hint = f" It refuses: {_CREDENTIALS[self.url.scheme]}"
            return StorageError(f"{text}{hint}", "denied")
        return StorageError(text)


_CREDENTIALS = {
    "s3": "check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE or the role of the machine) and their rights to list "
    "and get.",
    "gs": "check the credentials (GOOGLE_APPLICATION_CREDENTIALS or the role of the machine) and their rights.",
    "hf": "check HF_TOKEN, and that it may read this repository.",
    "https": "check the entry of the host in ~/.netrc.",
    "http": "check the entry of the host in ~/.netrc.",
}


def open_remote(url: StorageUrl) -> RemoteFiles:
    """Return the files of a place. No connection is made yet.

    Raises:
        ConfigurationError: a package is missing.
    """
    scheme = url.scheme
    for name in (
        _LIBRARIES
    ):  # what they say of an error would be a plain line on stderr; ours is in the log
        logging.getLogger(name).addHandler(logging.NullHandler())
    if scheme == "hf":
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read when huggingface_hub is imported
    try:
        fsspec, *_ = map(importlib.import_module, ("fsspec", *SCHEMES[scheme]))
        options = _options(scheme)
        file_system = fsspec.filesystem(scheme, skip_instance_cache=True, **options)
    except ImportError as error:
        raise _missing(url, error) from error
    except Exception as error:  # each library has errors of its own
        reason = printable(redacted(" ".join(str(error).split())))[:_LONGEST_REASON]
        raise StorageError(f"{url} can not be used: {reason.rstrip('.')}.") from error
    return RemoteFiles(url, file_system)


def _missing(url: StorageUrl, error: ImportError) -> ConfigurationError:
    package = error.name or SCHEMES[url.scheme][0]
    return ConfigurationError(
        f"{url} needs the package {package}, which is not installed. In a clone: "
        f"pip install -e '.[remote]' (or {package} alone)."
    )


def _options(scheme: str) -> dict[str, Any]:
    if scheme in WEB:
        aiohttp = importlib.import_module("aiohttp")
        return {
            "client_kwargs": {
                "timeout": aiohttp.ClientTimeout(
                    total=None, sock_connect=ANSWER_SECONDS / 2, sock_read=ANSWER_SECONDS / 2
                ),
                "auto_decompress": False,
                "trust_env": True,  # ~/.netrc and proxies
                "trace_configs": [_no_downgrade(aiohttp)] if scheme == "https" else [],
            }
        }
    if scheme == "s3":  # images are read side by side
        return {
            "use_listings_cache": False,
            "config_kwargs": {"max_pool_connections": MOST_CONNECTIONS},
        }
    return {"use_listings_cache": False}


def _no_downgrade(aiohttp: Any) -> Any:  # noqa: ANN401  # an option
    """Return what refuses a redirect from HTTPS to HTTP."""

    async def redirected(_session: object, _context: object, params: Any) -> None:  # noqa: ANN401
        where = params.response.headers.get("Location", "")
        if str(where).lower().startswith("http:"):
            raise OSError("it redirects to a place without HTTPS")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(redirected)
    return trace


def _remote_file(info: dict[str, Any]) -> RemoteFile:
    size = info.get("size")
    found = next((str(info[key]) for key in _VALIDATORS if info.get(key)), "")
    is_folder = info.get("type") == "directory"
    name = str(info["name"]).rstrip("/").rpartition("/")[2]
    return RemoteFile(name, None if is_folder or size is None else int(size), found, is_folder)


def _tag_of(said: Mapping[str, Any]) -> str:
    return next((str(said[key]) for key in ("ETag", "Last-Modified") if said.get(key)), "")


def _cause_of(error: BaseException) -> BaseException | None:
    """Return what is behind a missing file where that is another failure; fsspec calls many so."""
    cause = error.__cause__
    if cause is None or isinstance(cause, FileNotFoundError) or _status_of(cause) in {404, 410}:
        return None
    return cause


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error of a library has; None where it has none."""
    for one in (error, error.__cause__):
        answer = getattr(one, "response", None)
        if isinstance(answer, dict):  # botocore
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:  # httpx, aiohttp, gcsfs
            status = getattr(answer, "status_code", None) or getattr(one, "status", None)
            status = getattr(one, "code", None) if status is None else status
        if isinstance(status, int):
            return status
    return None
