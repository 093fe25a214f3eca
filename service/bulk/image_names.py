"""The names that annotations may have for an image: a source gives it a path or a URL, and they have an end of that."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from service.storage.url import is_web


def readings_of(name: str) -> Iterator[str]:
    """Yield an image's name, and the same decoded where it is the URL of a web server: there a blank is `%20`."""
    yield name
    if is_web(name) and "%" in name:
        yield unquote(name)


def ends_of(name: str) -> Iterator[str]:
    """Yield the name of an image and its ends, from part to part; of a URL, as a path has it, too."""
    for one in readings_of(name):
        parts = one.split("/")
        yield from ("/".join(parts[at:]) for at in range(len(parts)))
        yield str(Path(one))
