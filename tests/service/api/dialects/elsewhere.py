"""Runs a program under the Python of another environment, which has a client that this one has not."""

import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.live import Live


def lines_of(
    variable: str, program: str, live: Live, folder: Path, picture: Image.Image
) -> list[str]:
    """Return what a program prints under the Python that a variable names; it gets the address and an image."""
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no Python that has the client")
    picture.save(folder / "image.png")
    own = {"QT_QPA_PLATFORM": "offscreen", "YOLO_AUTOINSTALL": "false"}
    environment = {**os.environ, **own, "HOME": str(folder), "YOLO_CONFIG_DIR": str(folder)}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, "-c", program, live.url, str(folder / "image.png")],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()
