"""What became of one network, in the status and the words that the table shows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from exporter.errors import RecipeError, ShortageError
from zoo.one import failure

HUGE = 2**58
"""Bytes that no machine has."""


def raised(error: Exception) -> Exception:
    """Return an error with its traceback."""
    try:
        raise error
    except Exception as found:  # noqa: BLE001 - any error is what a network may give
        return found


def of_memory(library: str) -> Exception:
    try:
        if library == "numpy":
            np.zeros(HUGE, np.uint8)
        else:
            torch.zeros(HUGE, dtype=torch.uint8)
    except (MemoryError, RuntimeError) as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("otherwise", ["traceback", "not built"])
def test_memory_that_runs_out_is_no_fault_of_the_exporter(
    library: str, otherwise: str, tmp_path: Path
) -> None:
    found = failure(of_memory(library), tmp_path, otherwise=otherwise)

    assert found["status"] == "shortage"
    assert found["words"].startswith("The export ran out of memory: 268435456.00 GiB more")


def test_a_shortage_that_the_export_names_keeps_its_words(tmp_path: Path) -> None:
    error = raised(ShortageError(f"There is no space on the disk for files in {tmp_path}"))

    found = failure(error, tmp_path, otherwise="traceback")

    assert found == {"status": "shortage", "words": "There is no space on the disk for files in ."}


def test_refusals_and_faults_are_told_apart(tmp_path: Path) -> None:
    refused = failure(raised(RecipeError("Give --labels")), tmp_path, otherwise="traceback")
    fault = failure(raised(KeyError(f"{tmp_path}/x")), tmp_path, otherwise="traceback")
    empty = failure(raised(ValueError("odd\n\n")), tmp_path, otherwise="not built")

    assert refused == {"status": "refused", "words": "Give --labels"}
    assert fault == {"status": "traceback", "words": "KeyError: './x'"}
    assert empty == {"status": "not built", "words": "ValueError: odd"}
