"""The served files: those of the repository, and those that only the benchmark uses, each exported once.

The latter are a ResNet-50 with random weights, and networks with a variant in int8, made as users make them.
"""

import subprocess
import sys
from pathlib import Path

from benchmarks.contenders import CACHE, ROOT
from service.runtime.variants import variant_path

REPOSITORY = ROOT / "models"
EXTRA_REPOSITORY = CACHE / "models"
FAST_REPOSITORY = CACHE / "fast-models"
EXPORT_SECONDS = 3600

RECIPES = {
    "resnet50": """source = "torchvision:resnet50"
weights = "none"
task = "classify"
name = "resnet50"
title = "ResNet-50"
description = "Random weights: for timing only."
license = "BSD-3-Clause"
origin = "torchvision, untrained"
"""
}
WEIGHTS = "weights.pth"
FAST_RECIPES = {
    "resnet50": f"""source = "torchvision:resnet50"
weights = "{WEIGHTS}"
task = "classify"
name = "resnet50"
title = "ResNet-50"
description = "Random layers and a fitted last one: for timing only."
license = "BSD-3-Clause"
origin = "torchvision's network, python -m benchmarks.fitted_resnet"
variants = ["int8"]
"""
}


class ExportError(Exception):
    """The export of a network that only the benchmark uses failed."""


def repository_of(model: str, *, fast: bool = False) -> Path:
    """Return the folder that a model is served from; in fp32, a network of the repository is served from there."""
    if fast and model in FAST_RECIPES:
        return FAST_REPOSITORY
    return EXTRA_REPOSITORY if model in RECIPES else REPOSITORY


def ensure_model(model: str, *, fast: bool = False) -> Path:
    """Return the file of the newest version; export it first if it is missing and only the benchmark uses it.

    Args:
        model: its name.
        fast: whether a variant in int8 is needed too.

    Raises:
        ExportError: the export failed.
    """
    if fast:
        ensure_variant(model)
    folder = repository_of(model, fast=fast) / model
    if not fast and model in RECIPES and not _versions(folder):
        _export(folder, RECIPES[model])
    return _newest(folder)


def ensure_variant(model: str) -> Path:
    """Return the file of a network's variant in int8, in `FAST_REPOSITORY`; export both first if it is missing.

    Raises:
        ExportError: the export failed, or the variant was refused.
    """
    folder = FAST_REPOSITORY / model
    if not _versions(folder):
        if model in FAST_RECIPES:
            folder.mkdir(parents=True, exist_ok=True)
            _run(model, "benchmarks.fitted_resnet", str(folder / WEIGHTS))
            _export(folder, FAST_RECIPES[model])
        else:
            _export(folder, _with_variant((REPOSITORY / model / "recipe.toml").read_text()))
    found = variant_path(_newest(folder), "int8")
    if not found.exists():
        raise ExportError(f"{model}: int8 was refused by the export; remove {folder} to try again")
    return found


def _with_variant(recipe: str) -> str:
    return f'variants = ["int8"]\n{recipe}'


def _export(folder: Path, recipe: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "recipe.toml"
    file.write_text(recipe)
    _run(folder.name, "exporter.cli", str(file))


def _run(model: str, *command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=EXPORT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise ExportError(f"{model}: {(done.stderr or done.stdout).strip()[-400:]}")


def _newest(folder: Path) -> Path:
    versions = _versions(folder)
    if not versions:
        raise ExportError(f"{folder.name}: there is no servable in {folder}")
    return versions[-1]


def _versions(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("*/model.onnx") if path.parent.name.isdigit()]
    return sorted(found, key=lambda path: int(path.parent.name))
