"""A completed model and its card → one file, or two above 2 GiB, written whole or not at all."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import onnx
from onnx import StringStringEntryProto

from exporter.errors import WriteError
from exporter.external_data import INLINE_LIMIT, data_bytes, is_large, split, write_data
from exporter.graph import copy_of
from service.card import CARD_KEY, DATA_SUFFIX, Card, check_certificate

MODEL_FILE = "model.onnx"
"""The name of every servable's file, to which a graph's reference to its weights is relative."""


def graph_digest(model: onnx.ModelProto, limit: int = INLINE_LIMIT) -> str:
    """Return the SHA-256 of the graph, in hex, equal to `service.card.graph_sha256` of the written file.

    Args:
        model: the model.
        limit: as for `write_servable`.
    """
    if is_large(model, limit):
        model, _ = split(model, MODEL_FILE + DATA_SUFFIX)
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def write_servable(
    path: Path, model: onnx.ModelProto, card: Card, limit: int = INLINE_LIMIT
) -> Card:
    """Write the model with its card to a temporary file, check that file, and rename it to the path.

    A model with more bytes of weights than `limit` has them in a second file beside it, whose digest is in the card's
    certificate; so the card that is written is returned.

    Raises:
        WriteError: no space or no permission; no part of a file is left.
    """
    heavy: list[onnx.TensorProto] = []
    if is_large(model, limit):
        model, heavy = split(model, path.name + DATA_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_space(path, data_bytes(heavy) + model.ByteSize())
        with (
            _replacing(path) as temporary,
            _replacing(_data_path(path), wanted=bool(heavy)) as data,
        ):
            if heavy:
                with data.open("wb") as file:
                    digest = write_data(file, heavy)
                    _flush(file)
                certificate = card.certificate.model_copy(update={"data_sha256": digest})
                card = card.model_copy(update={"certificate": certificate})
            with temporary.open("wb") as file:
                file.write(_signed(model, card).SerializeToString(deterministic=True))
                _flush(file)
            check_certificate(temporary, card, data if heavy else _data_path(path))
    except OSError as error:
        raise WriteError(f"{path} can not be written: {error.strerror}") from error
    return card


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


def _signed(model: onnx.ModelProto, card: Card) -> onnx.ModelProto:
    signed = copy_of(model)
    del signed.metadata_props[:]
    signed.metadata_props.append(
        StringStringEntryProto(key=CARD_KEY, value=card.model_dump_json(exclude_none=True))
    )
    return signed


def _data_path(path: Path) -> Path:
    return path.with_name(path.name + DATA_SUFFIX)


def _require_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise WriteError(f"{path}: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _replacing(path: Path, *, wanted: bool = True) -> Iterator[Path]:
    """Yield an empty temporary file beside the path, which gets its name in the end, unless something is raised."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writing-", delete=False) as file:
        temporary = Path(file.name)
    try:
        yield temporary
        if wanted:
            temporary.chmod(0o644)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
