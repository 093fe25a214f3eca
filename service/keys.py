"""API keys: random, hashed at rest, and read from a file that may change while the service runs."""

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import ConfigurationError
from service.logs import LOGGER
from service.toml_file import read_toml
from service.whole_write import save_whole

log = logging.getLogger(LOGGER)

SCOPES = ("infer", "explain", "admin", "metrics")
PREFIX = "foveal_"
"""Every key begins with it, so that programs that search for leaked secrets recognize one."""
KEY_BYTES = 32
LONGEST_KEY = 256
"""Bytes of what a client presents; anything longer is no key and is not hashed."""
MOST_FILE_BYTES = 2**20
CHECK_SECONDS = 1.0
"""How often a request lets the file be looked at: how long a revoked key may still work."""

_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Key:
    """A key without the secret.

    Attributes:
        name: for the log.
        digest: the SHA-256 of the key, 32 bytes.
        scopes: what it may do.
    """

    name: str
    digest: bytes
    scopes: frozenset[str]


def new_key() -> str:
    """Return a new random key of 256 bits."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest_of(key: bytes) -> bytes:
    """Return the SHA-256 of a key.

    A slow hash with a salt protects passwords, because they can be guessed. A key has 256 random bits. Nobody can try
    so many, however fast the hash is, and every request pays for the hash.
    """
    return hashlib.sha256(key).digest()


def as_entry(name: str, key: str, scopes: Sequence[str]) -> str:
    """Return a key's entry in the file of keys; it does not hold the key.

    Raises:
        ConfigurationError: the name can not be one, or there is no such scope.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(_bad_name(name))
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise ConfigurationError(f"{unknown[0]!r} is not a scope. Scopes are {', '.join(SCOPES)}.")
    listed = ", ".join(f'"{scope}"' for scope in scopes)
    return f'["{name}"]\nsha256 = "{digest_of(key.encode()).hex()}"\nscopes = [{listed}]\n'


def add_entry(path: Path, name: str, entry: str) -> None:
    """Write an entry at the end of a file of keys, which is replaced as a whole, and made where there is none.

    Raises:
        ConfigurationError: the file can not be used, or has a key of this name.
    """
    before = ""
    if path.exists() and path.stat().st_size:
        if any(key.name == name for key in read_keys(path)):
            raise ConfigurationError(
                f"{path} has a key of the name {name!r}. Choose another name, or remove its entry first."
            )
        before = path.read_text(encoding="utf-8").rstrip("\n") + "\n\n"
    try:
        save_whole(path, (before + entry).encode())
    except OSError as error:
        raise ConfigurationError(
            f"The key can not be written to {path}: {error.strerror}."
        ) from error


def read_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file.

    Raises:
        ConfigurationError: it can not be read, or an entry is not as `foveal key new` writes it.
    """
    try:
        entries = read_toml(path, MOST_FILE_BYTES)
    except (FileNotFoundError, ConfigurationError) as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else error
        raise ConfigurationError(
            f"The keys can not be read from {path}: {why}. FOVEAL_KEYS names the file; "
            "`foveal key new` prints what belongs into it."
        ) from error
    keys = tuple(_key(path, name, entry) for name, entry in entries.items())
    if not keys:
        raise ConfigurationError(f"{path} holds no key. `foveal key new` prints an entry for it.")
    return keys


def _key(path: Path, name: str, entry: Any) -> Key:  # noqa: ANN401  # as TOML has it
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{path}: {_bad_name(name)}")
    if not isinstance(entry, dict) or set(entry) != {"sha256", "scopes"}:
        raise ConfigurationError(
            f"{path}: the entry of {name} must have `sha256` and `scopes`, and nothing else."
        )
    digest, scopes = entry["sha256"], entry["scopes"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ConfigurationError(
            f"{path}: `sha256` of {name} must be 64 hexadecimal digits in lower case: the hash of the key, not the key."
        )
    if not isinstance(scopes, list) or not scopes or not set(map(str, scopes)) <= set(SCOPES):
        raise ConfigurationError(
            f"{path}: `scopes` of {name} must list one or more of {', '.join(SCOPES)}."
        )
    return Key(name, bytes.fromhex(digest), frozenset(scopes))


def _bad_name(name: str) -> str:
    return (
        f"{name[:80]!r} can not be the name of a key: use 1 to 64 letters, digits and any of `._-`."
    )


class KeyRing:
    """The keys that are valid now.

    A request at most once a second lets it look whether the file has changed. A changed file that can not be used is
    logged, and the keys from before stay valid: an error in a file does not lock everyone out. One that can not be
    read is tried again each second.

    Args:
        path: the file of keys.
        clock: seconds that only ever grow.
        same: compares two hashes, in a time that does not depend on them.

    Raises:
        ConfigurationError: the file can not be used.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        *,
        same: Callable[[bytes, bytes], bool] = hmac.compare_digest,
    ) -> None:
        self._path = path
        self._clock = clock
        self._same = same
        self._version = _version_of(path)
        self._keys = read_keys(path)
        self._said = ""  # the last failure that was logged
        self._next_look = clock() + CHECK_SECONDS

    def find(self, presented: bytes) -> Key | None:
        """Return the key that a client presents; None where it is none that is valid now.

        The time that it takes says nothing of how much of a key is right: hashes are compared, each of them to its
        end, and all keys are compared in any case.
        """
        self._look()
        if len(presented) > LONGEST_KEY:
            return None
        digest = digest_of(presented)
        found = None
        for key in self._keys:
            if self._same(key.digest, digest):
                found = key
        return found

    def _look(self) -> None:
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + CHECK_SECONDS
        version = _version_of(self._path)
        if version == self._version:
            return
        try:
            self._keys = read_keys(self._path)
        except ConfigurationError as error:
            if _is_of_file(error):
                self._version = version
            if str(error) != self._said:
                self._said = str(error)
                log.error(
                    "The keys from before stay valid, because the new ones can not be used: %s",
                    error,
                )  # noqa: TRY400, RUF100
        else:
            self._version, self._said = version, ""
            log.info("The keys were read again: %d are valid", len(self._keys))


def _is_of_file(error: ConfigurationError) -> bool:
    """Return whether the file is at fault, and not the system, which may read it a second later.

    At a full table of file descriptors a file can not be opened, and `chmod` does not make a file a new version.
    """
    cause = error.__cause__
    return not (isinstance(cause, ConfigurationError) and isinstance(cause.__cause__, OSError))


def _version_of(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with the file's content; None where there is no file."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino
