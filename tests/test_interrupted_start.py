"""Ctrl+C while a command is still being loaded ends it without a traceback."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PROGRAM = """
import os, runpy, signal, sys

_, module, package, *words = sys.argv

class Interrupting:
    def find_spec(self, name, *rest):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background
sys.meta_path.insert(0, Interrupting())
sys.argv[1:] = words
runpy.run_module(package, run_name="__main__")
"""
"""Runs a package as `python -m` does, and gets a Ctrl+C when a module of the given name is imported first."""


def run(module: str, package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, module, package, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=50,
    )


@pytest.mark.parametrize("package", ["exporter", "service"])
@pytest.mark.parametrize("module", ["typer", "rich.console"])
def test_ctrl_c_during_the_imports_ends_a_command_without_a_word(package: str, module: str) -> None:
    done = run(module, package, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(
    ("package", "command"), [("exporter", "foveal-export"), ("service", "foveal")]
)
def test_an_installed_command_begins_where_its_package_does(package: str, command: str) -> None:
    done = run("nothing.of.this.name", package, "--version")
    assert done.stdout.startswith(f"{command} ")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts[command] == f"{package}.__main__:main"
