"""The served files: those of the repository, and a ResNet-50 with random weights that is exported once."""

import subprocess
import sys
from pathlib import Path

from benchmarks.contenders import CACHE, ROOT

REPOSITORY = ROOT / "models"
EXTRA_REPOSITORY = CACHE / "models"
EXPORT_SECONDS = 900

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


class ExportError(Exception):
    """The export of a network that only the benchmark uses failed."""


def repository_of(model: str) -> Path:
    return EXTRA_REPOSITORY if model in RECIPES else REPOSITORY


def ensure_model(model: str) -> Path:
    """Return the file of the newest version; export it first if it is missing and only the benchmark uses it.

    Raises:
        ExportError: the export failed.
    """
    folder = repository_of(model) / model
    if model in RECIPES and not _versions(folder):
        folder.mkdir(parents=True, exist_ok=True)
        recipe = folder / "recipe.toml"
        recipe.write_text(RECIPES[model])
        done = subprocess.run(
            [sys.executable, "-m", "exporter.cli", str(recipe)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=EXPORT_SECONDS,
            check=False,
        )
        if done.returncode:
            raise ExportError(f"{model}: {(done.stderr or done.stdout).strip()[-400:]}")
    versions = _versions(folder)
    if not versions:
        raise ExportError(f"{model}: there is no servable in {folder}")
    return versions[-1]


def _versions(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("*/model.onnx") if path.parent.name.isdigit()]
    return sorted(found, key=lambda path: int(path.parent.name))
