"""What a file really is, by its first bytes: endings lie, and a download may be a web page."""

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exporter.errors import SourceError, WeightsError
from exporter.foreign_files import next_step
from exporter.weights_alone import weights_alone

Kind = Literal[
    "torch", "safetensors", "torchscript", "program", "onnx", "pickle", "npz", "text", "other", "broken", "unknown",
]  # fmt: skip
"""`text` is a text that is none of the others; `other` what is known and not read, and `broken` what is incomplete."""

_HEAD = 4096
_SAFETENSORS_HEADER = 100_000_000
"""The longest header that the safetensors library reads, in bytes."""

_FIRST_CLASS = 48
"""A pickle of an object has the module of its class within so many bytes."""

_FETCH = "Download it again; a link to a login or preview page gives no file"
_FROM_JOBLIB = (
    "Save its arrays in a file of numpy: numpy.savez(FILE, **joblib.load(NAME)), or the network with "
    "torch.save(model.state_dict(), FILE)"
)
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself",
        "Get the file with: git lfs install && git lfs pull",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes it",
        "Export the network to ONNX: onnx:FILE",
    ),
    (b"GGUF", "a GGUF file", "Give the weights as PyTorch or safetensors saved them"),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first"),
    (b"BZh", "a bzip2 archive", "Unpack it first"),
    (b"\xfd7zXZ\x00", "an xz archive", "Unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "Unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it first"),
    (b"Rar!", "a RAR archive", "Unpack it first"),
    (
        b"\x93NUMPY",
        "a single NumPy array",
        (
            "Save all of the weights by name: numpy.savez(FILE, **{name: value.numpy() for name, value in "
            "model.state_dict().items()})"
        ),
    ),
    (b"%PDF", "a PDF document", _FETCH),
    (b"\x89PNG", "a PNG image", "Give the file of the network"),
    (b"\xff\xd8\xff", "a JPEG image", "Give the file of the network"),
)
"""The first bytes of a file, what it is, and the next step."""

_NO_NETWORK = "It is not the file of a network; give that file, or the name of the network"
_TEXTS = {
    ".py": (
        "Python code",
        (
            "Give the callable in it that builds the network as the source, python:{module}:CALLABLE --code {folder}, "
            "and its weights with --weights FILE"
        ),
    ),
    ".ipynb": ("a notebook", "Save the network that it trains, and give that file"),
    ".csv": ("a table", _NO_NETWORK),
    ".tsv": ("a table", _NO_NETWORK),
    ".json": ("JSON", _NO_NETWORK),
    ".yaml": ("YAML", _NO_NETWORK),
    ".yml": ("YAML", _NO_NETWORK),
    ".txt": ("text", _NO_NETWORK),
    ".md": ("text", _NO_NETWORK),
}
"""What a text is, and the next step, by its ending."""

_FIRST_PICKLES = (b"(dp0\n", b"(lp0\n", b"ccollections\n", b"ccopy_reg\n", b"}q\x00", b"]q\x00")
"""How pickles of protocols 0 and 1 begin; those before 2 have no mark of their own."""

_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body", b"<script")

_FIRST_FIELDS = (b"\x08",)
"""An ONNX file begins with the field `ir_version`, or in rare cases is recognized by its ending."""


SAVED: dict[str, tuple[Kind, str]] = {
    "program": ("program", "a program of torch.export"),
    "torchscript": ("torchscript", "a TorchScript"),
}
"""What the file of a source must be, in words too, by the kind of source."""


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a file is: `what` for a sentence with "is", and the `advice` where it can not be read."""

    kind: Kind
    what: str = ""
    advice: str = ""

    @property
    def is_weights(self) -> bool:
        return self.kind in {"safetensors", "torch", "pickle", "npz"}

    @property
    def sentence(self) -> str:
        return f"is {self.what}. {self.advice}"


def file_kind(path: Path) -> FileKind:
    """Return what a file is by its first bytes, for a ZIP file by the names in it, and for safetensors by its header.

    Raises:
        OSError: the file can not be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return FileKind("broken", "empty", "Download or save it again")
    for signature, what, advice in _SIGNATURES:
        if head.startswith(signature):
            return FileKind("other", what, advice)
    if head.startswith(b"PK"):
        return _zip_kind(path)
    if (length := _header_length(head)) is not None:
        return _safetensors_kind(path, length, size)
    is_pickle = (head.startswith(b"\x80") and size > 1) or head.startswith(_FIRST_PICKLES)
    return _pickle_kind(head) if is_pickle else _other(path, head, size)


def require_weights(path: Path) -> FileKind:
    """Return what a file of weights is.

    Raises:
        WeightsError: it holds no weights that are read, or can not be read at all; the message says what it is.
    """
    try:
        kind = file_kind(path)
    except OSError as error:
        raise WeightsError(f"--weights {path.name} can not be read: {error.strerror}") from error
    if not kind.is_weights:
        step = next_step(path)
        why = f"can not be read. {step}" if step else kind.sentence
        raise WeightsError(f"--weights {path.name} {why}")
    return kind


def require_saved(path: Path, wanted: Kind, what: str) -> None:
    """Refuse a file that is known to be something else than a saved network; `what` names the wanted one.

    Raises:
        SourceError: it is something else, or can not be read at all.
    """
    try:
        found = file_kind(path)
    except OSError as error:
        raise SourceError(f"{path.name} can not be read: {error.strerror}") from error
    if found.kind == "torch" and wanted != "torch":
        raise SourceError(
            f"{path.name} is a file of torch.save, with weights and no code, not {what}. Build the network with "
            "python:package.module:callable --weights FILE, or save it as a program (torch.export.save)"
        )
    if found.kind not in {wanted, "unknown"} and found.what:
        raise SourceError(f"{path.name} is not {what}: it {found.sentence}")


def _pickle_kind(head: bytes) -> FileKind:
    if b"sklearn." in head[:_FIRST_CLASS]:
        return FileKind(
            "other",
            "a model of scikit-learn",
            "Foveal serves neural networks over images: give one of PyTorch or ONNX",
        )
    if b"joblib.numpy_pickle" in head:
        return FileKind("other", "a file of joblib, which no other reader takes", _FROM_JOBLIB)
    return FileKind("pickle")


def _other(path: Path, head: bytes, size: int) -> FileKind:
    if head[4:8] == b"TFL3":
        return FileKind("other", "a TensorFlow Lite file", "Export the network to ONNX: onnx:FILE")
    if head[257:262] == b"ustar":
        return FileKind("other", "a tar archive", "Unpack it first")
    if not head.strip(b"\x00"):
        return FileKind(
            "broken",
            f"{size} bytes that begin with zeros alone",
            "The download was cut off: repeat it",
        )
    if head.startswith(_FIRST_FIELDS) and len(head) > 1 and head[1] < 32:
        return FileKind("onnx", "an ONNX file", "Use it as a source: onnx:FILE")
    return _text_kind(path, head)


def _text_kind(path: Path, head: bytes) -> FileKind:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_PAGES):
        return FileKind("other", "a web page (HTML), not the file itself", _FETCH)
    try:
        text = head[: _HEAD - 4].decode("utf-8")
    except UnicodeDecodeError:
        return FileKind("unknown", "of no known format", "Is it complete, and the right one?")
    if not text.isprintable() and any(char < " " and char not in "\t\r\n\f\x1b" for char in text):
        return FileKind("unknown", "of no known format", "Is it complete, and the right one?")
    return _readable_kind(path, text)


def _readable_kind(path: Path, text: str) -> FileKind:
    """Return what a file is that begins with this text."""
    if '"weight_map"' in text:
        return FileKind(
            "other",
            "the index of a checkpoint in several files",
            "Save it as one file: safetensors.torch.save_file(model.state_dict(), FILE)",
        )
    if '"modelTopology"' in text:
        return FileKind(
            "other", "a network of TensorFlow.js", "Export the network that it was made of to ONNX"
        )
    if path.suffix.lower() in _TEXTS:
        what, advice = _TEXTS[path.suffix.lower()]
        return FileKind("text", what, advice.format(module=path.stem, folder=path.parent))
    line = text.strip().splitlines()[0][:60] if text.strip() else ""
    return FileKind("text", f"text, which begins with {line!r}", _FETCH)


def _header_length(head: bytes) -> int | None:
    """Return the length of a safetensors header in bytes, None where the file does not begin with one."""
    length = int.from_bytes(head[:8], "little")
    starts = head[8:9] == b"{" and 2 <= length <= _SAFETENSORS_HEADER
    return length if starts else None


def _safetensors_kind(path: Path, length: int, size: int) -> FileKind:
    if size < 8 + length:
        return FileKind("broken", "a truncated safetensors file", "Download or save it again")
    end = _safetensors_end(path)
    if end is not None and size < end:
        what = f"truncated: its header states {end} bytes, the file has {size}"
        return FileKind("broken", what, "Download or save it again")
    return FileKind("safetensors")


def _safetensors_end(path: Path) -> int | None:
    """Return the size in bytes that the header of a safetensors file states, None where it states none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, _SAFETENSORS_HEADER))
    try:
        entries = json.loads(header)
        ends = [
            entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    return 8 + length + max(ends, default=0)


def _zip_kind(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return FileKind(
            "broken",
            "truncated or damaged (a ZIP file without its end)",
            "Download or save it again",
        )
    return _archive_kind(names)


def _archive_kind(names: Iterable[str]) -> FileKind:
    inner = {name.partition("/")[2] or name for name in names}
    if "constants.pkl" in inner:
        return FileKind("torchscript", "a TorchScript", "Use it as a source: torchscript:FILE")
    if any("serialized_exported_program" in name or name.startswith("models/") for name in inner):
        return FileKind("program", "a program of torch.export", "Use it as a source: program:FILE")
    if "data.pkl" in inner:
        return FileKind("torch")
    if any(name.endswith((".weights.h5", "model.weights.h5")) for name in inner):
        return FileKind("other", "a Keras file", "Export the network to ONNX: onnx:FILE")
    if any(name.endswith(".npy") for name in inner):
        return FileKind("npz")
    return FileKind("other", "a ZIP archive without weights of PyTorch", "Unpack it first")


def not_onnx(path: Path, reason: str) -> str:
    """Return the message about a file that should be ONNX and can not be read as that: what it is, else the reason."""
    try:
        kind = file_kind(path)
    except OSError as error:
        return f"{path} can not be read: {error.strerror}"
    if kind.kind in {"text", "other", "broken", "torchscript", "program"}:
        return f"{path} {kind.sentence}"
    if kind.is_weights:
        return weights_alone(path, "ONNX network")
    return f"{path} is not an ONNX file, or damaged: {reason}. Download or export it again"


def no_file(path: Path) -> str:
    """Return why a path is no file that can be read, and read again."""
    if path.is_dir():
        return "this is a folder, not a file"
    if path.exists():
        return "this is a pipe or a device, as a shell's <( ) is, not a file: write what it gives into a file first"
    return f"there is no file {path}"
