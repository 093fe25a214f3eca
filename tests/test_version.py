"""The version is stated once, in pyproject.toml; both commands print it."""

import subprocess
import sys
from importlib.metadata import version

import pytest


@pytest.mark.parametrize(
    ("module", "command"), [("service.cli", "foveal"), ("exporter.cli", "foveal-export")]
)
def test_the_command_prints_the_version_of_the_package(module: str, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout == f"{command} {version('foveal')}\n"
