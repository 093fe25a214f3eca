"""What follows a convolution: one cell followed through an activation and a pooling."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.graph.activations import Activation
from service.graph.opening import Pooling, PoolKind, Step
from service.heads.outputs import Outputs
from service.heads.rounding import finite


@with_config(ConfigDict(extra="forbid"))
class CellValue(TypedDict):
    """A number that was computed twice."""

    value: Annotated[float, Field(description="Multiplied out here, in double precision")]
    network: Annotated[float, Field(description="What the network computed in this place")]


@with_config(ConfigDict(extra="forbid"))
class ActivationFigures(CellValue):
    """An activation function and what it makes of the number before it."""

    step: Literal["activation"]
    name: Annotated[
        str,
        Field(
            description="`relu`, `clip`, `leaky_relu`, `elu`, `tanh`, `sigmoid`, `softplus`, `hard_sigmoid`, `silu` "
            "or `hard_swish`"
        ),
    ]
    parameters: dict[str, float]


@with_config(ConfigDict(extra="forbid"))
class PoolingFigures(CellValue):
    """A pooling, at the place whose window holds the cell. Pairs are down and across."""

    step: Literal["pooling"]
    name: PoolKind
    height: int
    width: int
    stride: list[int]
    row: Annotated[int, Field(description="Of the place in the pooled map")]
    column: Annotated[int, Field(description="The same")]
    first_row: Annotated[int, Field(description="Of the window in the map; negative in padding")]
    first_column: Annotated[int, Field(description="The same")]
    values: Annotated[
        list[list[float | None]],
        Field(description="What the network computed in the window; null in padding"),
    ]


StepFigures = Annotated[ActivationFigures | PoolingFigures, Field(discriminator="step")]


def follow_steps(
    steps: Sequence[Step], outputs: Outputs, tensor: str, cell: tuple[int, int, int], value: float
) -> list[ActivationFigures | PoolingFigures]:
    """Return what each step makes of a cell; a pooling that leaves the cell out ends the list.

    Args:
        steps: what follows the tensor.
        outputs: holds the tensor and that of each step, (C, h, w).
        tensor: where the cell is.
        cell: channel, row and column.
        value: the cell's number, multiplied out.
    """
    found: list[ActivationFigures | PoolingFigures] = []
    for step in steps:
        if isinstance(step, Activation):
            value = step.apply(value)
            found.append({
                "step": "activation",
                "name": step.name,
                "parameters": dict(step.parameters),
                "value": exact(value),
                "network": exact(outputs[step.tensor][cell]),
            })  # fmt: skip
        else:
            pooled = _pooled(step, outputs, tensor, cell)
            if pooled is None:
                break
            found.append(pooled)
            value, cell = pooled["value"], (cell[0], pooled["row"], pooled["column"])
        tensor = step.tensor
    return found


def _pooled(
    step: Pooling, outputs: Outputs, tensor: str, cell: tuple[int, int, int]
) -> PoolingFigures | None:
    channel, *at = cell
    before, after = finite(outputs[tensor][channel]), finite(outputs[step.tensor][channel])
    place = step.window.place_over(at, before.shape, after.shape)
    if place is None:
        return None
    rows, columns = step.window.taps(place, before.shape, after.shape)
    values = [
        [
            exact(before[row, column])
            if 0 <= row < before.shape[0] and 0 <= column < before.shape[1]
            else None
            for column in columns
        ]
        for row in rows
    ]
    known = [number for line in values for number in line if number is not None]
    size = len(rows) * len(columns) if step.counts_padding else len(known)
    value = max(known) if step.kind == "max" else float(np.sum(known)) / size
    return {
        "step": "pooling",
        "name": step.kind,
        "height": step.window.size[0],
        "width": step.window.size[1],
        "stride": list(step.window.stride),
        "row": place[0],
        "column": place[1],
        "first_row": rows.start,
        "first_column": columns.start,
        "values": values,
        "value": exact(value),
        "network": exact(after[place]),
    }


def exact(value: float) -> float:
    """Return a number with the figures of a float32, 0 where it is not finite: rounded numbers would not add up."""
    number = float(value)
    return float(f"{number:.9g}") if np.isfinite(number) else 0.0
