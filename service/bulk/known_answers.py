"""Known answers inside tar shards and Parquet files, and those beside images that are no files here."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from service.bulk.image_names import ends_of, readings_of
from service.bulk.item import Item, SourceFile, name_of, reason_of
from service.bulk.shard import DAMAGED, Links, headers, is_shard, opened, parts_of
from service.bulk.sources import Sources
from service.bulk.table import arrow_source, is_table, require_pyarrow
from service.errors import LabelsError
from service.labeled.reading import read_beside
from service.labeled.table import LABEL_COLUMNS
from service.labeled.truth import LabeledImage, LabeledImages
from service.storage.url import is_url, is_web, parse_source

LABEL_MEMBERS = ("cls", "json", "txt")
"""Extensions of the members that label a sample, that which goes before first."""
LABEL_KEYS = ("cls", *LABEL_COLUMNS)
MOST_LABEL_BYTES = 1 << 20
READ_ROWS = 1000

Cells = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownAnswers:
    """Images of sources, each with what is true of it; None where that is not known.

    Attributes:
        labeled: all that is known, without the images.
        sources: of the images.
        by_name: what is known, by a name.
        names_of: the names that an image may have there; the first that is there counts.
        one_each: whether no two images have the same answer: a name that is the end of two says nothing of either.
    """

    labeled: LabeledImages
    sources: Sources
    by_name: Mapping[str, LabeledImage]
    names_of: Callable[[str], Iterable[str]]
    one_each: bool = False

    def pairs(self) -> Iterator[tuple[Item, LabeledImage | None]]:
        """Yield the images in their order, each with its answer.

        Raises:
            LabelsError: two images have the same answer, and each should have its own.
        """
        taken: dict[str, str] = {}
        for item in self.sources.images():
            names = (name for name in self.names_of(item.name) if name in self.by_name)
            name = next(iter(names), None)
            if name is None:
                yield item, None
                continue
            first = taken.setdefault(name, item.name) if self.one_each else item.name
            if first != item.name:
                raise LabelsError(
                    f"{self.labeled.name}: {name} may be {first} or {item.name}. Measure them one by one, or name the "
                    "images with their folders"
                )
            yield item, self.by_name[name]


def read_known_answers(
    sources: Sources, task: str, labels: Path | None, label_column: str | None
) -> KnownAnswers:
    """Read the known answers of all images of tar shards, Parquet files and places elsewhere, or those beside them.

    Args:
        sources: of the images.
        task: `classify`, whose labels the sources hold or a table; `detect`, whose boxes are in annotations; or
            `segment`, whose masks lie in a folder or a table names them.
        labels: the annotations in COCO's form, the table, or the folder of masks.
        label_column: of Parquet files; None: found.

    Raises:
        LabelsError: there are none, or they can not be read.
        ConfigurationError: a source is not there.
        StorageError: a place elsewhere does not answer, or refuses.
    """
    sources.check()
    if labels is not None:
        labeled = read_beside(labels, task)
        by_stem = task == "segment" and labels.is_dir()  # masks are named as their images
        return KnownAnswers(
            labeled,
            sources,
            {str(one.file): one for one in labeled.images},
            _stems if by_stem else ends_of,
            one_each=True,
        )
    if task == "detect":
        raise LabelsError(
            "Task detect on these sources needs annotations in COCO's form: --labels FILE"
        )
    if task != "classify":
        raise LabelsError(
            "Task segment on these sources needs masks: --labels FOLDER, with a PNG of class indices of the same name "
            "for each image, or a CSV with the columns file and mask"
        )
    cells: dict[str, Cells] = {}
    for path in sources.containers():
        cells |= _cells_of(path, label_column)
    if not cells:
        cells = _cells_of_folders(sources)
    if not cells:
        raise LabelsError(
            f"{', '.join(sources.names)}: there are no labels in it. A tar shard has 0001.cls, 0001.json or 0001.txt "
            f"beside 0001.jpg, and a Parquet file a column {', '.join(LABEL_COLUMNS[:3])} or that of --label-column. "
            "A folder elsewhere has a folder for each class. Or give --labels FILE, a CSV with columns file and label"
        )
    by_name = {name: LabeledImage(Path(name), one) for name, one in cells.items()}
    name = Path(sources.names[0]).name
    return KnownAnswers(
        LabeledImages(name, tuple(by_name.values())), sources, by_name, lambda name: (key_of(name),)
    )


def _stems(name: str) -> Iterator[str]:
    """Yield what the mask of an image may be named: all before the last dot, or the key of a sample."""
    for one in readings_of(name):
        file = one.rpartition("/")[2]
        yield from (Path(file).stem, parts_of(file)[0])


def _cells_of_folders(sources: Sources) -> dict[str, Cells]:
    """Return the labels of images elsewhere whose folders in the source are their classes."""
    found: dict[str, Cells] = {}
    for source in sources.names:
        if is_url(source):
            head = f"{parse_source(source)}/"
            for name in sources.files_of(source):
                label, slash, _ = name.removeprefix(head).partition("/")
                if slash and name.startswith(head):
                    found[key_of(name)] = (unquote(label) if is_web(name) else label,)
    return found


def key_of(name: str) -> str:
    """Return an image's name without its extension; a row of a table has none."""
    head, slash, file = name.rpartition("/")
    if is_table(Path(head)):
        return name
    return head + slash + parts_of(file)[0]


def _cells_of(path: SourceFile, label_column: str | None) -> dict[str, Cells]:
    if is_shard(path):
        return _cells_in_shard(path)
    return dict(_cells_in_table(path, label_column))


def _cells_in_shard(path: SourceFile) -> dict[str, Cells]:
    """Return the labels of a shard's samples; a damaged shard gives those before the damage, as it gives images."""
    shard = name_of(path)
    found: dict[str, tuple[int, Cells]] = {}
    try:
        with ExitStack() as stack:
            whole, links = opened(path, stack), Links(path, stack)
            for member in headers(whole):
                key, extension = parts_of(name_of(member.name).removeprefix("./"))
                if extension not in LABEL_MEMBERS:
                    continue
                archive, content = links.target(member) if member.islnk() else (whole, member)
                if not content.isreg():
                    continue
                if content.size > MOST_LABEL_BYTES:
                    raise LabelsError(
                        f"{shard}/{member.name} has {content.size} bytes: this is no label"
                    )
                file = archive.extractfile(content)
                assert file is not None  # a regular file
                with closing(file):
                    cells = _cells(file.read(), extension, f"{shard}/{member.name}")
                place, name = LABEL_MEMBERS.index(extension), f"{shard}/{key}"
                if cells is not None and name in found:
                    _require_same(name, (place, cells), found[name])
                if cells is not None and (name not in found or place < found[name][0]):
                    found[name] = place, cells
    except DAMAGED:
        pass
    except OSError as error:
        raise LabelsError(f"{shard} can not be read: {reason_of(error)}") from error
    return {name: cells for name, (_, cells) in found.items()}


def _require_same(name: str, label: tuple[int, Cells], before: tuple[int, Cells]) -> None:
    """Refuse a sample that a shard has twice, as after `tar --append`, where two members of a kind differ.

    Raises:
        LabelsError: they do.
    """
    if label[0] == before[0] and label[1] != before[1]:
        raise LabelsError(
            f"{name} has two labels, {'|'.join(before[1])} and {'|'.join(label[1])}: the shard has this sample twice. "
            "Write it anew with one"
        )


def _cells(content: bytes, extension: str, where: str) -> Cells | None:
    """Return what a member says; None where it is about something else."""
    try:
        text = content.decode("utf-8-sig").strip()
        return _values(json.loads(text), where) if extension == "json" else (text,)
    except ValueError as error:
        raise LabelsError(f"{where} can not be read as a label: {error}") from error


def _values(value: Any, where: str) -> Cells | None:  # noqa: ANN401  # JSON
    if isinstance(value, dict):
        key = next((one for one in LABEL_KEYS if one in value), None)
        return None if key is None else _values(value[key], where)
    if isinstance(value, list):
        return tuple(str(one) for one in value)
    if isinstance(value, str | int) and not isinstance(value, bool):
        return (str(value).strip(),)
    raise LabelsError(f"{where}: {value!r} is no label. It is a name, an index or a list of them")


def _cells_in_table(path: SourceFile, label_column: str | None) -> Iterator[tuple[str, Cells]]:
    require_pyarrow(str(path))
    import pyarrow as pa  # noqa: PLC0415  # an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = name_of(path)
    try:
        with arrow_source(path) as source, pq.ParquetFile(source) as file:
            names = file.schema_arrow.names
            column = _label_column(table, names, label_column)
            classes = _class_names(file.schema_arrow.metadata or {}, column)
            row = 0
            for batch in file.iter_batches(READ_ROWS, columns=[column]):
                for value in batch.column(0).to_pylist():
                    if value is not None:
                        cells = _values(value, f"{table}/{row}") or ()
                        yield f"{table}/{row}", tuple(classes.get(one, one) for one in cells)
                    row += 1
    except OSError as error:
        raise LabelsError(f"{table} can not be read: {reason_of(error)}") from error
    except pa.ArrowException as error:
        raise LabelsError(f"{table} is damaged: {str(error).partition(chr(10))[0]}") from error


def _label_column(table: str, names: list[str], wanted: str | None) -> str:
    column = wanted or next((one for one in LABEL_COLUMNS if one in names), None)
    if column is None or column not in names:
        raise LabelsError(
            f"{table}: there is no column {wanted or 'of labels'} among {', '.join(names)}. Name it by --label-column"
        )
    return column


def _class_names(metadata: Mapping[bytes, bytes], column: str) -> dict[str, str]:
    """Return the names of a column's classes by index, as Hugging Face writes them beside a Parquet file's schema."""
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        while "names" not in feature:  # of lists: [{…}], or {"feature": {…}}
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        return {str(index): str(name) for index, name in enumerate(feature["names"])}
    except (KeyError, IndexError, TypeError, ValueError):
        return {}
