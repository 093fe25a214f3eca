"""The tables that an export shows."""

from pathlib import Path

from exporter.outcome import Measured
from exporter.report import show_card, show_precisions
from service.card import read_card
from tests.servables import write_servable


def test_the_card_s_table_has_file_task_cost_and_proof(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    table = show_card(path, read_card(path))
    rows = dict(zip(*(list(column.cells) for column in table.columns), strict=True))
    assert rows["task"] == "classify, 3 labels"
    assert str(rows["file"]).startswith(str(path))
    assert rows["agreement"] == "top1 100.00% on 1 images"
    assert rows["largest difference"] == "0.0e+00 at batches 1"


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
