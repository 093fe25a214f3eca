"""`foveal.lock`: which versions are served, pinned by the digest of their files."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from service.card import DATA_SUFFIX, REFERENCE_FILE
from service.errors import ConfigurationError
from service.runtime.fleet import LARGEST_VERSION, MODEL_NAME, first_fault
from service.runtime.repository import MODEL_FILE
from service.toml_file import read_toml
from service.whole_write import save_whole

LOCK_FILE = "foveal.lock"
MOST_PINS = 10_000
MOST_BYTES = 8 << 20

_NETWORKS = (MODEL_FILE, "fp32.onnx", "fp16.onnx", "bf16.onnx", "int8.onnx")
VERSION_FILES = (*_NETWORKS, *(name + DATA_SUFFIX for name in _NETWORKS), REFERENCE_FILE)
"""The files of a version that a service reads; no other is fetched, and no other counts for the digest."""

_DIGEST = r"sha256:[0-9a-f]{64}"
_HEADER = "# Written by `foveal lock`. It pins which versions are served, see docs/storage.md.\nformat = 1\n"


class Pin(BaseModel):
    """A version, pinned.

    Attributes:
        name, version: of the model.
        digest: of its files; see `version_digest`.
        source: where they came from, for people.
        files: the digest of each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=f"^(?:{MODEL_NAME.pattern})$")]
    version: Annotated[int, Field(strict=True, ge=1, le=LARGEST_VERSION)]
    digest: Annotated[str, Field(pattern=f"^{_DIGEST}$")]
    source: str = ""
    files: dict[str, Annotated[str, Field(pattern=f"^{_DIGEST}$")]]

    @property
    def key(self) -> tuple[str, int]:
        return self.name, self.version


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Annotated[int, Field(ge=1, le=1)]
    models: Annotated[list[Pin], Field(max_length=MOST_PINS)] = []


_FILE = TypeAdapter(_File)


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock file pins.

    Attributes:
        path: the file.
        pins: by name and version.
    """

    path: Path
    pins: Mapping[tuple[str, int], Pin]


def read_lock(path: Path) -> Lock:
    """Return what a lock file pins.

    Raises:
        ConfigurationError: it is not there, can not be read, or contradicts itself.
    """
    try:
        found = _FILE.validate_python(read_toml(path, MOST_BYTES))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"There is no lock file {path}. Write it with `foveal lock`, or leave FOVEAL_MODELS_LOCK out."
        ) from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}.") from error
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {first_fault(error)}.") from error
    pins: dict[tuple[str, int], Pin] = {}
    for pin in found.models:
        _check(path, pin)
        if pin.key in pins:
            raise ConfigurationError(f"{path} pins {pin.name}:{pin.version} twice. Write it again.")
        pins[pin.key] = pin
    return Lock(path, pins)


def _check(path: Path, pin: Pin) -> None:
    unknown = sorted(set(pin.files) - set(VERSION_FILES))
    if unknown or MODEL_FILE not in pin.files:
        reason = (
            f"{unknown[0][:80]!r} is no file of a version"
            if unknown
            else f"{MODEL_FILE} is missing"
        )
        raise ConfigurationError(f"{path}: {pin.name}:{pin.version}: files: {reason}.")
    whole = version_digest(pin.files)
    if whole != pin.digest:
        raise ConfigurationError(
            f"{path}: {pin.name}:{pin.version}: the digest is {pin.digest}, and its files give {whole}. Write the lock "
            "again with `foveal lock`."
        )


def write_lock(path: Path, pins: Iterable[Pin]) -> None:
    """Write a lock file, whole or not at all.

    Raises:
        ConfigurationError: the folder can not be written.
    """
    parts = [_HEADER]
    for pin in sorted(pins, key=lambda one: one.key):
        lines = [
            "",
            "[[models]]",
            f'name = "{pin.name}"',
            f"version = {pin.version}",
            f'digest = "{pin.digest}"',
            f"source = {_quoted(pin.source)}",
            "[models.files]",
            *(f'"{name}" = "{digest}"' for name, digest in sorted(pin.files.items())),
            "",
        ]
        parts.append("\n".join(lines))
    try:
        save_whole(path, "".join(parts).encode())
    except OSError as error:
        raise ConfigurationError(
            f"{path} can not be written: {error.strerror or error}."
        ) from error


def _quoted(text: str) -> str:
    """Return a basic string of TOML."""
    escaped = "".join(
        f"\\u{ord(one):04x}" if one in '"\\' or not one.isprintable() else one for one in text
    )
    return f'"{escaped}"'


def version_digest(files: Mapping[str, str]) -> str:
    """Return the digest of a version: that of its files' digests, as `sha256sum *` prints them in order of names.

    Args:
        files: `sha256:…` by the name of the file.
    """
    lines = (
        f"{digest.removeprefix('sha256:')}  {name}\n" for name, digest in sorted(files.items())
    )
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def file_digest(path: Path) -> str:
    """Return `sha256:…` of a file.

    Raises:
        OSError: it can not be read.
    """
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def digests_in(folder: Path) -> dict[str, str]:
    """Return the digest of each file of a version that lies in a folder.

    Raises:
        OSError: one can not be read.
    """
    return {
        name: file_digest(folder / name) for name in VERSION_FILES if os.path.lexists(folder / name)
    }


def differs(pin: Pin, found: Mapping[str, str], lock: Path, place: str) -> str | None:
    """Return why files are not those that are pinned, with both digests; None where they are.

    Args:
        pin: what is wanted.
        found: the digest of each file there is.
        lock: the lock file.
        place: where the files are.
    """
    whole = version_digest(found)
    if whole == pin.digest:
        return None
    parts = [
        f"{name} is {_short(found.get(name))} instead of {_short(pin.files.get(name))}"
        for name in sorted({*found, *pin.files})
        if found.get(name) != pin.files.get(name)
    ]
    return (
        f"{pin.name}:{pin.version} in {place} has the digest {whole}, and {lock.name} pins {pin.digest} "
        f"({'; '.join(parts)}). Put the pinned files back, or pin these with `foveal lock`."
    )


def _short(digest: str | None) -> str:
    return "missing" if digest is None else re.sub(r"^(sha256:.{12}).*", r"\1…", digest)
