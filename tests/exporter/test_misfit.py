"""Why weights do not fit is said with the names and the likely cause."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from exporter.misfit import explain_misfit

Shapes = dict[str, tuple[int, ...]]


def state(shapes: Shapes) -> dict[str, Tensor]:
    return {name: torch.empty(shape) for name, shape in shapes.items()}


OWN: Shapes = {
    "conv.weight": (8, 3, 3, 3),
    "conv.bias": (8,),
    "pos": (1, 17, 8),
    "fc.weight": (10, 8),
    "fc.bias": (10,),
}


def of_sizes(**changed: tuple[int, ...]) -> str:
    named = {name.replace("__", "."): shape for name, shape in changed.items()}
    return explain_misfit(state(OWN), state(OWN | named))


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"conv__weight": (8, 1, 3, 3)}, "reads 1 channels: give the argument for it with --arg, as in_chans=1"),
        ({"fc__weight": (7, 8), "fc__bias": (7,)}, "as num_classes=7"),
        ({"fc__bias": (7,)}, "as num_classes=7"),
        ({"pos": (1, 37, 8)}, "for another input size"),
        ({"fc__weight": (10, 9)}, "of another variant of the network"),
        ({"conv__weight": (8, 3, 5, 5)}, "of another variant of the network"),
        ({"conv__weight": (8, 3, 3)}, "of another variant of the network"),
        ({"conv__weight": (8, 1, 3, 3), "conv__bias": (9,)}, "of another variant of the network"),
        ({"pos": (1, 37, 9), "fc__weight": (7, 9)}, "for another input size"),
        ({"pos": (1, 37, 9), "fc__weight": (7, 9), "fc__bias": (7, 1)}, "of another variant"),
    ],
)  # fmt: skip
def test_other_sizes_have_a_likely_cause(changed: Shapes, cause: str) -> None:
    assert cause in of_sizes(**changed)


def test_channels_are_known_behind_a_class_token() -> None:
    own = state({"cls_token": (1, 1, 8), "proj.weight": (8, 3, 4, 4)})
    file = state({"cls_token": (1, 1, 8), "proj.weight": (8, 1, 4, 4)})

    assert "reads 1 channels" in explain_misfit(own, file)


def test_the_sizes_are_named_in_the_network_s_order() -> None:
    message = of_sizes(fc__bias=(7,), fc__weight=(7, 8))

    assert message.startswith(
        "size mismatch for fc.weight: (7, 8) in the file, (10, 8) in the network; "
        "size mismatch for fc.bias: (7,) in the file, (10,) in the network. Has"
    )


def layers(count: int, size: int) -> dict[str, Tensor]:
    return state({f"layer{index}": (size, 2) for index in range(count)})


@pytest.mark.parametrize(
    ("count", "shown", "more"), [(5, 5, ""), (6, 5, "; and 1 more. "), (9, 5, "; and 4 more. ")]
)
def test_five_sizes_are_shown(count: int, shown: int, more: str) -> None:
    message = explain_misfit(layers(count, 3), layers(count, 4))

    assert message.count("size mismatch") == shown
    assert more in message
    assert ("more. " in message) == bool(more)


@pytest.mark.parametrize(("count", "is_head"), [(4, True), (5, False)])
def test_more_than_four_layers_are_no_head(count: int, *, is_head: bool) -> None:
    assert ("num_classes=4" in explain_misfit(layers(count, 3), layers(count, 4))) == is_head


def of_names(own: list[str], file: list[str], common: int = 0) -> str:
    """Return the message where both have some names alone, and some common ones."""
    shared = [f"shared.{index}" for index in range(common)]
    return explain_misfit(
        state(dict.fromkeys([*shared, *own], (1,))),
        state(dict.fromkeys([*shared, *file], (1,))),
        own,
        file,
    )


def test_names_are_listed_in_order_a_few_of_them() -> None:
    message = of_names([f"a.{index}" for index in range(7)][::-1], ["b.0"], common=9)

    assert message.startswith(
        "The file lacks a.0, a.1, a.2, a.3, a.4 and 2 more. The network has no b.0. "
    )
    assert of_names([f"a.{index}" for index in range(5)], [], 9).startswith(
        "The file lacks a.0, a.1, a.2, a.3, a.4. "
    )
    assert of_names([], ["b.0"], 9).startswith("The network has no b.0. The file has more")


@pytest.mark.parametrize(
    ("own", "file", "common", "cause"),
    [
        (["head.w"], [], 9, "complete but for head: is it a backbone without its head?"),
        ([], ["neck.w", "aux.w"], 9, "more than the network (neck, aux): is it of a variant"),
        (["fc.w"], ["fc.0.w", "fc.2.w"], 9, "its fc is another part, as if it was replaced"),
        (["fc.w"], ["fc.0.w", "other.w"], 9, "another version of the code"),
        (["fc.w"], ["head.w"], 9, "another version of the code"),
        # One name in ten is common: of another network if fewer.
        ([f"a{i}.w" for i in range(9)], ["b.w"], 1, "another version of the code"),
        ([f"a{i}.w" for i in range(10)], ["b.w"], 1, "with shared, b, the network's with shared, a0, a1, a2, a3, …"),
    ],
)  # fmt: skip
def test_other_names_have_a_likely_cause(
    own: list[str], file: list[str], common: int, cause: str
) -> None:
    assert cause in of_names(own, file, common)


def test_five_beginnings_are_shown_without_dots() -> None:
    message = of_names([f"a{i}.w" for i in range(5)], ["b.w"])

    assert message.endswith("names begin with b, the network's with a0, a1, a2, a3, a4")


def head(
    change: Callable[[nn.Linear], object] | None = None, classes: int = 5
) -> dict[str, Tensor]:
    """Return the weights of a network whose last layer is changed."""
    last = nn.Linear(8, classes)
    if change is not None:
        change(last)
    return dict(nn.Sequential(nn.Linear(8, 8), last).state_dict())


def pruned(layer: nn.Linear) -> None:
    prune.l1_unstructured(layer, "weight", 0.5)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("change", "kind", "step"),
    [
        (weight_norm, "weight_norm", r"remove_weight_norm\(layer\)"),
        (spectral_norm, "spectral_norm", r"remove_spectral_norm\(layer\)"),
        (pruned, "pruning", r"prune\.remove\(layer, \"weight\"\)"),
        (parametrizations.weight_norm, "a parametrization", "remove_parametrizations"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_a_weight_that_is_kept_in_parts_is_named_before_other_sizes(
    change: Callable[[nn.Linear], object], kind: str, step: str
) -> None:
    for classes in (5, 7):
        message = explain_misfit(head(), head(change, classes))
        assert re.search(
            rf"In the file 1\.weight is kept in parts .*as {kind} does.*{step}", message
        )
    message = explain_misfit(head(change), head())
    assert re.search(
        r"In the network 1\.weight is kept.*in the file it is one weight.*Build", message
    )


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_other_sizes_are_named_where_both_keep_a_weight_in_parts() -> None:
    message = explain_misfit(head(weight_norm), head(weight_norm, 7))
    assert "num_classes=7" in message
