"""`make zoo`: exports every listed network that has no result yet, each in a process of its own, and writes the table.

A result is one line of `zoo/results.jsonl`. The command can be stopped at any time; it goes on where it stopped.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, time
from typing import Any

from zoo.networks import Listed, networks
from zoo.table import write_table

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
GIB = 2**30
PACKAGES = (
    *("torch", "torchvision", "timm", "transformers", "segmentation_models_pytorch"),
    *("ultralytics", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu"),
)
PATIENCE = 4
"""A network gets this many times its CPU time by the clock: other work may share the machine."""


def main() -> None:
    """Read the options, measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m zoo", description=__doc__)
    parser.add_argument("names", nargs="*", help="families, tasks, or names; all without any")
    parser.add_argument("--again", action="store_true", help="also what was not exported before")
    parser.add_argument(
        "--all", action="store_true", help="also what was exported before: the exporter has changed"
    )
    parser.add_argument("--seconds", type=float, default=900, help="the CPU time of one network")
    parser.add_argument("--gib", type=float, default=8, help="the memory of one network")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="write the table and measure nothing")
    options = parser.parse_args()
    known = read_results(options.results)
    chosen = wanted(options.names, known, again=options.again, exported=options.all)
    if options.table:
        chosen = []
    if chosen:
        _note_run(options.results)
    for index, listed in enumerate(chosen):
        print(f"{index + 1}/{len(chosen)} {listed.key}", end=" ", flush=True)
        result = {"key": listed.key, "task": listed.task, **_measured(listed, options)}
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        print(
            result["status"], f"{result.get('cpu_seconds', 0):.0f} s", result.get("words", "")[:200]
        )
    write_table(read_results(options.results), read_runs(options.results))


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last result of each network, by its key."""
    return {line["key"]: line for line in _lines(path) if "key" in line}


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Return on what processors and with what versions the results were measured."""
    return [line["run"] for line in _lines(path) if "run" in line]


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _note_run(path: Path) -> None:
    """Write the processor and the versions down where they are not those of the run before."""
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    this = {"processor": _processor(), "cores": os.cpu_count(), "versions": versions}
    if this not in read_runs(path)[-1:]:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": this}) + "\n")


def _processor() -> str:
    """Return the processor's name, as Linux knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def wanted(
    names: Sequence[str], results: Mapping[str, dict[str, Any]], *, again: bool, exported: bool
) -> list[Listed]:
    """Return the networks to measure.

    Args:
        names: families, tasks, names or keys; all networks where there are none.
        results: those that are known, by key.
        again: whether those that were refused are measured again.
        exported: whether all are, also those that went through.
    """
    named = set(names)
    return [
        one
        for one in networks()
        if (not named or named & {one.family, one.task, one.name, one.key})
        and (exported or _is_missing(results.get(one.key), again=again))
    ]


def _is_missing(result: dict[str, Any] | None, *, again: bool) -> bool:
    """Return whether a network is to be measured; an export whose CPU time was not measured counts as missing."""
    if result is None:
        return True
    return "cpu_seconds" not in result if result["status"] == "exported" else again


def _measured(listed: Listed, options: argparse.Namespace) -> dict[str, Any]:
    """Run `zoo.one` within the bounds and return its result."""
    begun = perf_counter()
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        command = [sys.executable, "-m", "zoo.one", listed.key, folder]
        try:
            done = subprocess.run(  # noqa: S603 - our own module
                command,
                capture_output=True,
                text=True,
                timeout=PATIENCE * options.seconds,
                check=False,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(HERE.parent), "YOLO_OFFLINE": "1"},
                preexec_fn=lambda: _bound(options.gib, options.seconds),
            )
        except subprocess.TimeoutExpired:
            return {"status": "too slow", "words": f"more than {PATIENCE * options.seconds:.0f} s"}
    measured = {"total_seconds": perf_counter() - begun, "date": int(time())}
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return {**json.loads(line.removeprefix("RESULT ")), **measured}
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return {
        "status": "crashed",
        "words": f"exit {done.returncode}, at most {options.gib:g} GiB: {last}",
        **measured,
    }


def _bound(gib: float, seconds: float) -> None:
    """Bound the private memory and the CPU time of this process, so that a large network does not take the machine."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 10))
    limit = int(gib * GIB)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
