"""What is known of a model's runs that did not end, whichever of its queues they came from."""

from service.runtime.back_off import BackOff
from service.runtime.turns import Turn


class StuckRuns:
    """The runs of one model that were given up. Its queue for answers and that for explanations share them.

    So a model that rests is not explained either, and runs of both together are too many.

    Attributes:
        out: the batches whose runs have not come back yet.
        back_off: when the model is run again.
    """

    def __init__(self) -> None:
        self.out: set[Turn] = set()
        self.back_off = BackOff()

    def begin_anew(self) -> None:
        """Let the model run at once, since it was loaded again; runs that are still out count on."""
        self.back_off = BackOff()
