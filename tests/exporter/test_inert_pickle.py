"""A checkpoint is never run: what it calls is inert or refused."""

import argparse
import builtins
import datetime
import enum
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exporter import inert_pickle
from exporter.checkpoint import read_checkpoint
from exporter.errors import WeightsError
from exporter.weights import load_weights
from tests.exporter.checkpoints import Norms, Runs, norms, save_pickle

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, about formats of files


def touch(path: Path) -> None:
    """Leave a mark: code of this test, as an attacker's package would have."""
    path.write_text("code ran")


def calls(mark: Path) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Return, by name, calls that would leave a mark if they were made."""
    command = f"{sys.executable} -c \"open({str(mark)!r}, 'w')\""
    return {
        "os.system": (os.system, (command,)),
        "eval": (builtins.eval, (f"open({str(mark)!r}, 'w')",)),
        "exec": (builtins.exec, (f"open({str(mark)!r}, 'w')",)),
        "open": (builtins.open, (str(mark), "w")),
        "subprocess": (subprocess.Popen, (["touch", str(mark)],)),
        "shutil": (shutil.copy, (sys.executable, str(mark))),
        "import": (builtins.__import__, ("antigravity",)),
        "getattr": (builtins.getattr, (os, "system")),
        "a package's own": (touch, (mark,)),
        "mkdir of a path": (Path.mkdir, (mark,)),
    }


NAMES = tuple(calls(Path("mark")))
FORMS: dict[str, Callable[[Any, Path], None]] = {
    "zip": torch.save,
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "protocol 4": lambda content, path: torch.save(content, path, pickle_protocol=4),
    "bare pickle": lambda content, path: save_pickle(content, path, 2),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_a_call_in_a_checkpoint_is_never_made(name: str, form: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    state = norms(3.0).state_dict()
    evil: Any = Runs(calls(mark)[name]) if name != "getattr" else Runs((os.getenv, ("HOME",)))
    FORMS[form]({"state_dict": state, "extra": evil}, tmp_path / "w.pt")

    module = norms(0.0)
    try:
        load_weights(module, tmp_path / "w.pt")
    except WeightsError as error:
        assert str(error).startswith("--weights w.pt is ")

    assert not mark.exists()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("name", ["os.system", "eval", "subprocess", "shutil", "open"])
def test_a_call_of_the_standard_library_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    torch.save(
        {"state_dict": norms(3.0).state_dict(), "extra": Runs(calls(tmp_path / "mark")[name])},
        tmp_path / "w.pt",
    )
    with pytest.raises(WeightsError, match=r"holds a call of [a-z_]+\.\w+, and reading that runs"):
        read_checkpoint(tmp_path / "w.pt")


def test_the_attacker_s_call_would_leave_a_mark_if_it_were_made(tmp_path: Path) -> None:
    torch.save({"extra": Runs((touch, (tmp_path / "mark",)))}, tmp_path / "w.pt")
    torch.load(tmp_path / "w.pt", weights_only=False)
    assert (tmp_path / "mark").exists()


class Printing(io.BytesIO):
    """A file in whose reading Python prints an error, as it does where a bytearray gets no memory."""

    error: BaseException = SystemError("deallocated bytearray object has exported buffers")

    def readline(self, size: int | None = -1) -> bytes:
        sys.excepthook(type(self.error), self.error, None)
        return super().readline(size)


def test_python_s_word_about_its_own_bytearrays_is_not_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = Printing(b"I3\n.")
    assert inert_pickle.load(file) == 3
    assert capsys.readouterr().err == ""

    file = Printing(b"I3\n.")
    file.error = ValueError("another one")
    assert inert_pickle.load(file) == 3
    assert "another one" in capsys.readouterr().err

    before = sys.excepthook
    for _ in range(20):  # what is printed depends on what lay in the memory
        with pytest.raises(MemoryError):
            inert_pickle.load(io.BytesIO(b"\x80\x05\x96" + (2**62).to_bytes(8, "little") + b"."))
    assert capsys.readouterr().err == ""
    assert sys.excepthook is before


class Kind(enum.Enum):
    BEST = "best"


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_what_describes_a_training_is_harmless_beside_weights(
    protocol: int, tmp_path: Path
) -> None:
    content = {
        "state_dict": dict(norms(3.0).state_dict()),
        "args": argparse.Namespace(lr=0.1, out=Path("runs"), when=datetime.date(2024, 2, 3)),
        "kind": Kind.BEST,
        "accuracy": np.float64(0.9),
        "history": np.arange(3),
        "classes": {"cat", "dog"},
        "dtype": torch.float16,
    }
    torch.save(content, tmp_path / "w.pt", pickle_protocol=protocol)
    module: Norms = norms(0.0)
    load_weights(module, tmp_path / "w.pt")
    assert module.fc.bias.tolist() == [3.0] * 3
