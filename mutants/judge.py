"""Mutants → verdicts: each runs its module's own tests in a forked process, and no file is changed."""

import importlib
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import perf_counter
from typing import Literal

import hypothesis
import pytest

from mutants.operators import Mutant, mutated

Verdict = Literal["killed", "survived", "invalid"]
"""`invalid`: the changed module can not even be imported, so no test had to notice it."""

_INVALID = 77
IMPORTS = Path(".cache/mutants-imports.txt")
"""The names of the modules that the last run of unchanged code had loaded, our own left out."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a test file with one mutant, or with the code unchanged where `mutant` is None.

    `cpu_seconds` bounds the time on a processor, so that a loaded machine changes no verdict. A run that waits and
    computes nothing is ended by pytest-timeout, else after ten times as long.
    """

    mutant: Mutant | None
    tests: str
    cpu_seconds: int


def preload() -> None:
    """Import what the last run of unchanged code has imported and is not ours, once for all runs that are forked."""
    for name in IMPORTS.read_text().split():
        with suppress(Exception):
            importlib.import_module(name)


def judge(runs: Iterable[Run], processes: int) -> Iterator[tuple[Run, Verdict]]:
    """Yield each run's verdict as it comes, a few runs at a time. What exceeds its time counts as killed."""
    waiting = iter(runs)
    started: dict[BaseProcess, tuple[Run, float]] = {}
    while True:
        while len(started) < processes and (run := next(waiting, None)) is not None:
            started[_start(run)] = (run, perf_counter() + 10 * run.cpu_seconds)
        if not started:
            return
        first_deadline = min(deadline for _, deadline in started.values())
        ended = wait([p.sentinel for p in started], max(0.0, first_deadline - perf_counter()))
        for process, (run, deadline) in list(started.items()):
            if process.sentinel in ended or perf_counter() >= deadline:
                del started[process]
                yield run, _end(process)


def _start(run: Run) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=_child, args=(run,))
    process.start()
    return process


def _end(process: BaseProcess) -> Verdict:
    assert process.pid is not None
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # before `join`, which frees the id for others
    process.kill()
    process.join()
    verdicts: dict[int | None, Verdict] = {0: "survived", _INVALID: "invalid"}
    return verdicts.get(process.exitcode, "killed")


def _child(run: Run) -> None:
    os.setpgrp()
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CPU, (run.cpu_seconds, run.cpu_seconds))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile(
        "mutants", database=None, deadline=None, derandomize=True, phases=phases
    )
    hypothesis.settings.load_profile("mutants")
    if run.mutant is not None:
        _install(run.mutant)
    preloaded = "ignore::pytest.PytestAssertRewriteWarning"
    code = pytest.main([run.tests, "-x", "-p", "no:cacheprovider", "-W", preloaded])
    if run.mutant is None:
        IMPORTS.write_text("\n".join(name for name in sys.modules if not _is_ours(name)))
    os._exit(code)  # threads that a failed test has left must not keep the process


def _is_ours(module: str) -> bool:
    return Path(module.split(".", maxsplit=1)[0]).is_dir()


def _install(mutant: Mutant) -> None:
    """Import the changed code in place of the module's file."""
    path = Path(mutant.module)
    package, name = ".".join(path.parent.parts), path.stem
    spec = spec_from_file_location(f"{package}.{name}", path)
    assert spec is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    setattr(importlib.import_module(package), name, module)
    code = compile(mutated(path.read_text(), mutant.number), str(path), "exec")
    try:
        exec(code, module.__dict__)  # noqa: S102  # our own code
    except BaseException:  # noqa: BLE001  # whatever it is: the module can not be imported
        os._exit(_INVALID)
