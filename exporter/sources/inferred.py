"""Arguments of a network that the shapes of its weights show: classes, channels, input size."""

from collections.abc import Mapping
from math import isqrt

from torch import Tensor, nn

from exporter.checkpoint import Checkpoint
from exporter.weights import Adapt, choose_state

_POSITIONS = ("pos_embed", "pos_embedding", "position_embeddings")
"""The ends of the names under which vision transformers keep one vector for each patch."""


def inferred_classes(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], classes: int
) -> int | None:
    """Return the number of classes that a file was trained for, None where its shapes do not show it.

    The layers that differ must differ in their number of outputs alone, and all by the same factor: a detector has
    several outputs for each class.

    Args:
        own: the weights of a network with `classes` classes.
        state: the file's weights under the same names.
        classes: at least 1.
    """
    counts: set[int] = set()
    for name, (ours, theirs) in _differences(own, state).items():
        if _differ_in(ours, theirs, 0):
            count, rest = divmod(theirs[0] * classes, ours[0])
            if rest or count < 1:
                return None
            counts.add(count)
        elif not name.endswith(_POSITIONS) and not _differ_in(ours, theirs, 1):
            return None
    return counts.pop() if len(counts) == 1 else None


def inferred_channels(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> int | None:
    """Return the number of channels that the file's first layer reads, where it is not the network's."""
    for ours, theirs in _differences(own, state).values():
        if len(ours) == 4 and _differ_in(ours, theirs, 1):
            return theirs[1]
    return None


def inferred_side(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], side: int, patch: int
) -> int | None:
    """Return the input size, in pixels, of a vision transformer's file, where it is not the network's.

    Args:
        own: the weights of a network for square images of `side` pixels and patches of `patch` pixels.
        state: the file's weights under the same names.
        side: in pixels.
        patch: in pixels.
    """
    for name, (ours, theirs) in _differences(own, state).items():
        if name.endswith(_POSITIONS) and len(ours) == 3 and _differ_in(ours, theirs, 1):
            others = ours[1] - (side // patch) ** 2
            cells = theirs[1] - others
            if cells > 0 and isqrt(cells) ** 2 == cells:
                return isqrt(cells) * patch
    return None


def has_positions(module: nn.Module) -> bool:
    """Return whether a network has a vector for each patch, so that its weights fit one input size alone."""
    return any(name.endswith(_POSITIONS) for name in module.state_dict())


def weights_of(
    module: nn.Module, checkpoint: Checkpoint, adapt: Adapt | None = None
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """Return a network's weights, and a file's under the same names."""
    return module.state_dict(), choose_state(module, checkpoint, adapt)[1]


def _differences(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    return {
        name: (tuple(value.shape), tuple(state[name].shape))
        for name, value in own.items()
        if name in state and value.shape != state[name].shape
    }


def _differ_in(ours: tuple[int, ...], theirs: tuple[int, ...], axis: int) -> bool:
    return (
        len(ours) == len(theirs) > axis
        and ours[:axis] == theirs[:axis]
        and ours[axis + 1 :] == theirs[axis + 1 :]
    )
