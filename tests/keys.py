"""Keys for tests: a file of hashes made by hashlib, and the keys that belong to them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

KEYS: Mapping[str, Sequence[str]] = {
    "ada": ("infer",),
    "eve": ("explain",),
    "bob": ("infer", "explain"),
    "root": ("admin",),
    "prometheus": ("metrics",),
}
"""Scopes by name; the key of a name is `key_of(name)`."""


def key_of(name: str) -> str:
    return f"foveal_{name}_0123456789abcdef"


def write_keys(path: Path, keys: Mapping[str, Sequence[str]] = KEYS) -> Path:
    """Write the file in one step, and return its path."""
    entries = []
    for name, scopes in keys.items():
        digest = hashlib.sha256(key_of(name).encode()).hexdigest()
        listed = ", ".join(f'"{one}"' for one in scopes)
        entries.append(f'[{name}]\nsha256 = "{digest}"\nscopes = [{listed}]\n')
    draft = path.with_suffix(".draft")
    draft.write_text("".join(entries))
    draft.replace(path)
    return path


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key_of(name)}"}
