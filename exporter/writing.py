"""A completed model and its card → one file, written whole or not at all."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import onnx
from onnx import StringStringEntryProto

from exporter.errors import WriteError
from exporter.graph import copy_of
from service.card import CARD_KEY, Card, check_certificate

PROTOBUF_LIMIT = 2**31 - 1


def graph_digest(model: onnx.ModelProto) -> str:
    """Return the SHA-256 of the graph, in hex, equal to `service.card.graph_sha256` of the written file."""
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def write_servable(path: Path, model: onnx.ModelProto, card: Card) -> None:
    """Write the model with its card to a temporary file, check that file, and rename it to the path.

    Raises:
        WriteError: no space, no permission, or a network too large for one file; no part of a file is left.
    """
    signed = copy_of(model)
    del signed.metadata_props[:]
    signed.metadata_props.append(
        StringStringEntryProto(key=CARD_KEY, value=card.model_dump_json(exclude_none=True))
    )
    size = signed.ByteSize()
    if size > PROTOBUF_LIMIT:
        raise WriteError(
            f"The network is {size / 2**30:.1f} GiB, one ONNX file holds at most 2 GiB"
        )
    _write_whole(path, signed.SerializeToString(deterministic=True), card)


def next_version(folder: Path) -> Path:
    """Return the path of the next version in a model's folder: one that exists may be served and is never replaced."""
    taken = [int(entry.name) for entry in folder.glob("*") if entry.name.isdecimal()]
    return folder / str(max(taken, default=0) + 1) / "model.onnx"


def write_recipe(path: Path, content: dict[str, Any]) -> None:
    """Write a recipe file, from which the servable can be made again; an existing one is kept.

    Raises:
        WriteError: the file system refused.
    """
    if path.exists():
        return
    content = {name: _from(path.parent, value) for name, value in content.items()}
    plain = {name: value for name, value in content.items() if not isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in plain.items()]
    for name, table in content.items():
        if isinstance(table, dict) and table:
            lines += ["", f"[{name}]"]
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise WriteError(f"{path} can not be written: {error.strerror}") from error


def _from(folder: Path, value: Any) -> Any:  # noqa: ANN401 - a recipe's fields are of many types
    """Return a field; if it names a file, with the file's path relative to the recipe's folder."""
    if not isinstance(value, str):
        return value
    kind, colon, where = value.rpartition(":")
    if not Path(where).is_file() and not (kind == "transformers" and Path(where).is_dir()):
        return value
    return kind + colon + os.path.relpath(where, folder)


def _write_whole(path: Path, content: bytes, card: Card) -> None:
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < len(content):
            raise WriteError(
                f"{path}: {len(content) / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
            )
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writing-", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        check_certificate(temporary, card)
        temporary.replace(path)
    except OSError as error:
        raise WriteError(f"{path} can not be written: {error.strerror}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
