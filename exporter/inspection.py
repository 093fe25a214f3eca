"""A view of a servable or of any ONNX file: its card, its inputs and outputs, and the cost of its parts."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import ValueInfoProto, helper
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from exporter.cost import count_activation_bytes, count_macs
from exporter.errors import SourceError
from exporter.file_kind import not_onnx
from exporter.loading import load_onnx
from exporter.report import in_units, show_card
from exporter.shapes import infer_shapes
from service.card import Card, CardError
from service.servable_file import check_certificate, read_card

BAR = 40


def inspect_file(path: Path) -> Iterator[RenderableType]:
    """Yield the tables that describe an ONNX file; for a file without a card, the reason in place of the card's table.

    Raises:
        SourceError: it is not an ONNX file.
    """
    if path.is_dir():
        raise SourceError(f"{path}: this is a folder, not a file. Give an ONNX file in it")
    try:
        model = load_onnx(path)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    except Exception as error:  # protobuf's DecodeError has no public home that is stable
        raise SourceError(not_onnx(path, str(error))) from error
    card: Card | None = None
    try:
        card = read_card(path)
        check_certificate(path, card)
        yield show_card(path, card)
    except CardError as error:
        yield Text(str(error), "yellow")
    yield _inputs_and_outputs(model)
    yield _cost_by_stage(model, card)


def _inputs_and_outputs(model: onnx.ModelProto) -> Table:
    table = Table("", "tensor", "type", "shape", title="Inputs and outputs", title_justify="left")
    for kind, values in (("in", model.graph.input), ("out", model.graph.output)):
        for value in values:
            table.add_row(kind, value.name, _type(value), _dims(value))
    return table


def _type(value: ValueInfoProto) -> str:
    return str(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _dims(value: ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return "(" + ", ".join(dim.dim_param or str(dim.dim_value) for dim in dims) + ")"


def _cost_by_stage(model: onnx.ModelProto, card: Card | None) -> Table:
    """Return a table of the cost up to each stage, the nodes in the order of the graph."""
    shapes = infer_shapes(model)
    ends = {stage.tensor: stage.name for stage in card.stages} if card else {}
    rows: list[tuple[str, int, int]] = []
    macs = written = 0
    for node in model.graph.node:
        macs += count_macs(node, shapes)
        written += count_activation_bytes(node, shapes)
        reached = next((ends[name] for name in node.output if name in ends), None)
        if reached:
            rows.append((f"to {reached}", macs, written))
            macs = written = 0
    rows.append(("to the outputs", macs, written))
    table = Table("", "MACs", "activations", "", title="Cost per image", title_justify="left")
    most = max(1, *(row[1] for row in rows))
    for name, row_macs, row_written in rows:
        bar = "█" * round(BAR * row_macs / most)
        table.add_row(name, in_units(row_macs), in_units(row_written, "B"), bar)
    return table
