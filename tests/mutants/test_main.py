"""The whole tool on a package of one module, in a process of its own as `make mutants` starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mutants.__main__ import core, listed, named
from mutants.operators import mutants_of

ROOT = Path(__file__).parents[2]
MODULE = """
def larger(a, b):
    return a if a > b else b

def wait(count):
    while count:
        count -= 1
"""
TEST = """
from pack.module import larger, wait

def test_larger():
    assert larger(3, 2) == 3

def test_wait():
    wait(2)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in {
        "pack/__init__.py": "",
        "pack/module.py": MODULE,
        "tests/pack/test_module.py": TEST,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def mutants(package: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mutants", "pack/module.py", "--seconds", "1", *options]
    environment = {**os.environ, "PYTHONPATH": f"{package}:{ROOT}"}
    return subprocess.run(
        command, cwd=package, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_the_tests_do_not_notice_is_named_and_an_endless_loop_is_noticed(
    package: Path,
) -> None:
    first = mutants(package)
    assert first.returncode == 1, "under 85 %"
    assert "survived: pack/module.py:3: a > b → a >= b" in first.stdout
    assert "pack/module.py:3: a > b → a <= b: killed" in first.stdout
    assert "pack/module.py:7: count -= 1 → count += 1: killed" in first.stdout
    assert (package / "pack" / "module.py").read_text() == MODULE
    assert "1/" in first.stdout
    again = mutants(package, "--floor", "50")
    assert again.returncode == 0
    assert "1/" not in again.stdout, "every verdict is known already"


@pytest.mark.timeout(120)
def test_tests_that_fail_anyway_judge_nothing(package: Path) -> None:
    (package / "tests" / "pack" / "test_module.py").write_text("def test_it():\n    assert False\n")
    result = mutants(package)
    assert result.returncode == 1
    assert "fails with pack/module.py unchanged" in result.stderr


def test_every_core_module_has_tests_and_every_equivalent_mutant_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert [path for pair in core().items() for path in pair if not Path(path).is_file()] == []
    made = {named(one) for path in core() for one in mutants_of(path, Path(path).read_text())}
    for entry in listed():
        assert (entry["module"], entry["line"], entry["before"], entry["after"]) in made
        assert entry["reason"]
