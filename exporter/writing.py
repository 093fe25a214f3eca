"""A completed model and its card → one file, or two above 2 GiB, written whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import onnx
from onnx import StringStringEntryProto

from exporter.drafts import PREFIX, claim, sweep, write_draft
from exporter.encoded_model import graph_parts, model_parts
from exporter.errors import WriteError
from exporter.external_data import INLINE_LIMIT, data_bytes, is_large, split, write_data
from service.card import CARD_KEY, DATA_SUFFIX, Card, Digest
from service.servable_file import (
    FUNCTION_FIELD,
    GRAPH_FIELD,
    OPSET_FIELD,
    check_certificate,
    part_head,
)

MODEL_FILE = "model.onnx"
"""The name of every servable's file, to which a graph's reference to its weights is relative."""
RECIPE_FILE = "recipe.toml"
NOTHING = " Nothing was written"
"""The end of errors of a servable."""
_ELSEWHERE = "Give another folder with --models"
WRITTEN_DIGEST: Digest = 2
"""The kind of digest that new certificates have. Services from before `Certificate.digest` refuse a card with it."""


def graph_digest(
    model: onnx.ModelProto, limit: int = INLINE_LIMIT, digest: Digest = WRITTEN_DIGEST
) -> str:
    """Return the SHA-256 of the graph and the model's functions, in hex.

    It equals `service.servable_file.graph_sha256` of the written file.

    Args:
        model: the model.
        limit: as for `write_servable`.
        digest: 2 covers the versions of the operator sets too.
    """
    if is_large(model, limit):
        model, _ = split(model, MODEL_FILE + DATA_SUFFIX)
    sha256 = hashlib.sha256()

    def begin(field: int, length: int) -> None:
        if digest == 2:
            sha256.update(part_head(field, length))

    if digest == 2:
        begin(GRAPH_FIELD, sum(map(len, graph_parts(model.graph))))
    for part in graph_parts(model.graph):
        sha256.update(part)
    opsets = model.opset_import if digest == 2 else ()
    for field, messages in ((OPSET_FIELD, opsets), (FUNCTION_FIELD, model.functions)):
        for message in messages:
            text = message.SerializeToString(deterministic=True)
            begin(field, len(text))
            sha256.update(text)
    return sha256.hexdigest()


def write_servable(
    path: Path,
    model: onnx.ModelProto,
    card: Card,
    recipe_text: str | None = None,
    *,
    limit: int = INLINE_LIMIT,
) -> Card:
    """Write the model with its card to a temporary file, check that file, and rename it to the path.

    The model itself gets the card. What killed exports have left in the model's folder is removed.

    A recipe file is written beside it. The model gets its name last, so that a service finds all or nothing.

    A model with more bytes of weights than `limit` has them in a second file beside it, whose digest is in the card's
    certificate; so the card that is written is returned.

    Raises:
        WriteError: no space or no permission; nothing is left, no folder either.
    """
    heavy: list[onnx.TensorProto] = []
    if is_large(model, limit):
        model, heavy = split(model, path.name + DATA_SUFFIX)
    for folder in (path.parent, *path.parent.parent.glob("[0-9]*")):
        sweep(folder, RECIPE_FILE)
    with ExitStack() as held, ExitStack() as undo:
        try:
            _make_folders(path.parent, undo)
            if recipe_text is not None:
                _claim(path.with_name(RECIPE_FILE), undo, held)
            card = _write_whole(path, model, heavy, card, recipe_text)
        except OSError as error:
            raise WriteError(f"{path} can not be written: {error.strerror}.{NOTHING}") from error
        undo.pop_all()
    return card


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file to a temporary one beside it, and rename that.

    Raises:
        WriteError: no space or no permission; nothing is left.
    """
    try:
        with ExitStack() as held, ExitStack() as undo:
            draft, _ = write_draft(path.parent, lambda file: file.write(content), undo, held)
            draft.replace(path)
            undo.pop_all()
    except OSError as error:
        raise WriteError(f"{path} can not be written: {error.strerror}") from error


def require_writable(path: Path) -> None:
    """Try whether a file can be made at a path, with the folders that it lacks; nothing of the trial is left.

    The folders are made in a hidden one, so that a service or another export never sees them.

    Raises:
        WriteError: it can not.
    """
    folder = path.absolute().parent
    existing = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    # Path.is_dir raises where a link leads into a locked folder.
    if not os.path.isdir(existing):  # noqa: PTH112
        what = "is a file, not a folder" if os.path.isfile(existing) else "is no folder"  # noqa: PTH113
        raise WriteError(f"{path} can not be written: {existing} {what}. {_ELSEWHERE}")
    try:
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=existing) as trial:
            tried = Path(trial) / folder.relative_to(existing)
            tried.mkdir(parents=True, exist_ok=True)
            (tried / path.name).touch()
    except OSError as error:
        raise WriteError(
            f"{path} can not be written in {existing}: {error.strerror}. {_ELSEWHERE}"
        ) from error


def next_version(folder: Path) -> Path:
    """Return the path of the next version in a model's folder: one that exists may be served and is never replaced.

    In a folder that can not be read it is the first.
    """
    taken: list[int] = []
    with suppress(OSError):
        taken = [int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal()]
    return folder / str(max(taken, default=0) + 1) / MODEL_FILE


def _make_folders(folder: Path, undo: ExitStack) -> None:
    """Make a folder with those above it; `undo` removes the ones that were made, if they are empty then."""
    if folder.is_dir():
        return
    _make_folders(folder.parent, undo)
    folder.mkdir(exist_ok=True)
    undo.callback(_remove_empty, folder)


def _claim(recipe: Path, undo: ExitStack, held: ExitStack) -> None:
    """Make a version this export's own by its recipe file, which is empty until the servable is written.

    Raises:
        WriteError: another export has made it.
    """
    try:
        claim(recipe, undo, held)
    except FileExistsError as error:
        raise WriteError(
            f"{recipe} exists: another export wrote this version. Start again"
        ) from error


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _write_whole(
    path: Path,
    model: onnx.ModelProto,
    heavy: list[onnx.TensorProto],
    card: Card,
    recipe_text: str | None,
) -> Card:
    _require_space(path, data_bytes(heavy) + sum(map(len, model_parts(model))))
    data_path = path.with_name(path.name + DATA_SUFFIX)
    renamed: list[tuple[Path, Path]] = []
    folder = path.parent
    with ExitStack() as held, ExitStack() as undo:
        if heavy:
            data, digest = write_draft(folder, lambda file: write_data(file, heavy), undo, held)
            certificate = card.certificate.model_copy(update={"data_sha256": digest})
            card = card.model_copy(update={"certificate": certificate})
            renamed.append((data, data_path))
        _sign(model, card)
        parts = model_parts(model)
        written, _ = write_draft(folder, lambda file: file.writelines(parts), undo, held)
        check_certificate(written, card, renamed[0][0] if heavy else data_path)
        if recipe_text is not None:
            text = recipe_text.encode("utf-8")
            recipe, _ = write_draft(folder, lambda file: file.write(text), undo, held)
            renamed.append((recipe, path.with_name(RECIPE_FILE)))
        for temporary, name in (*renamed, (written, path)):
            temporary.replace(name)
            undo.callback(name.unlink, missing_ok=True)
        undo.pop_all()
    return card


def _sign(model: onnx.ModelProto, card: Card) -> None:
    """Put the card into the model itself, since a copy would hold the weights a second time."""
    del model.metadata_props[:]
    model.metadata_props.append(
        StringStringEntryProto(key=CARD_KEY, value=card.model_dump_json(exclude_none=True))
    )


def _require_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise WriteError(
            f"{path}: {needed / 1e6:.2f} MB are needed, {free / 1e6:.2f} MB are free.{NOTHING}"
        )
