"""What the runs of a proof show besides agreement: the decisions of a network, and candidates that are cut off."""

from collections.abc import Sequence

from exporter.cut_candidates import CutOff
from exporter.decisions import Decisions
from exporter.network import Head, Outputs
from service.card import CutCandidates


class Witness:
    """Sees the outputs of the graph and of its source for each image of a proof.

    Args:
        head: that the outputs come from.
        labels: of its classes.
    """

    def __init__(self, head: Head, labels: Sequence[str]) -> None:
        self._decisions = Decisions(head, labels)
        self._cut_off = CutOff(head)

    def see(self, found: Outputs, expected: Outputs) -> None:
        """Add what the graph and the source give for one image, each a batch of one."""
        self._decisions.add(found)
        self._cut_off.add(found, expected)

    @property
    def cut(self) -> CutCandidates | None:
        """What the card says of candidates that were cut off; None where none was."""
        return self._cut_off.cut

    def hints(self) -> list[str]:
        return [*self._decisions.hints(), *self._cut_off.hints()]
