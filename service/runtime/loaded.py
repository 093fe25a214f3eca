"""A network that is ready to run."""

from dataclasses import dataclass, field

from service.runtime.choice import Choice
from service.runtime.job import Run, Tensor
from service.runtime.signature import Signature


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network ready to run.

    Attributes:
        runs: one for each batch that may run at once.
        largest: images in a batch at most.
        blank: one input of zeros without the batch axis.
        wide: runs a single image on all cores; None where that would not be faster.
        cores: how many cores each of `runs` occupies.
        signature: what the network takes and gives.
        choice: how its precision and provider were chosen; None where nothing was to be chosen.
        identity: which graph runs, in which precision and on which device.
        checked: whether it has answered a blank image already, on one thread and beside the requests for others.
        began: when its loading began, in seconds of the workers' clock; `Opener.open` sets it.
    """

    runs: tuple[Run, ...]
    largest: int
    blank: Tensor
    wide: Run | None = None
    cores: int = 1
    signature: Signature = field(default_factory=Signature)
    choice: Choice | None = None
    identity: str = ""
    checked: bool = False
    began: float = 0.0
