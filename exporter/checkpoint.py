"""A file of weights → every state dict in it, read without running code."""

import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from exporter import inert_pickle
from exporter.errors import WeightsError
from exporter.file_kind import file_kind, require_weights
from exporter.pickled_arrays import read_npz
from exporter.state_dict import Found, find_states

_SHOWN = 5
_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
"""What PyTorch writes in front of its older form, a row of pickles."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state dicts in a file, the most likely one first; there is at least one."""

    path: Path
    states: tuple[Found, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of safetensors, torch.save, pickle.dump or numpy.savez, whatever its name ends in.

    Raises:
        WeightsError: it is something else, damaged, without weights, or could only be read by running code.
    """
    kind = require_weights(path)
    content = _READERS.get(kind.kind, _pickled)(path)
    states = find_states(content)
    if not states:
        raise WeightsError(
            f"--weights {path.name} holds no state dict (names and tensors){_instead(content)}. "
            "Save one: torch.save(model.state_dict(), FILE)"
        )
    return Checkpoint(path, tuple(states))


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"--weights {path.name} is no valid safetensors file: {error}. Download or save it again"
        ) from error


def _pickled(path: Path) -> object:
    try:
        return _loaded(path)
    except inert_pickle.RunsCodeError as error:
        raise WeightsError(
            f"--weights {path.name} is refused: {error}, and reading that runs code. "
            "Save the state dict alone: torch.save(model.state_dict(), FILE)"
        ) from error
    # A damaged pickle raises whatever its wrong bytes lead to.
    except Exception as error:
        if "persistent" in str(error):
            raise WeightsError(
                f"--weights {path.name} is a part of an unpacked file of torch.save, without its numbers. Give the "
                "file itself, as it was before it was unpacked"
            ) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"--weights {path.name} is truncated, damaged, or no file of torch.save or pickle.dump ({reason}). "
            "Download or save it again"
        ) from error


def _loaded(path: Path) -> object:
    """Load with torch's own reader of plain weights; what it does not know is read as inert values."""
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")
        if file_kind(path).kind == "pickle" and not _is_of_torch(path):
            return inert_pickle.load(file, encoding="latin1")
        # A file and not its path: of a path, PyTorch believes the ending `.safetensors`.
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            file.seek(0)
            return torch.load(
                file, map_location="cpu", weights_only=False, pickle_module=inert_pickle
            )


def _is_of_torch(path: Path) -> bool:
    """Return whether a pickle is torch.save's older form, which begins with a number of its own."""
    with path.open("rb") as file:
        return _MAGIC in file.read(32)


def _instead(content: object) -> str:
    if isinstance(content, dict) and content:
        names = ", ".join(str(name) for name in list(content)[:_SHOWN])
        return f"; it holds {names}"
    return f"; it holds a {type(content).__name__}"


_READERS: dict[str, Callable[[Path], object]] = {"safetensors": _safetensors, "npz": read_npz}
"""By the kind of file; all others are pickles."""
