"""Known answers that a URL names → files of this machine, which everything else reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import quote, unquote

from service.bulk.item import reason_of
from service.bulk.remote import Places, RemotePath
from service.errors import ConfigurationError, FovealError, LabelsError
from service.labeled.folders import MASKS
from service.labeled.table import mask_names
from service.storage.begun import begun
from service.storage.file_system import CHUNK_BYTES
from service.storage.url import is_url, is_web, parse_source

FILES = frozenset({".json", ".csv", ".tsv", ".txt"})
"""Extensions of labels that are a file; any other URL is a folder."""
MOST_BYTES = 4 << 30
"""Of all known answers together: they are fetched whole."""
MOST_MASK_BYTES = 64 << 20
SIDE_BY_SIDE = 16


@contextmanager
def room_for(labels: str | None) -> Iterator[Path]:
    """Give an empty folder for known answers that a URL names; it is gone after the block.

    Raises:
        ConfigurationError: it can not be made.
    """
    if labels is None or not is_url(labels):
        yield Path()  # nothing is fetched
        return
    try:
        room = TemporaryDirectory(prefix="foveal-labels-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ConfigurationError(
            f"--labels {labels}: there is no folder for temporary files: {reason_of(error)}. Name one by TMPDIR."
        ) from error
    with room as folder:
        yield Path(folder)


def fetch_labels(
    url: str, task: str, folder: Path, places: Places, *, most_bytes: int = MOST_BYTES
) -> Path:
    """Fetch known answers, and return the file or folder to give to `read_labels`.

    Args:
        url: annotations in COCO's form, a table, a folder that holds the annotations, or a folder of masks.
        task: `classify`, `detect` or `segment`.
        folder: empty, on this machine; what is fetched lies in it as long as it is needed.
        places: opens the files.
        most_bytes: see `MOST_BYTES`.

    Raises:
        LabelsError: they are not there, too large, or not for this task.
        ConfigurationError: it is no URL, or the folder can not be written.
        StorageError: the place does not answer, or refuses.
    """
    try:
        return _Fetching(task, folder, places, most_bytes).fetched(url)
    except OSError as error:
        raise ConfigurationError(
            f"--labels {url}: {folder} can not be written: {reason_of(error)}. Make room, or name another folder for "
            "temporary files by TMPDIR."
        ) from error


class _Fetching:
    def __init__(self, task: str, folder: Path, places: Places, most_bytes: int) -> None:
        self._task = task
        self._folder = folder
        self._places = places
        self._left = self._most_bytes = most_bytes

    def fetched(self, url: str) -> Path:
        name = parse_source(url).path.rpartition("/")[2]
        if not url.endswith("/") and PurePosixPath(name).suffix.lower() in FILES:
            path = self._folder / name
            self._file(self._places.listed(url), path)
            if self._task == "segment":
                self._masks_of_table(url.rpartition("/")[0], path)
            return path
        inside = self._folder / name
        if self._task == "detect":
            return self._annotations(url, inside)
        if self._task == "segment":
            return self._masks(url, inside)
        raise LabelsError(
            f"--labels {url}: give a CSV with the columns file and label, or leave it out where the images lie in a "
            "folder for each class"
        )

    def _annotations(self, url: str, inside: Path) -> Path:
        found = [file for file, name in self._children(url) if name.lower().endswith(".json")]
        if len(found) != 1:
            which = ", ".join(file.name for file in found) or "none"
            raise LabelsError(
                f"--labels {url}: task detect needs annotations in COCO's form; of JSON files the folder has {which}. "
                "Give the file itself"
            )
        self._file(found[0], inside / found[0].name)
        return inside / found[0].name

    def _masks(self, url: str, inside: Path) -> Path:
        """Fetch `masks/NAME.png` of a folder, or those in it."""
        masks = [(file, name) for file, name in self._children(url) if name.endswith(".png")]
        deeper = [(file, name) for file, name in masks if name.startswith(f"{MASKS}/")]
        if not masks:
            raise LabelsError(f"--labels {url}: there is no mask, a PNG of class indices, in it")
        name_of = _name_here if is_web(url) else str
        self._side_by_side((file, inside / name_of(name)) for file, name in deeper or masks)
        return inside

    def _children(self, url: str) -> Iterator[tuple[RemotePath, str]]:
        """Yield the files in a folder and in its `masks`, and their names in it."""
        head = f"{parse_source(url)}/"
        for file, _ in self._places.named(head):
            name = str(file).removeprefix(head)
            if "/" not in name.removeprefix(f"{MASKS}/"):
                yield file, name

    def _masks_of_table(self, head: str, table: Path) -> None:
        def found() -> Iterator[tuple[RemotePath, Path]]:
            for name in mask_names(table):
                path = PurePosixPath(name)
                if path.is_absolute() or is_url(name) or ".." in path.parts:
                    raise LabelsError(
                        f"{table.name}: the mask {name} must lie in the folder of the table, or below it"
                    )
                url = f"{head}/{quote(name) if is_web(head) else name}"
                yield self._places.listed(url), table.parent / path

        self._side_by_side(found())

    def _side_by_side(self, masks: Iterator[tuple[RemotePath, Path]]) -> None:
        while some := list(islice(masks, SIDE_BY_SIDE)):
            coming = [
                begun(partial(file.place.body, file.path, file.size, MOST_MASK_BYTES))
                for file, _ in some
            ]
            for (file, path), one in zip(some, coming, strict=True):
                body = one.result()
                if isinstance(body, FovealError):
                    raise LabelsError(f"{file}: {body}")
                self._count(file, len(body))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)

    def _file(self, file: RemotePath, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            source = file.open()
        except FileNotFoundError as error:
            raise LabelsError(f"--labels {file}: there is no such file") from error
        with source, path.open("wb") as copy:
            while block := source.read(CHUNK_BYTES):
                self._count(file, len(block))
                copy.write(block)

    def _count(self, file: RemotePath, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise LabelsError(
                f"--labels {file}: the known answers have more than {self._most_bytes} bytes. Copy them to this "
                "machine, and name the copy"
            )


def _name_here(name: str) -> str:
    """Return the name of a mask as a folder has it; web servers write a blank as `%20`."""
    head, slash, file = name.rpartition("/")
    plain = unquote(file)
    return head + slash + (plain if plain.isprintable() and "/" not in plain else file)
