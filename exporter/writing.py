"""A completed model and its card → one file, written whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import onnx
from onnx import StringStringEntryProto

from exporter.errors import WriteError
from exporter.graph import copy_of
from service.card import CARD_KEY, Card, check_certificate

MODEL_FILE = "model.onnx"
RECIPE_FILE = "recipe.toml"
PROTOBUF_LIMIT = 2**31 - 1


def graph_digest(model: onnx.ModelProto) -> str:
    """Return the SHA-256 of the graph, in hex, equal to `service.card.graph_sha256` of the written file."""
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def write_servable(
    path: Path, model: onnx.ModelProto, card: Card, recipe_text: str | None = None
) -> None:
    """Write the model with its card to a temporary file, check that file, and rename it to the path.

    A recipe file is written beside it. The model gets its name last, so that a service finds all or nothing.

    Raises:
        WriteError: no space, no permission, or a network too large for one file; nothing is left, no folder either.
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
    with ExitStack() as undo:
        try:
            _make_folders(path.parent, undo)
            recipe = path.with_name(RECIPE_FILE)
            if recipe_text is not None and recipe.exists():
                raise WriteError(f"{recipe} exists: another export wrote this version. Start again")
            _write_whole(path, signed.SerializeToString(deterministic=True), card, recipe_text)
        except OSError as error:
            raise WriteError(
                f"{path} can not be written: {error.strerror}. Nothing was written"
            ) from error
        undo.pop_all()


def next_version(folder: Path) -> Path:
    """Return the path of the next version in a model's folder: one that exists may be served and is never replaced."""
    taken = [int(entry.name) for entry in folder.glob("*") if entry.name.isdecimal()]
    return folder / str(max(taken, default=0) + 1) / MODEL_FILE


def _make_folders(folder: Path, undo: ExitStack) -> None:
    """Make a folder with those above it; `undo` removes the ones that were made, if they are empty then."""
    if folder.is_dir():
        return
    _make_folders(folder.parent, undo)
    folder.mkdir(exist_ok=True)
    undo.callback(_remove_empty, folder)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _write_whole(path: Path, content: bytes, card: Card, recipe_text: str | None) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < len(content):
        raise WriteError(
            f"{path}: {len(content) / 1e6:.2f} MB are needed, {free / 1e6:.2f} MB are free. Nothing was written"
        )
    with ExitStack() as undo:
        model = _temporary(path.parent, content, undo)
        check_certificate(model, card)
        if recipe_text is not None:
            written = _temporary(path.parent, recipe_text.encode("utf-8"), undo)
            recipe = path.with_name(RECIPE_FILE)
            written.replace(recipe)
            undo.callback(recipe.unlink, missing_ok=True)
        model.replace(path)
        undo.pop_all()


def _temporary(folder: Path, content: bytes, undo: ExitStack) -> Path:
    """Write a file under a name of its own, completely on the disk; `undo` removes it."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".writing-", delete=False) as file:
        temporary = Path(file.name)
        undo.callback(temporary.unlink, missing_ok=True)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(0o644)
    return temporary
