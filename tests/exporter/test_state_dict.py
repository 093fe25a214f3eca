"""The weights are found in what a file holds, wherever they are and whatever is in front of their names."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from exporter.inert_pickle import Inert
from exporter.state_dict import (
    Found,
    find_states,
    is_averaged,
    is_unlikely,
    prefix_of,
    with_own_names,
)

ONE, TWO = torch.ones(1), torch.full((1,), 2.0)


def keys_of(content: object) -> list[str]:
    return [one.where for one in find_states(content)]


def test_tensors_are_found_behind_up_to_four_keys() -> None:
    content: dict[str, Any] = {"w": ONE, "epoch": 3}
    for depth in range(5):
        assert keys_of(content) == [".".join(["in"] * depth)]
        content = {"in": content, "lr": 0.1}
    assert keys_of(content) == []


def test_only_tensors_are_kept_with_text_as_names() -> None:
    (found,) = find_states({"w": ONE, 7: TWO, "epoch": 3, "names": ["a"]})

    assert list(found.state) == ["w", "7"]
    assert found.keys == ()


@pytest.mark.parametrize("content", [None, 7, [ONE], ONE, {}, {"epoch": 3}, {"a": {"b": 1}}])
def test_content_without_names_and_tensors_has_no_state(content: object) -> None:
    assert find_states(content) == []


@pytest.mark.parametrize(
    ("content", "order"),
    [
        ({"model": {"w": ONE}, "model_ema": {"w": TWO}}, ["model_ema", "model"]),
        ({"optimizer": {"w": ONE}, "net": {"w": TWO}}, ["net", "optimizer"]),
        ({"other": {"w": ONE}, "net": {"w": TWO}}, ["net", "other"]),
        ({"net": {"w": ONE}, "state_dict": {"w": TWO}}, ["state_dict", "net"]),
        ({"student": {"w": ONE}, "module": {"w": TWO}}, ["module", "student"]),
        ({"deep": {"er": {"w": ONE}}, "flat": {"w": TWO}}, ["flat", "deep.er"]),
        # Averaged weights of an optimizer are still the averaged ones.
        ({"net": {"w": ONE}, "optim": {"ema": {"w": TWO}}}, ["optim.ema", "net"]),
        (
            {"optimizer": {"w": ONE}, "deep": {"in": {"er": {"w": TWO}}}},
            ["deep.in.er", "optimizer"],
        ),
        ({"deep": {"ema": {"w": ONE}}, "ema": {"w": TWO}}, ["ema", "deep.ema"]),
        # The names of a whole file come before those of an unknown key.
        ({"w": ONE, "other": {"v": TWO}}, ["", "other"]),
    ],
)
def test_the_likely_state_comes_first(content: object, order: list[str]) -> None:
    assert keys_of(content) == order


@pytest.mark.parametrize(
    ("key", "averaged"),
    [
        ("ema", True),
        ("state_dict_ema", True),
        ("EMA_model", True),
        ("ema2", True),
        ("teacher", True),
        ("model.teacher.0", True),
        ("swa_model", True),
        ("averaged", True),
        ("schema", False),
        ("cinema", False),
        ("teachers", False),
        ("emax", False),
        ("model", False),
    ],
)
def test_averaged_weights_are_known_by_a_word_of_their_key(key: str, *, averaged: bool) -> None:
    assert is_averaged(("a", key)) == averaged
    assert is_averaged((key, "b")) == averaged
    assert not is_averaged(())


def test_what_a_training_keeps_besides_is_unlikely() -> None:
    for key in ("optimizer", "optim_g", "lr_scheduler", "scheduler", "loss_scaler"):
        assert is_unlikely(("a", key))
    for key in ("model", "an_optimizer", "lr"):
        assert not is_unlikely((key,))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.register_buffer("kept", torch.ones(1))
        self.register_buffer("passing", torch.ones(1), persistent=False)


def inert(module: nn.Module) -> Inert:
    """Return what the pickle of a module becomes, whose class is not imported."""
    value = Inert()
    table = dict(vars(module))
    table["_modules"] = {name: inert(part) for name, part in module.named_children()}
    value.__setstate__(table)
    return value


def test_a_pickled_module_has_the_names_of_its_state_dict() -> None:
    net = Net()

    for content, where in ((inert(net), ""), ({"model": inert(net), "epoch": 1}, "model")):
        (found,) = find_states(content)
        assert found.where == where
        assert set(found.state) == set(net.state_dict())
        for name, value in net.state_dict().items():
            assert torch.equal(found.state[name], value)


def test_a_part_that_is_no_module_has_no_weights() -> None:
    value = Inert()
    value.__setstate__({"_modules": {"a": None, "b": inert(nn.Linear(1, 1)), "c": ONE}})

    (found,) = find_states(value)

    assert list(found.state) == ["b.weight", "b.bias"]


@pytest.mark.parametrize("damaged", [set, 3, "kept"])
def test_a_damaged_list_of_what_is_not_kept_is_left_out(damaged: object) -> None:
    value = inert(nn.Linear(1, 1))
    value.__setstate__({**vars(value), "_non_persistent_buffers_set": damaged})

    (found,) = find_states(value)

    assert list(found.state) == ["weight", "bias"]


def test_the_versions_of_layers_are_found_with_the_weights() -> None:
    (found,) = find_states({"model": nn.BatchNorm1d(2).state_dict()})

    assert vars(found.state)["_metadata"][""] == {"version": 2}


def test_attributes_of_an_object_that_was_not_imported_are_looked_into() -> None:
    value = Inert()
    value.__setstate__({"net": {"w": ONE}, "lr": 0.1})

    assert keys_of({"runner": value}) == ["runner.net"]


def names(found: list[str], expected: list[str]) -> list[str]:
    given = OrderedDict((name, ONE) for name in found)
    return list(with_own_names(given, dict.fromkeys(expected, ONE)))


@pytest.mark.parametrize(
    "found",
    [
        ["a.w", "b.w"],
        ["module.a.w", "module.b.w"],
        ["_orig_mod.a.w", "_orig_mod.b.w"],
        ["module._orig_mod.a.w", "module._orig_mod.b.w"],
        ["a.module.w", "b._orig_mod.w"],
        ["model.a.w", "model.b.w"],
        ["model.module.a.w", "model.module.b.w"],
        ["deep.er.a.w", "deep.er.b.w", "loss.w"],
    ],
)
def test_wrapped_names_get_those_of_the_network(found: list[str]) -> None:
    assert names(found, ["a.w", "b.w"]) == ["a.w", "b.w"]


def test_names_that_fit_stay() -> None:
    """A network may have a part called module, and one more prefix must not be taken off."""
    assert names(["module.w"], ["module.w"]) == ["module.w"]
    assert names(["a.w", "x.a.w"], ["a.w"]) == ["a.w", "x.a.w"]
    assert names(["other.v"], ["a.w"]) == ["other.v"]


@pytest.mark.parametrize(
    ("found", "expected", "result"),
    [
        (["a.w", "b.w"], ["net.a.w", "net.b.w"], ["net.a.w", "net.b.w"]),
        (["a.w", "b.w"], ["outer.net.a.w", "outer.net.b.w"], ["outer.net.a.w", "outer.net.b.w"]),
        (["module.a.w"], ["net.a.w"], ["net.a.w"]),
        (["model.a.w", "loss.w"], ["net.a.w"], ["net.a.w"]),
        # Not all of the part, or more than one part.
        (["a.w"], ["net.a.w", "net.b.w"], ["a.w"]),
        (["a.w"], ["net.a.w", "head.w"], ["a.w"]),
    ],
)
def test_names_of_a_network_inside_another_get_its_prefix(
    found: list[str], expected: list[str], result: list[str]
) -> None:
    assert names(found, expected) == result


def test_old_names_of_densenet_become_new_ones() -> None:
    old = ["denselayer12.norm.1.weight", "denselayer12.conv.2.weight"]
    new = ["denselayer12.norm1.weight", "denselayer12.conv2.weight"]

    assert names(old, new) == new


def test_the_versions_of_layers_move_with_the_names() -> None:
    plain = nn.Sequential(nn.BatchNorm1d(2)).state_dict()
    found = OrderedDict((f"model.{name}", value) for name, value in plain.items())
    vars(found)["_metadata"] = {
        "": {"version": 1},
        "model": {"version": 1},
        "model.0": {"version": 2},
    }

    renamed = with_own_names(found, plain)

    assert list(renamed) == list(plain)
    assert vars(renamed)["_metadata"]["0"] == {"version": 2}
    kept = with_own_names(plain, plain)
    assert vars(kept)["_metadata"] == vars(plain)["_metadata"]
    assert not hasattr(with_own_names({"a": ONE}, {"a": ONE}), "_metadata")


@pytest.mark.parametrize(
    ("found", "expected", "prefix"),
    [
        (["model.a", "model.b"], ["a", "b"], "model."),
        (["x.y.a", "x.y.b"], ["a", "b"], "x.y."),
        # The longest common part of the names is the network's own.
        (["net.body.a", "net.body.b"], ["body.a", "body.b"], "net."),
        (["a", "b"], ["a", "b"], ""),
        (["m.a", "a", "b"], ["a", "b"], ""),
        (["m.a", "m.b", "a"], ["a", "b"], "m."),
        (["m.a", "a"], ["a", "b"], ""),
        # Of two prefixes the one with more names, else the shorter one.
        (["m.a", "n.a", "n.b"], ["a", "b"], "n."),
        (["long.a", "m.a"], ["a"], "m."),
        # Counters do not count.
        (["m.num_batches_tracked"], ["num_batches_tracked"], ""),
        (["other"], ["a"], ""),
        ([], ["a"], ""),
    ],
)
def test_the_prefix_is_what_most_names_have_in_front(
    found: list[str], expected: list[str], prefix: str
) -> None:
    given: dict[str, Tensor] = dict.fromkeys(found, ONE)

    assert prefix_of(given, dict.fromkeys(expected, ONE)) == prefix


def test_a_place_is_named_by_its_keys() -> None:
    assert Found(OrderedDict(), ("a", "b")).where == "a.b"
    assert Found(OrderedDict(), ()).where == ""
