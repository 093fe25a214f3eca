"""What was at a place when it was last seen whole, for a start while it can not be reached."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from service.storage.cache import ModelCache, tolerant
from service.storage.storage import Key
from service.whole_write import write_whole


@dataclass(frozen=True, slots=True)
class Look:
    """What was at a place.

    Attributes:
        place: its URL.
        digests: of each version that could be served.
        texts: the content of `foveal.toml` and of the chains, by path.
    """

    place: str
    digests: Mapping[Key, str]
    texts: Mapping[str, bytes]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    place: str
    versions: list[tuple[str, int, str]]
    texts: dict[str, str]


def write_look(cache: ModelCache, look: Look) -> None:
    """Keep what is at a place; where the cache can not be written, the next start needs the place."""
    content = _File(
        place=look.place,
        versions=[(name, version, digest) for (name, version), digest in look.digests.items()],
        texts={path: base64.b64encode(text).decode() for path, text in look.texts.items()},
    )
    with tolerant(cache.root):
        write_whole(_path(cache, look.place), json.dumps(content.model_dump()).encode())


def read_look(cache: ModelCache, place: str) -> Look | None:
    """Return what was at a place; None where it was never seen."""
    try:
        found = _File.model_validate_json(_path(cache, place).read_bytes())
        texts = {path: base64.b64decode(text) for path, text in found.texts.items()}
    except (OSError, ValidationError, ValueError):
        return None
    return Look(place, {(name, version): digest for name, version, digest in found.versions}, texts)


def _path(cache: ModelCache, place: str) -> Path:
    return cache.root / "looks" / f"{hashlib.sha256(place.encode()).hexdigest()}.json"
