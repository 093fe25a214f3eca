"""A window that slides over a map: the geometry of a convolution or a pooling along both axes."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from service.graph.wiring import attribute


@dataclass(frozen=True, slots=True)
class Window:
    """Size, stride, dilation and the padding before the first place, each (down, across).

    `same` is "SAME_UPPER" or "SAME_LOWER" where the padding follows from the sizes of the maps instead.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]
    same: str | None = None

    def taps(self, place: Sequence[int], inside: Sequence[int], made: Sequence[int]) -> list[range]:
        """Return the rows and the columns of the input that one place of the output reads.

        Args:
            place: row and column in the output.
            inside: height and width of the input; a tap outside of them reads padding.
            made: height and width of the output.
        """
        found = []
        for axis in (0, 1):
            step, gap, size = self.stride[axis], self.dilation[axis], self.size[axis]
            before = self.padding[axis]
            if self.same is not None:
                reach = (size - 1) * gap + 1
                total = max(0, (made[axis] - 1) * step + reach - inside[axis])
                before = total - total // 2 if self.same == "SAME_LOWER" else total // 2
            start = place[axis] * step - before
            found.append(range(start, start + size * gap, gap))
        return found

    def place_over(
        self, cell: Sequence[int], inside: Sequence[int], made: Sequence[int]
    ) -> tuple[int, int] | None:
        """Return the place of the output whose window holds a cell of the input; None where no window does."""
        rows, columns = self.taps((0, 0), inside, made)
        found = []
        for axis, taps in enumerate((rows, columns)):
            at = min(max(0, (cell[axis] - taps.start) // self.stride[axis]), made[axis] - 1)
            if (cell[axis] - at * self.stride[axis]) not in taps:
                return None
            found.append(at)
        return found[0], found[1]


def window_of(node: NodeProto, size: Sequence[int]) -> Window | None:
    """Return the window of a node with two spatial axes, None for any other number of axes.

    Args:
        node: `Conv`, `MaxPool` or `AveragePool`.
        size: height and width of the window.
    """
    if len(size) != 2:
        return None
    padding = attribute(node, "pads", (0, 0, 0, 0))
    how = attribute(node, "auto_pad", b"NOTSET").decode()
    return Window(
        size=_pair(size),
        stride=_pair(attribute(node, "strides", (1, 1))),
        dilation=_pair(attribute(node, "dilations", (1, 1))),
        padding=(0, 0) if how == "VALID" else _pair(padding[:2]),
        same=how if how.startswith("SAME") else None,
    )


def _pair(values: Sequence[int]) -> tuple[int, int]:
    down, across = values
    return int(down), int(across)
