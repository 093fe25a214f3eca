"""Of several sets of weights that fit a network the averaged one is taken, else the user is asked."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor

from exporter.errors import WeightsError
from exporter.state_dict import Found
from exporter.weight_choice import Fit, chosen, with_parts

EXPECTED = {name: torch.zeros(2) for name in ("a.w", "b.w", "b.num_batches_tracked")}


def weights(value: float, *names: str) -> OrderedDict[str, Tensor]:
    return OrderedDict((name, torch.full((2,), value)) for name in names or ("a.w", "b.w"))


def fit(value: float, *keys: str, prefix: str = "") -> Fit:
    state = weights(value)
    return Found(state, keys, prefix), state


def test_the_only_one_is_taken() -> None:
    one = fit(1.0, "optimizer")

    assert chosen([one], "w.pt") is one


@pytest.mark.parametrize(
    ("fits", "taken"),
    [
        ([fit(1.0, "model"), fit(2.0, "model_ema")], 1),
        ([fit(1.0, "student"), fit(2.0, "teacher"), fit(3.0, "optimizer")], 1),
        # What an optimizer keeps is no answer where there is another.
        ([fit(1.0, "optimizer"), fit(2.0, "model")], 1),
        ([fit(1.0, "optimizer", "ema"), fit(2.0, "model")], 1),
        # The same numbers, also in another precision, are no question.
        ([fit(1.0, "best"), fit(1.0, "last")], 0),
        ([fit(1.0, "optimizer"), fit(1.0, "scheduler")], 0),
    ],
)
def test_the_likely_one_is_taken(fits: list[Fit], taken: int) -> None:
    assert chosen(fits, "w.pt") is fits[taken]


def test_half_precision_of_the_same_weights_is_the_same() -> None:
    full, half = fit(0.5, "full"), fit(0.5, "half")
    for name, value in half[1].items():
        half[1][name] = value.half()

    assert chosen([half, full], "w.pt") is half


def test_names_that_only_one_has_do_not_make_a_difference() -> None:
    less, more = fit(1.0, "a"), fit(1.0, "b")
    more[1]["extra"] = torch.ones(1)

    assert chosen([less, more], "w.pt") is less


@pytest.mark.parametrize(
    ("fits", "message"),
    [
        (
            [fit(1.0, "generator"), fit(2.0, "parts", "classifier")],
            r"w\.pt holds several.*: generator, parts\.classifier\. .*\['parts'\]\['classifier'\], 'one\.pt'\)",
        ),
        ([fit(1.0, "ema"), fit(2.0, "teacher")], r": ema, teacher\. "),
        (
            [fit(1.0), fit(2.0, "x", prefix="x.")],
            r": the names without a prefix, x\. .*k\.removeprefix\('x\.'\).*k\.startswith\('x\.'\)",
        ),
        # The same as the first is not named.
        ([fit(1.0, "one"), fit(1.0, "same"), fit(2.0, "two")], r": one, two\. "),
    ],
)  # fmt: skip
def test_different_ones_are_not_guessed_between(fits: list[Fit], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        chosen(fits, "w.pt")


def test_another_shape_is_another_set() -> None:
    other = fit(1.0, "other")
    other[1]["a.w"] = torch.ones(1)

    with pytest.raises(WeightsError, match="one, other"):
        chosen([fit(1.0, "one"), other], "w.pt")


def parts(state: OrderedDict[str, Tensor], *keys: str) -> list[Found]:
    return list(with_parts([Found(state, keys)], EXPECTED))


def both(first: str, second: str) -> OrderedDict[str, Tensor]:
    return OrderedDict(
        [(first + name, value) for name, value in weights(1.0).items()]
        + [(second + name, value) for name, value in weights(2.0).items()]
        + [("loss.w", torch.ones(1))]
    )


def test_a_network_under_two_prefixes_becomes_two() -> None:
    one, two = parts(both("net.", "net_ema."), "state_dict")

    assert (one.keys, one.prefix, one.beside) == (("state_dict", "net"), "net.", ("net_ema",))
    assert (two.keys, two.prefix, two.beside) == (("state_dict", "net_ema"), "net_ema.", ("net",))
    assert list(one.state) == ["net.a.w", "net.b.w"]
    assert list(two.state) == ["net_ema.a.w", "net_ema.b.w"]
    assert two.state["net_ema.a.w"].tolist() == [2.0, 2.0]


def test_one_of_them_may_have_no_prefix() -> None:
    plain, other = parts(both("", "deep.ema."))

    assert (plain.keys, plain.prefix, plain.beside) == ((), "", ("deep.ema",))
    assert (other.keys, other.beside) == (("deep", "ema"), ("the names without a prefix",))
    # All others are left to the plain one.
    assert list(plain.state) == ["a.w", "b.w", "loss.w"]
    assert list(other.state) == ["deep.ema.a.w", "deep.ema.b.w"]


def test_wrappers_inside_of_the_parts_are_taken_off() -> None:
    names = [f"{prefix}.{part}.module.w" for prefix in ("net", "ema") for part in ("a", "b")]
    one, two = parts(weights(1.0, *names))

    assert (one.prefix, two.prefix) == ("net.", "ema.")
    assert list(two.state) == ["ema.a.w", "ema.b.w"]


@pytest.mark.parametrize(
    "state",
    [
        weights(1.0),
        weights(1.0, "net.a.w", "net.b.w"),
        # The second one is not whole.
        weights(1.0, "net.a.w", "net.b.w", "ema.a.w"),
    ],
)
def test_a_network_that_is_there_once_stays_whole(state: OrderedDict[str, Tensor]) -> None:
    found = Found(state, ("k",))

    assert list(with_parts([found], EXPECTED)) == [found]
    assert list(with_parts([found], {})) == [found]


def test_the_versions_of_layers_stay_with_the_parts() -> None:
    state = both("net.", "ema.")
    vars(state)["_metadata"] = {"net": {"version": 2}}

    for one in parts(state):
        assert vars(one.state)["_metadata"] == {"net": {"version": 2}}
