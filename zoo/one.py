"""`python -m zoo.one KEY FOLDER`: exports one network of the list and prints one line of JSON."""

import json
import sys
import traceback
from pathlib import Path
from time import process_time
from typing import Any

from exporter.errors import ExportError
from exporter.export import export
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
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
    except Exception:  # noqa: BLE001 - a framework's own failure is a result of its own
        return {"status": "not built", "words": traceback.format_exc().splitlines()[-1]}
    begun = process_time()
    try:
        recipe = make_recipe({**fields, "proof": PROOF, "folder": folder})
        done = export(recipe, folder / "1" / "model.onnx", SilentProgress())
    except ExportError as error:
        return {
            "status": "refused",
            "cpu_seconds": process_time() - begun,
            "words": str(error).replace(str(folder), "."),
        }
    except Exception:  # noqa: BLE001 - a traceback is the worst result, and the table shows it
        traceback.print_exc()  # not into the results, which are committed: it names folders of this machine
        return {
            "status": "traceback",
            "cpu_seconds": process_time() - begun,
            "words": traceback.format_exc().splitlines()[-1].replace(str(folder), "."),
        }
    proof = done.card.certificate
    return {
        "status": "exported",
        "cpu_seconds": process_time() - begun,
        "difference": proof.max_difference,
        "agreement": proof.agreement,
        "megabytes": done.path.stat().st_size / 1e6,
        "parameters": done.card.cost.parameters,
    }


if __name__ == "__main__":
    result = measure(sys.argv[1], Path(sys.argv[2]))
    print("RESULT", json.dumps(result))
