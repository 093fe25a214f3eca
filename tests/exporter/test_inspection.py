"""The view of an ONNX file."""

from pathlib import Path

import onnx
import pytest
from rich.table import Table
from rich.text import Text

from exporter.errors import SourceError
from exporter.inspection import inspect_file
from tests.exporter.graphs import small_classifier
from tests.servables import write_servable


def cells(table: object) -> list[list[object]]:
    assert isinstance(table, Table)
    return [list(column.cells) for column in table.columns]


def test_a_servable_is_shown_with_card_inputs_outputs_and_cost(tmp_path: Path) -> None:
    card, ends, cost = inspect_file(write_servable(tmp_path))
    assert isinstance(card, Table)
    assert cells(ends)[:2] == [
        ["in", "out", "out", "out"],
        ["image", "logits", "probabilities", "features"],
    ]
    assert cells(ends)[3][0] == "(N, 8, 8, 3)"
    assert cells(cost)[0] == ["to the outputs"]


def test_a_file_without_a_card_is_shown_with_the_reason(tmp_path: Path) -> None:
    onnx.save(small_classifier(), tmp_path / "net.onnx")
    reason, _, cost = inspect_file(tmp_path / "net.onnx")
    assert isinstance(reason, Text)
    assert "carries no card" in reason.plain
    assert cells(cost)[3] == ["█" * 40]


@pytest.mark.parametrize(
    ("content", "message"), [(b"no network", "is text, which begins with"), (None, "No such")]
)
def test_what_is_no_onnx_file_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        list(inspect_file(path))


def test_a_folder_is_called_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="this is a folder, not a file"):
        list(inspect_file(tmp_path))
