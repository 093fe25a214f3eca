"""The labels of a network from the files in which tools keep them.

| file | what is read |
|---|---|
| text | one label per line, with or without its class id or WordNet id; a label map of TensorFlow |
| .csv, .tsv | a column of labels, with or without their class ids and a heading |
| .json | a list; class id → label; label → class id; Keras's class index; a config with `id2label`; COCO's categories |
| .yaml | `names` of a data.yaml |
| a checkpoint | `class_to_idx` and its like beside the weights |
| .onnx | `names` and its like in the metadata |
"""

import ast
import codecs
import csv
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from exporter.errors import RecipeError
from exporter.file_kind import file_kind
from exporter.label_lines import labels_in_lines, labels_in_rows
from exporter.label_map import is_label_map, labels_in_map
from exporter.label_tables import HOLDERS, holder_of, labels_in
from exporter.metadata_labels import labels_in_metadata

LARGEST = 16 * 2**20
"""A file of labels has at most this many bytes; a checkpoint or a network may be larger."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_ENDS = re.compile(r"\r\n|\r|\n")
_YAML = re.compile(r"\s*names:\s*(\[|\n)")


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the labels in a file, in the order of the class ids.

    Raises:
        RecipeError: the file can not be read, or holds no labels whose order is clear; the message names it.
    """
    try:
        _refuse_stand_in(path)
        labels = _reader(path)(path)
    except OSError as error:
        raise RecipeError(f"labels: {path}: {error.strerror or error}") from error
    if not any(labels):
        raise RecipeError(f"labels: {path.name} holds no label")
    return labels


def _reader(path: Path) -> Callable[[Path], tuple[str, ...]]:
    """Return the reader for a file's ending; checkpoints have many endings, and are known by their content."""
    read = _READERS.get(path.suffix.lower())
    if read is None:
        read = _in_checkpoint if file_kind(path).is_weights else _in_text
    return read


def refuse_written_out(value: str) -> None:
    """Refuse labels that are written out where a file is meant.

    Raises:
        RecipeError: the value is a list with commas.
    """
    if "," in value:
        raise RecipeError(
            f"labels {value!r}: this is no file. Write one label per line into a text file: --labels FILE"
        )


def repeated_labels(labels: Sequence[str]) -> dict[str, list[int]]:
    """Return the labels that several classes have, with the class ids; ImageNet has two cranes."""
    found: dict[str, list[int]] = {}
    for class_id, label in enumerate(labels):
        if label:
            found.setdefault(label, []).append(class_id)
    return {label: ids for label, ids in found.items() if len(ids) > 1}


def _text(path: Path) -> str:
    size = path.stat().st_size
    if size > LARGEST:
        raise RecipeError(
            f"labels: {path.name} has {size / 2**20:.0f} MiB, labels have at most 16. Is it the right file?"
        )
    _refuse_foreign(path)
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in content[:64]:
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"labels: {path.name} is neither UTF-8 nor UTF-16: byte {error.start} does not fit. Save it as UTF-8"
        ) from error
    if "\0" in text:
        raise RecipeError(f"labels: {path.name} is no text: it contains zero bytes")
    return text


def _refuse_stand_in(path: Path) -> None:
    """Refuse a page or the pointer to a large file, which is not the file itself."""
    kind = file_kind(path)
    if "not the file itself" in kind.what:
        raise RecipeError(f"labels: {path.name} {kind.sentence}")


def _refuse_foreign(path: Path) -> None:
    """Refuse what is no text."""
    kind = file_kind(path)
    if kind.kind in {"text", "unknown"} or path.stat().st_size == 0:
        return
    what = kind.what or "a file of weights"
    raise RecipeError(
        f"labels: {path.name} is {what}. Give a text file with one label per line, JSON or a data.yaml"
    )


def _in_text(path: Path) -> tuple[str, ...]:
    text = _text(path)
    if text.lstrip().startswith(("{", "['", '["')):
        return labels_in(_literal(text, path), path.name)
    if is_label_map(text):
        return labels_in_map(text, path.name)
    if _YAML.match(text):
        return _in_yaml(path)
    lines = [line.strip() for line in _LINE_ENDS.split(text.rstrip())]
    if lines == [""]:
        return ()
    if "" in lines:
        at = lines.index("")
        raise RecipeError(
            f"labels: line {at + 1} of {path.name} is empty. Remove it, or write the label of class {at} there"
        )
    return labels_in_lines(lines, path.name)


def _literal(text: str, path: Path) -> object:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise RecipeError(
            f"labels: {path.name} begins with a bracket and is neither a list of labels nor class id → label"
        ) from error


def _in_json(path: Path) -> tuple[str, ...]:
    text = _text(path)
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except _RepeatedKeyError as error:
        raise RecipeError(f"labels: {path.name} has the key {error} twice") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"labels: {path.name} is not valid JSON: {error}") from error
    return _first_synonyms(content, labels_in(content, path.name))


def _first_synonyms(content: object, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first of the synonyms that an object of class id → "tench, Tinca tinca" has."""
    by_id = isinstance(content, dict) and all(isinstance(value, str) for value in content.values())
    return tuple(label.split(",")[0].strip() for label in labels) if by_id else labels


class _RepeatedKeyError(Exception):
    pass


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _RepeatedKeyError(repr(key))
        content[key] = value
    return content


def _in_yaml(path: Path) -> tuple[str, ...]:
    try:
        import yaml  # noqa: PLC0415 - it comes with timm; other commands do not need it
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"labels: {path.name} needs PyYAML. In a clone, `make export` installs it."
        ) from error
    try:
        # BaseLoader reads every value as text: no, off and 1.0 are labels.
        content = yaml.load(_text(path), Loader=yaml.BaseLoader)  # noqa: S506 - it makes text alone
    except (yaml.YAMLError, RecursionError) as error:
        first = " ".join(str(error).split())
        raise RecipeError(f"labels: {path.name} is not valid YAML: {first}") from error
    return labels_in(content, path.name)


def _in_csv(path: Path) -> tuple[str, ...]:
    lines = [line for line in _LINE_ENDS.split(_text(path)) if line.strip()]
    tables = ([*csv.reader(lines, delimiter=mark)] for mark in ("\t", ";", ","))
    rows = max(tables, key=_columns)
    if all(len(row) == 1 for row in rows):
        return tuple(row[0].strip() for row in rows)
    return labels_in_rows(rows, path.name)


def _columns(rows: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Return the least and the largest number of cells of a row."""
    lengths = [len(row) for row in rows]
    return min(lengths, default=0), max(lengths, default=0)


def _in_checkpoint(path: Path) -> tuple[str, ...]:
    content = checkpoint_labels(path)
    if content is None:
        raise RecipeError(
            f"labels: {path.name} holds none of {', '.join(HOLDERS)}. Give --labels FILE"
        )
    return content


def checkpoint_labels(path: Path) -> tuple[str, ...] | None:
    """Return the labels that a training script kept beside the weights, None where there are none.

    Nothing in the file is run: objects of other classes become inert values, whose attributes are looked at.

    Raises:
        RecipeError: their order is not clear, or two keys name the classes differently.
    """
    if file_kind(path).kind not in {"torch", "pickle"}:
        return None
    for part in _fields_of(_checkpoint(path)):
        held = {key: part[key] for key in HOLDERS if _names_classes(key, part.get(key))}
        if held:
            return _agreed(held, path.name)
    return None


def _names_classes(key: str, held: object) -> bool:
    """Return whether a value may name the classes; ids that repeat are those of training images."""
    if isinstance(held, (list, tuple)) and all(isinstance(one, int) for one in held):
        return 0 < len(held) == len(set(held))
    return holder_of({key: held}) is not None


def _agreed(held: Mapping[str, Any], file: str) -> tuple[str, ...]:
    """Return the labels that are kept under the first of several keys.

    Raises:
        RecipeError: under another key there are as many, in another order or with other words.
    """
    first, *others = held
    labels = labels_in({first: held[first]}, file)
    for key in others:
        other: tuple[str, ...] = ()
        with suppress(RecipeError):
            other = labels_in({key: held[key]}, file)
        if len(other) == len(labels) and other != labels:
            raise RecipeError(
                f"labels: {file} has {first} and {key} beside the weights, and they name the classes differently, or "
                "in another order. Give a text file with one label per line: --labels FILE"
            )
    return labels


def _checkpoint(path: Path) -> object:
    """Return what a file of torch.save holds, None where it can not be read: the weights' own reader says why."""
    # Both take seconds to load, and only a checkpoint needs them.
    import torch  # noqa: PLC0415

    from exporter import inert_pickle  # noqa: PLC0415

    mapped = zipfile.is_zipfile(path)  # the weights then stay on the disk
    plain: dict[str, Any] = {"weights_only": True}
    for how in (plain, {"weights_only": False, "pickle_module": inert_pickle}):
        try:
            return torch.load(path, map_location="cpu", mmap=mapped, **how)
        except Exception:  # noqa: BLE001, S112 - torch raises errors of many kinds
            continue
    with suppress(Exception), path.open("rb") as file:
        return inert_pickle.load(file, encoding="latin1")
    return None


_AROUND_LABELS = (
    *("hyper_parameters", "datamodule_hyper_parameters", "hparams", "args", "config", "cfg"),
    *("params", "model_args", "opt", "meta", "dataset_meta", "metadata", "extra"),
    *("model", "ema", "dataset", "data"),
)
"""Where a checkpoint, or an object in it, may hold the object that has the labels."""


def _fields_of(content: object) -> Iterator[Mapping[Any, Any]]:
    """Yield the entries, or the attributes, of a checkpoint and of the objects in it that may have the labels."""
    outer = _fields(content)
    yield outer
    inner = [_fields(outer[name]) for name in _AROUND_LABELS if name in outer]
    yield from inner
    for part in inner:
        yield from (_fields(part[name]) for name in _AROUND_LABELS if name in part)


def _fields(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else getattr(value, "__dict__", {})


def _in_onnx(path: Path) -> tuple[str, ...]:
    kind = file_kind(path)
    if kind.kind in {"other", "broken"}:
        raise RecipeError(f"labels: {path.name} {kind.sentence}")
    labels = labels_in_metadata(_onnx_metadata(path), path.name)
    if labels is None:
        raise RecipeError(f"labels: the metadata of {path.name} names no classes. Give a text file")
    return labels


def onnx_labels(path: Path) -> tuple[str, ...] | None:
    """Return the labels in the metadata of an ONNX file, None where there are none, or their order is not clear."""
    try:
        return labels_in_metadata(_onnx_metadata(path), path.name)
    except RecipeError:
        return None


def _onnx_metadata(path: Path) -> dict[str, str]:
    from exporter.onnx_header import onnx_header  # noqa: PLC0415 - other labels do not need onnx

    try:
        model = onnx_header(path)
    except Exception:  # noqa: BLE001 - protobuf's DecodeError has no public home that is stable
        return {}
    return {entry.key: entry.value for entry in model.metadata_props}


_READERS: dict[str, Callable[[Path], tuple[str, ...]]] = {
    ".json": _in_json,
    ".yaml": _in_yaml,
    ".yml": _in_yaml,
    ".csv": _in_csv,
    ".tsv": _in_csv,
    ".pt": _in_checkpoint,
    ".pth": _in_checkpoint,
    ".ckpt": _in_checkpoint,
    ".onnx": _in_onnx,
}
