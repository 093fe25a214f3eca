"""The first convolution of a network, replaced as the weights of a file show that its owner replaced it."""

from collections.abc import Mapping

from torch import Tensor, nn

from exporter.errors import SourceError
from exporter.progress import Progress


def fit_first_layer(
    module: nn.Module, own: Mapping[str, Tensor], state: Mapping[str, Tensor], progress: Progress
) -> None:
    """Replace a network's first convolution by one with the file's number of channels, and with its bias.

    It is left as it is where the file has the same, another number of filters, or none under this name.

    Args:
        module: is changed.
        own: its weights.
        state: the file's weights under the same names.
        progress: gets a note of what was replaced.

    Raises:
        SourceError: the file's has another kernel, whose stride and padding no file holds.
    """
    name, first = first_convolution(module)
    weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
    if weight is None or weight.ndim != 4 or len(weight) != first.out_channels:
        return
    channels, has_bias = weight.shape[1], bias is not None
    kernel = tuple(weight.shape[2:])
    if kernel != first.kernel_size and own.keys() - {f"{name}.bias"} <= state.keys():
        raise SourceError(
            f"{name}.weight: in the file it is {tuple(weight.shape)}, in the network "
            f"{tuple(first.weight.shape)}. The file is of another variant of the network, or its first convolution was "
            "replaced by one of another kernel: a file does not hold its stride and padding. Do the same in a function "
            "of your own, python:module:function"
        )
    is_same = channels == first.in_channels and has_bias == (first.bias is not None)
    if is_same or kernel != first.kernel_size:
        return
    owner, _, own_name = name.rpartition(".")
    setattr(module.get_submodule(owner), own_name, _like(first, channels, has_bias=has_bias))
    changes = []
    if channels != first.in_channels:
        changes.append(
            "reads one channel, gray images" if channels == 1 else f"reads {channels} channels"
        )
    if has_bias != (first.bias is not None):
        changes.append("has a bias" if has_bias else "has no bias")
    progress.warn(f"{name} {' and '.join(changes)}, as the weights show: it was replaced")


def first_convolution(module: nn.Module) -> tuple[str, nn.Conv2d]:
    """Return the name of the convolution that a network's images reach first, and this."""
    return next(
        (name, part) for name, part in module.named_modules() if isinstance(part, nn.Conv2d)
    )


def _like(first: nn.Conv2d, channels: int, *, has_bias: bool) -> nn.Conv2d:
    return nn.Conv2d(
        channels,
        first.out_channels,
        kernel_size=first.kernel_size,  # type: ignore[arg-type]
        stride=first.stride,  # type: ignore[arg-type]
        padding=first.padding,  # type: ignore[arg-type]
        dilation=first.dilation,  # type: ignore[arg-type]
        bias=has_bias,
        padding_mode=first.padding_mode,
    )
