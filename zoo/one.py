"""`python -m zoo.one KEY FOLDER`: exports one network of the list and prints one line of JSON."""

import json
import sys
import traceback
from pathlib import Path
from time import process_time
from typing import Any

from exporter.errors import ExportError, ShortageError
from exporter.export import export
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
from exporter.shortage import shortage
from zoo.networks import networks
from zoo.random_weights import recipe_of

PROOF = {"limit": 4, "largest": 4, "agreement": 0.0}
"""Scores of untrained networks nearly tie, so that the last digit decides: the difference is judged, at the default
tolerance, and the agreement is not."""


def measure(key: str, folder: Path) -> dict[str, Any]:
    """Return what the export of a listed network results in: numbers, or the words of its refusal.

    `cpu_seconds` are those of all cores together; on a shared machine they hardly depend on the others.
    """
    listed = next(one for one in networks() if one.key == key)
    try:
        fields = recipe_of(listed, folder)
    except Exception as error:  # noqa: BLE001 - a framework's own failure is a result of its own
        return failure(error, folder, otherwise="not built")
    begun = process_time()
    try:
        recipe = make_recipe({**fields, "proof": PROOF, "folder": folder})
        done = export(recipe, folder / "1" / "model.onnx", SilentProgress())
    except Exception as error:  # noqa: BLE001 - a traceback is the worst result, and the table shows it
        result = failure(error, folder, otherwise="traceback")
        return {**result, "cpu_seconds": process_time() - begun}
    proof = done.card.certificate
    return {
        "status": "exported",
        "cpu_seconds": process_time() - begun,
        "difference": proof.max_difference,
        "agreement": proof.agreement,
        "megabytes": done.path.stat().st_size / 1e6,
        "parameters": done.card.cost.parameters,
    }


def failure(error: Exception, folder: Path, *, otherwise: str) -> dict[str, str]:
    """Return status and words of an error.

    Memory or disk space that ran out says something of the machine and its limits, and nothing of the network.

    Args:
        error: of an export, or of what builds the network.
        folder: is not named in the words, which are committed.
        otherwise: the status of an error that is neither a refusal nor a shortage.
    """
    ran_out = str(error) if isinstance(error, ShortageError) else shortage(error)
    if ran_out is not None:
        return {"status": "shortage", "words": ran_out.replace(str(folder), ".")}
    if isinstance(error, ExportError):
        return {"status": "refused", "words": str(error).replace(str(folder), ".")}
    traceback.print_exception(error)  # not into the results: it names folders of this machine
    last = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    return {"status": otherwise, "words": last.replace(str(folder), ".")}


if __name__ == "__main__":
    result = measure(sys.argv[1], Path(sys.argv[2]))
    print("RESULT", json.dumps(result))
