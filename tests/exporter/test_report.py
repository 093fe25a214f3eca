"""The tables that an export shows."""

from pathlib import Path

import pytest

from exporter.outcome import Measured
from exporter.report import in_units, show_card, show_precisions
from service.servable_file import read_card
from tests.servables import write_servable


def test_the_card_s_table_has_file_task_cost_and_proof(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    table = show_card(path, read_card(path))
    rows = dict(zip(*(list(column.cells) for column in table.columns), strict=True))
    assert rows["task"] == "classify, 3 labels"
    assert str(rows["file"]).startswith(str(path))
    assert rows["agreement"] == "top1 100.00% on 1 image"
    assert rows["largest difference"] == "0.0e+00 at batches 1"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "", "0"),
        (7, "B", "7 B"),
        (61_706, "", "61.7 k"),
        (350_123, "B", "350 kB"),
        (999_400, "", "999 k"),
        (999_600, "", "1 M"),
        (19_800_000_000, "", "19.8 G"),
        (7_234_000_000_000, "", "7234 G"),
    ],
)
def test_a_count_has_three_digits_and_its_unit(value: float, unit: str, text: str) -> None:
    assert in_units(value, unit) == text


def test_the_table_of_precisions_has_a_row_for_each() -> None:
    milliseconds = {1: 2.0, 8: 9.0}
    table = show_precisions(
        [
            Measured("fp32", 4.0, milliseconds, 1.0),
            Measured("int8", 1.0, milliseconds, 0.995, in_float=3, written=True),
        ]
    )
    assert list(table.columns[0].cells) == ["fp32", "int8"]
    assert list(table.columns[-2].cells) == ["", "3"]
    assert list(table.columns[-1].cells) == ["", "written"]
