"""`python -m benchmarks.bulk`: `foveal predict` beside the machine's limit, by turns, as a ratio in one run.

The ratio of the rates needs a machine without other work. That of the CPU seconds per image holds on a shared one too.
"""

import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.images import IMAGES
from benchmarks.usage import Tree
from service.runtime.host import granted_threads

_RATE = re.compile(rb"([0-9.]+) images/s\.")
MODELS = Path("models")
FEW = 16
"""Images whose run shows what the start costs."""


class Limit:
    """`benchmarks.limit` as a process, with the processes that it starts."""

    def __init__(self, model: str, image: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.limit"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tree = Tree(self._process.pid)
        work = {
            "model": str(MODELS / model / "1" / "model.onnx"),
            "images": [str(image)],
            "device": "cpu",
            "precision": "fp32",
            "cores": granted_threads(),
        }
        self.layout = self._ask({**work, "sizes": [1, 2, 4, 8], "alone": False})["ready"]

    def measure(self, seconds: float) -> tuple[float, float]:
        """Return images per second, and CPU seconds per image."""
        before = self._tree.cpu_seconds()
        answer = self._ask({"seconds": seconds})
        return answer["images_per_second"], (self._tree.cpu_seconds() - before) / answer["images"]

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def predict(model: str, image: Path, count: int) -> tuple[float, float]:
    """Return images per second, from the first image to the last row, and the CPU seconds of the whole command."""
    before = _children_seconds()
    with tempfile.TemporaryDirectory() as folder:
        links = Path(folder, "images")
        links.mkdir()
        for index in range(count):
            (links / f"{index:07}{image.suffix}").hardlink_to(image)
        out = Path(folder, "results.jsonl")
        command = [sys.executable, "-m", "service.cli", "predict", str(links), "--task", "classify"]
        run = subprocess.run(
            [*command, "--model", model, "--models", str(MODELS), "--out", str(out)],
            capture_output=True,
            check=True,
        )
        assert out.read_bytes().count(b"\n") == count
    found = _RATE.search(run.stderr)
    assert found is not None, run.stderr
    return float(found[1]), _children_seconds() - before


def _children_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main(
    model: str = "efficientnet-lite0",
    image: Annotated[str, typer.Option(help=", ".join(IMAGES))] = "640×480 JPEG",
    seconds: float = 8.0,
    rounds: int = 5,
) -> None:
    """Measure both by turns, and print the ratios of each round and their medians."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"image.{'jpg' if 'JPEG' in image else 'png'}")
        file.write_bytes(IMAGES[image]())
        limit = Limit(model, file)
        print(f"{model}, {image}; the limit runs {limit.layout}")
        count = round(limit.measure(seconds / 4)[0] * seconds)
        rates, costs = [], []
        for _ in range(rounds):
            before, least = limit.measure(seconds / 2)
            mine, spent = predict(model, file, count)
            _, start = predict(model, file, FEW)
            after, _ = limit.measure(seconds / 2)
            cost = (spent - start) / (count - FEW)
            rates.append(mine / statistics.mean((before, after)))
            costs.append(cost / least)
            print(
                f"limit {before:.1f} and {after:.1f} images/s, predict {mine:.1f}: {rates[-1]:.3f}; CPU per image "
                f"{least * 1e3:.2f} and {cost * 1e3:.2f} ms: {costs[-1]:.3f}"
            )
        limit.close()
        print(
            f"median of {rounds} rounds: {statistics.median(rates):.3f} of the limit's rate, "
            f"{statistics.median(costs):.3f} of its CPU time"
        )


if __name__ == "__main__":
    typer.run(main)
