"""Virtual environments. One per peer: its newest release with the ONNX Runtime, Pillow and NumPy versions of Foveal."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import onnxruntime

from benchmarks.contenders import Peer

INSTALL_SECONDS = 900
TOGETHER = ("pillow", "numpy")
"""Pinned to the versions of this environment, so that all contenders use the same decoder."""


class InstallError(Exception):
    """A peer can not be installed; the message comes from the installer."""


def ensure_environment(peer: Peer) -> str:
    """Create the peer's environment if it is missing or outdated, and return the peer's version.

    Raises:
        InstallError: the installer fails.
    """
    wanted = [peer.package, *peer.extras, f"onnxruntime=={runtime_version()}"]
    wanted += [f"{name}=={version(name)}" for name in TOGETHER]
    ensure_packages(peer.python.parents[1], wanted)
    ask = f"from importlib.metadata import version; print(version({peer.package!r}))"
    return _run(str(peer.python), "-c", ask).strip()


def ensure_packages(folder: Path, wanted: Sequence[str]) -> Path:
    """Create an environment with these packages if it is missing or has others, and return its Python.

    Raises:
        InstallError: the installer fails.
    """
    python = folder / "bin" / "python"
    made = folder / "made-of.txt"
    if not made.exists() or made.read_text() != "\n".join(wanted):
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", *wanted)
        made.write_text("\n".join(wanted))
    return python


def runtime_version() -> str:
    """Return the version of the ONNX Runtime that Foveal uses, from whichever package it comes."""
    found: str = onnxruntime.__version__
    return found


def _run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if done.returncode:
        raise InstallError((done.stderr or done.stdout).strip()[-400:])
    return done.stdout
