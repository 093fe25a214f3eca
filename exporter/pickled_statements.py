"""What a checkpoint states beside its weights, such as the name of the network, read from its pickle's opcodes."""

import pickletools
import zipfile
import zlib
from collections.abc import Collection
from io import BytesIO
from pathlib import Path

MOST_BYTES = 2**20
"""How much of a file is read; the tensors of a torch.save lie behind it or in other files."""

MOST_PICKLES = 5
"""PyTorch's older form is a row of pickles: three short ones, then the content."""

_LONGEST = 80
"""Longer texts are no names."""

UNREADABLE = (
    *(OSError, EOFError, ValueError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
)
"""What reading a damaged file raises."""

_MEMO = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "FRAME"}
"""Steps of a pickle that are no values."""

_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2"}


def pickle_of(path: Path) -> BytesIO:
    """Return the start of the pickle in a file."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return BytesIO(file.read(MOST_BYTES))
    with zipfile.ZipFile(path) as archive:
        name = next((one for one in archive.namelist() if one.endswith("data.pkl")), None)
        if name is None:
            return BytesIO()
        with archive.open(name) as file:
            return BytesIO(file.read(MOST_BYTES))


def stated_in(path: Path, keys: Collection[str]) -> dict[str, str | int]:
    """Return the short texts and whole numbers that follow these keys in a file's pickle, the first of each key.

    They may be in any dictionary or object of the file, such as `args` or `hyper_parameters`.
    """
    stated: dict[str, str | int] = {}
    try:
        pickled = pickle_of(path)
        for _ in range(MOST_PICKLES):
            _add_stated(pickled, keys, stated)
    except UNREADABLE:  # the end of what was read, or no pickle
        pass
    return stated


def _is_short(text: str) -> bool:
    return len(text) <= _LONGEST and text.isprintable()


def _add_stated(pickled: BytesIO, keys: Collection[str], stated: dict[str, str | int]) -> None:
    key = None
    for code, value, _ in pickletools.genops(pickled):
        if code.name in _MEMO:
            continue
        text = value if isinstance(value, str) and code.name in _TEXTS else None
        found = value if type(value) is int and code.name in _NUMBERS else text
        if key is not None and found is not None:
            if text is None or _is_short(text):
                stated.setdefault(key, found)
            key = None
        else:
            key = text if text in keys else None
