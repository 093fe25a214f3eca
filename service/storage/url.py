"""Where models lie: a folder of this machine, or a place that fsspec reaches by a URL without secrets."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from service.errors import ConfigurationError

SCHEMES = {
    "s3": ("s3fs",),
    "gs": ("gcsfs",),
    "hf": ("huggingface_hub",),
    "https": ("fsspec", "aiohttp"),
    "http": ("fsspec", "aiohttp"),
}
"""The packages that each kind of place needs; `foveal[remote]` brings all of them."""
LONGEST = 1024
WEB = frozenset({"http", "https"})
"""Schemes of web servers, where names are percent-encoded and a page of links stands for a folder."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SECRET = re.compile(r"(?<=://)[^/\s@]*@")
_QUERY = re.compile(r"(://[^\s?#'\"<>]*)[?#][^\s'\"<>]*")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_OWNER = re.compile(r"[\w.-]+")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:[0-9]{1,5})?")
_FIRST = {"s3": _BUCKET, "gs": _BUCKET, "hf": _OWNER, "https": _HOST, "http": _HOST}
"""What the first part of a path is: a library that is asked for another one fails as if the place did not answer."""
_PART = re.compile(r"[\w.@:+=~-]+(?: [\w.@:+=~-]+)*")


@dataclass(frozen=True, slots=True)
class StorageUrl:
    """A place of models: `s3://bucket/prefix`, `gs://…`, `hf://owner/repository/folder`, `https://host/folder`.

    It holds no user, no password and no query, so that it can be shown everywhere.

    Attributes:
        scheme: one of `SCHEMES`.
        path: what follows `://`, without a slash at its end.
    """

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    @property
    def is_web(self) -> bool:
        """Whether a web server has the place."""
        return self.scheme in WEB


def redacted(text: str) -> str:
    """Return a text without the users, passwords and queries of the URLs in it: they may be secret."""
    return _QUERY.sub(r"\1", _SECRET.sub("***@", text))


def is_url(text: str) -> bool:
    """Return whether a text is meant as a URL, not as a folder."""
    return _SCHEME.match(text) is not None


def is_web(text: str) -> bool:
    """Return whether a text is the URL of a web server, where names are percent-encoded."""
    return is_url(text) and text.partition("://")[0].lower() in WEB


def parse_place(text: str) -> Path | StorageUrl:
    """Return the folder or the URL that a text names.

    Raises:
        ConfigurationError: it is a URL that can not be one of models; the message has no secret of it.
    """
    return parse_url(text) if is_url(text) else Path(text)


def parse_url(text: str) -> StorageUrl:
    """Return the URL that a text is; see `parse_place`."""
    url = _split(text, "models")
    shown = redacted(text)
    if "?" in url.path or "#" in url.path:
        raise ConfigurationError(f"{shown} must have no query and no fragment")
    parts = url.path.split("/")
    if not url.path or not all(_PART.fullmatch(part) and part.strip(".") for part in parts):
        raise ConfigurationError(
            f"{shown} is no place of models; write {url.scheme}://{_EXAMPLES[url.scheme]}, without empty parts and "
            "without .."
        )
    return url


def parse_source(text: str) -> StorageUrl:
    """Return the URL of images that a text is: of a file, a folder, or a pattern of files.

    The names of objects may have any printable character; on the web a question mark begins a query, which is refused.

    Raises:
        ConfigurationError: it is none; the message has no secret of it.
    """
    url = _split(text, "images")
    shown = redacted(text)
    if is_web(text) and ("?" in url.path or "#" in url.path):
        raise ConfigurationError(
            f"{shown} must have no query and no fragment: it would be in the results. Fetch such files first"
        )
    first = url.path.partition("/")[0]
    is_place = _FIRST[url.scheme].fullmatch(first) is not None and first.strip(".")
    if not is_place or not url.path.isprintable():
        raise ConfigurationError(
            f"{shown} is no place of images; write {url.scheme}://{_EXAMPLES[url.scheme]}"
        )
    if any(part in {".", ".."} for part in url.path.split("/")):
        raise ConfigurationError(f"{shown} must have no parts . and ..")
    return url


def _split(text: str, what: str) -> StorageUrl:
    """Return the scheme and the rest, checked for what no URL may have."""
    shown = redacted(text[:LONGEST])
    found = _SCHEME.match(text)
    if found is None or found[1].lower() not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES if scheme != "http")
        raise ConfigurationError(
            f"{shown} is no place of {what}; write a folder, or a URL: {known}"
        )
    scheme, rest = found[1].lower(), text[found.end() :]
    if len(text) > LONGEST:
        raise ConfigurationError(f"{shown[:80]}… has more than {LONGEST} characters")
    if "@" in rest.split("/", 1)[0]:
        raise ConfigurationError(
            f"{shown} must have no user and no password: put them where the library of {scheme}:// looks for them "
            "(~/.netrc for https; see docs/storage.md)"
        )
    if scheme == "http" and not _is_loopback(text):
        raise ConfigurationError(f"{shown} would come unprotected; write https://")
    return StorageUrl(scheme, rest.rstrip("/"))


_EXAMPLES = {
    "s3": "BUCKET/PREFIX",
    "gs": "BUCKET/PREFIX",
    "hf": "OWNER/REPOSITORY/FOLDER",
    "https": "HOST/FOLDER",
    "http": "HOST/FOLDER",
}


def _is_loopback(text: str) -> bool:
    try:
        host = urlsplit(text).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
