"""`make mutants`: change the core modules in one place at a time and count how many changes their tests notice."""

import argparse
import functools
import hashlib
import json
import os
import random
import resource
import sys
import tomllib
from collections import Counter
from pathlib import Path

from mutants.judge import Run, judge, preload
from mutants.operators import Mutant, mutants_of

RESULTS = Path(".cache/mutants.jsonl")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
_NAMED = ("module", "line", "before", "after")
CORE = Path(__file__).with_name("core.txt")


def main(arguments: list[str]) -> int:
    """Judge, report, and return 1 where too many survive."""
    options = _options(arguments)
    chosen = _sample(_judgeable(options.modules or list(core())), options.sample, options.seed)
    keys = {mutant: _key(mutant) for mutant in chosen}
    known = _judge_missing(keys, options.processes, options.seconds)
    return _report([(mutant, known[key]) for mutant, key in keys.items()], options.floor)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="their paths; default: the core modules")
    parser.add_argument("--sample", type=int, default=0, help="so many at random; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--floor", type=float, default=85, help="per cent that must be killed")
    parser.add_argument(
        "--seconds", type=int, default=10, help="of a processor, at least, for a run"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(arguments)


def _judgeable(modules: list[str]) -> list[Mutant]:
    """Return the mutants of all modules but those that are listed as equivalent to the original."""
    equivalent = {tuple(entry[part] for part in _NAMED) for entry in listed()}
    mutants: list[Mutant] = []
    for module in modules:
        if not Path(_tests(module)).exists():
            sys.exit(f"{module} has no test file {_tests(module)}.")
        mutants += mutants_of(module, Path(module).read_text())
    return [mutant for mutant in mutants if named(mutant) not in equivalent]


def listed() -> list[dict[str, str]]:
    """Return what `equivalent.toml` lists."""
    entries: list[dict[str, str]] = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    return entries


def named(mutant: Mutant) -> tuple[str, ...]:
    """Return what names a mutant in `equivalent.toml`: a line by its text, so that it may move."""
    lines = Path(mutant.module).read_text().splitlines()
    return mutant.module, lines[mutant.line - 1].strip(), mutant.before, mutant.after


def _sample(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    if not 0 < count < len(mutants):
        return mutants
    picked = random.Random(seed).sample(range(len(mutants)), count)
    return [mutants[place] for place in sorted(picked)]


@functools.cache
def core() -> dict[str, str]:
    """Return the core modules, each with its test file: the one beside it in `core.txt`, or its own."""
    rows = (line.split() for line in CORE.read_text().splitlines())
    return {module: named[0] if named else _own_tests(module) for module, *named in rows}


def _tests(module: str) -> str:
    return core().get(module) or _own_tests(module)


def _own_tests(module: str) -> str:
    """Return `tests/service/test_card.py` for `service/card.py`."""
    path = Path(module)
    return str("tests" / path.parent / f"test_{path.name}")


def _key(mutant: Mutant) -> str:
    """Name a verdict by what it depends on: it holds while the module and its test file stay the same."""
    digest = hashlib.sha256(repr(mutant).encode())
    for path in (mutant.module, _tests(mutant.module)):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _judge_missing(keys: dict[Mutant, str], processes: int, least_seconds: int) -> dict[str, str]:
    """Judge what no earlier run has judged. Each verdict is written at once, so that a run can be interrupted."""
    known: dict[str, str] = {}
    if RESULTS.exists():
        known = dict(json.loads(line) for line in RESULTS.read_text().splitlines())
    missing = [mutant for mutant, key in keys.items() if key not in known]
    RESULTS.parent.mkdir(exist_ok=True)
    seconds = {module: _seconds(module) for module in dict.fromkeys(m.module for m in missing)}
    runs = [Run(m, _tests(m.module), least_seconds + round(4 * seconds[m.module])) for m in missing]
    with RESULTS.open("a") as file:
        for number, (run, verdict) in enumerate(judge(runs, processes), 1):
            assert run.mutant is not None
            known[keys[run.mutant]] = verdict
            file.write(json.dumps([keys[run.mutant], verdict]) + "\n")
            file.flush()
            print(f"{number}/{len(runs)} {_line(run.mutant)}: {verdict}", flush=True)
    return known


def _seconds(module: str) -> float:
    """Return how many seconds of a processor a module's tests take while it is unchanged, without their imports.

    Those are made once, here, for all later runs.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ((_, verdict),) = judge([Run(None, _tests(module), 600)], 1)
    if verdict != "survived":
        sys.exit(f"{_tests(module)} fails with {module} unchanged. Run it with pytest.")
    all_in_all = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    preload()
    imports = resource.getrusage(resource.RUSAGE_SELF).ru_utime - begun
    return max(0.0, all_in_all - imports)


def _report(verdicts: list[tuple[Mutant, str]], floor: float) -> int:
    total: Counter[str] = Counter()
    for module in dict.fromkeys(mutant.module for mutant, _ in verdicts):
        counts = Counter(verdict for mutant, verdict in verdicts if mutant.module == module)
        total += counts
        print(f"{module}: {counts['killed']} of {counts['killed'] + counts['survived']} killed")
    for mutant, verdict in verdicts:
        if verdict == "survived":
            print(f"survived: {_line(mutant)}")
    counted = total["killed"] + total["survived"]
    share = 100 * total["killed"] / counted if counted else 100.0
    print(f"{total['killed']} of {counted} killed, {share:.0f} %; {total['invalid']} invalid")
    return int(share < floor)


def _line(mutant: Mutant) -> str:
    return f"{mutant.module}:{mutant.line}: {mutant.before} → {mutant.after}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
