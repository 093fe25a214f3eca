"""An environment for each peer, made once: its newest release beside the ONNX Runtime, Pillow and NumPy of Foveal."""

import subprocess
import sys
from importlib.metadata import version

import onnxruntime

from benchmarks.contenders import Peer

INSTALL_SECONDS = 900
TOGETHER = ("pillow", "numpy")
"""Pinned to the versions here, so that a peer is not measured by another decoder."""


class InstallError(Exception):
    """A peer can not be installed; the message is the installer's."""


def ensure_environment(peer: Peer) -> str:
    """Make the peer's environment where it is missing or not the wanted one, and return the peer's version.

    Raises:
        InstallError: it can not be made.
    """
    wanted = [peer.package, *peer.extras, f"onnxruntime=={runtime_version()}"]
    wanted += [f"{name}=={version(name)}" for name in TOGETHER]
    folder = peer.python.parents[1]
    made = folder / "made-of.txt"
    if not made.exists() or made.read_text() != "\n".join(wanted):
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(peer.python), "-m", "pip", "install", "--quiet", *wanted)
        made.write_text("\n".join(wanted))
    ask = f"from importlib.metadata import version; print(version({peer.package!r}))"
    return _run(str(peer.python), "-c", ask).strip()


def runtime_version() -> str:
    """Return the version of the ONNX Runtime that Foveal uses, whichever its wheel is called."""
    found: str = onnxruntime.__version__
    return found


def _run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if done.returncode:
        raise InstallError((done.stderr or done.stdout).strip()[-400:])
    return done.stdout
