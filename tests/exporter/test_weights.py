"""Weights from files, as they are found."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model
from torchvision.ops import FrozenBatchNorm2d

from exporter.errors import WeightsError
from exporter.progress import SilentProgress
from exporter.weights import load_weights
from tests.exporter.checkpoints import FORMS, Norms, norms

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, about formats of files


def loaded(content: object, folder: Path, *, zipped: bool = True) -> tuple[Norms, list[str]]:
    """Save a content, load it into a new network, and return that and the warnings."""
    torch.save(content, folder / "w.pt", _use_new_zipfile_serialization=zipped)
    module, progress = norms(0.0), SilentProgress()
    load_weights(module, folder / "w.pt", progress=progress)
    return module, progress.warnings


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_in_what_a_training_saved(form: str, tmp_path: Path) -> None:
    content = FORMS[form](norms(3.0).state_dict())
    for zipped in (True, False):
        module, _ = loaded(content, tmp_path, zipped=zipped)
        found = [value for name, value in module.state_dict().items() if "num_batches" not in name]
        assert {number for value in found for number in value.flatten().tolist()} == {3.0}
        assert all(value.dtype == torch.float32 for value in found)


@pytest.mark.parametrize(
    ("form", "warning"),
    [
        ("_orig_mod.", "the prefix _orig_mod. is removed"),
        ("Lightning", "the prefix model. is removed; loss is left out"),
        ("timm's averaged", "state_dict_ema is taken, not state_dict"),
        ("AveragedModel", "the prefix module. is removed"),
    ],
)
def test_what_is_not_simply_taken_has_a_warning(form: str, warning: str, tmp_path: Path) -> None:
    _, warnings = loaded(FORMS[form](norms(3.0).state_dict()), tmp_path)
    assert len(warnings) == 1
    assert warnings[0].startswith(f"--weights w.pt: {warning}")


@pytest.mark.parametrize(
    ("form", "warnings"),
    [
        ("plain", ["--weights w.pt: they are those of the part net of the network"]),
        (
            "Lightning",
            [
                (
                    "--weights w.pt: they are those of the part net of the network; the prefix model. is removed; "
                    "loss is left out, since the network has no such part"
                )
            ],
        ),
        ("wrapped", []),
    ],
)
def test_weights_of_the_network_inside_a_wrapper_are_its_part(
    form: str, warnings: list[str], tmp_path: Path
) -> None:
    """A function of one's own wraps a detector to add its decoding; its published weights have no such prefix."""
    inner = norms(3.0)
    states = {
        "plain": inner.state_dict(),
        "wrapped": nn.ModuleDict({"net": inner}).state_dict(),
        "Lightning": FORMS["Lightning"](inner.state_dict()),
    }
    torch.save(states[form], tmp_path / "w.pt")
    wrapper, progress = nn.ModuleDict({"net": norms(0.0)}), SilentProgress()

    load_weights(wrapper, tmp_path / "w.pt", progress=progress)

    found = [value for name, value in wrapper.state_dict().items() if "num_batches" not in name]
    assert {number for value in found for number in value.flatten().tolist()} == {3.0}
    assert progress.warnings == warnings


def test_weights_of_a_part_beside_others_are_not_the_network_s(tmp_path: Path) -> None:
    torch.save(norms(3.0).state_dict(), tmp_path / "w.pt")
    wrapper = nn.ModuleDict({"net": norms(0.0), "head": nn.Linear(2, 2)})

    with pytest.raises(WeightsError, match="does not fit the network"):
        load_weights(wrapper, tmp_path / "w.pt", progress=SilentProgress())


def apart(**parts: float) -> dict[str, torch.Tensor]:
    """Return one state dict that holds the network under several prefixes, each with all weights of one value."""
    return {
        f"{prefix}.{name}": value
        for prefix, number in parts.items()
        for name, value in norms(number).state_dict().items()
    }


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"state_dict": apart(model=1.0, ema_model=3.0)}, "state_dict.ema_model is taken, not model"),
        (apart(student=1.0, teacher=3.0), "teacher is taken, not student"),
        (
            {"student": norms(1.0).state_dict(), "teacher": norms(3.0).state_dict()},
            "teacher is taken, not student",
        ),
        (
            norms(1.0).state_dict() | apart(model_ema=3.0),
            "model_ema is taken, not the names without a prefix",
        ),
    ],
    ids=["ema-inside", "teacher-inside", "teacher", "ema-beside-names"],
)  # fmt: skip
def test_the_averaged_weights_are_taken_wherever_they_are(
    content: object, taken: str, tmp_path: Path
) -> None:
    module, warnings = loaded(content, tmp_path)
    assert module.fc.bias.tolist() == [3.0] * 3
    assert taken in warnings[0]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (
            {"generator": norms(1.0).state_dict(), "classifier": norms(3.0).state_dict()},
            r"generator, classifier.*torch\.load\(FILE, weights_only=False\)\['classifier'\]",
        ),
        (apart(net_a=1.0, net_b=3.0), r"net_a, net_b.*removeprefix\('net_b\.'\)"),
        ({"model_ema": norms(1.0).state_dict(), "teacher": norms(3.0).state_dict()}, "model_ema, teacher"),
    ],
    ids=["keys", "prefixes", "two-averaged"],
)  # fmt: skip
def test_several_sets_of_weights_that_fit_are_not_guessed_between(
    content: object, named: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=f"several sets of weights that fit.*{named}"):
        loaded(content, tmp_path)


def test_the_same_weights_twice_are_no_question(tmp_path: Path) -> None:
    twice = {"best": norms(3.0).state_dict(), "last": norms(3.0).state_dict()}
    assert loaded(twice, tmp_path)[0].fc.bias.tolist() == [3.0] * 3


@pytest.mark.parametrize("form", ["plain", "no counters", "fp16", "net"])
def test_what_is_simply_taken_needs_no_words(form: str, tmp_path: Path) -> None:
    assert loaded(FORMS[form](norms(3.0).state_dict()), tmp_path)[1] == []


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "model.bin"])
def test_safetensors_are_read_whatever_the_file_is_called(name: str, tmp_path: Path) -> None:
    save_file(norms(3.0).state_dict(), tmp_path / name)
    module = norms(0.0)
    load_weights(module, tmp_path / name)
    assert module.fc.bias.tolist() == [3.0] * 3


def test_frozen_batch_norms_have_no_counters(tmp_path: Path) -> None:
    frozen = nn.Sequential(nn.Conv2d(3, 4, 1), FrozenBatchNorm2d(4))
    frozen.load_state_dict({**frozen.state_dict(), "1.running_var": torch.full((4,), 0.25)})
    torch.save(frozen.state_dict(), tmp_path / "w.pt")
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()

    load_weights(module, tmp_path / "w.pt")

    pixels = torch.rand(2, 3, 5, 5)
    torch.testing.assert_close(module(pixels), frozen(pixels))


def test_the_versions_of_layers_are_kept_or_taken_as_the_newest(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = get_model("mnasnet0_5", weights=None).eval()
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    torch.save(
        {"state_dict": {f"model.{n}": v for n, v in trained.state_dict().items()}},
        tmp_path / "lightning.ckpt",
    )
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    pixels = torch.rand(1, 3, 64, 64)
    for name in ("w.pt", "lightning.ckpt", "w.safetensors"):
        module = get_model("mnasnet0_5", weights=None).eval()
        load_weights(module, tmp_path / name)
        with torch.inference_mode():
            torch.testing.assert_close(module(pixels), trained(pixels))


def test_densenet_s_published_names_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = get_model("densenet121", weights=None)
    old = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for name, value in trained.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "w.pth")
    module = get_model("densenet121", weights=None)

    load_weights(module, tmp_path / "w.pth")

    for name, value in module.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name


def test_an_auxiliary_classifier_is_left_out_with_a_warning(tmp_path: Path) -> None:
    state = norms(3.0).state_dict() | {"aux_classifier.0.weight": torch.ones(1)}
    _, warnings = loaded(dict(state), tmp_path)
    assert warnings == [
        "--weights w.pt: aux_classifier is left out, since the network has no such part"
    ]


def test_missing_and_unexpected_keys_are_named_a_few_of_them(tmp_path: Path) -> None:
    strangers = {f"stranger_{index}": torch.zeros(1) for index in range(7)}
    state = {name: value for name, value in norms(1.0).state_dict().items() if name != "fc.bias"}
    with pytest.raises(WeightsError, match=r"lacks fc\.bias\..*no stranger_0.* and 2 more"):
        loaded({**state, **strangers}, tmp_path)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"fc.weight": torch.ones(5, 4), "fc.bias": torch.ones(5)}, r"--arg, as num_classes=5"),
        ({"body.0.weight": torch.ones(4, 1, 3, 3)}, "reads 1 channels"),
        ({"fc.weight": None, "fc.bias": None}, "complete but for fc: is it a backbone without"),
        ({"neck.weight": torch.ones(1)}, r"more than the network \(neck\)"),
        ({"fc.bias": torch.tensor([1.0, float("nan"), 1.0])}, "fc.bias has values that are no numbers"),
        ({"fc.weight": torch.ones(3, 4, dtype=torch.int8)}, "it is quantized"),
    ],
)  # fmt: skip
def test_a_misfit_names_its_likely_cause(
    change: dict[str, torch.Tensor | None], cause: str, tmp_path: Path
) -> None:
    state = {**norms(1.0).state_dict(), **change}
    with pytest.raises(WeightsError, match=cause):
        loaded({name: value for name, value in state.items() if value is not None}, tmp_path)


def test_another_network_is_recognized_by_its_names(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"another network: its names begin with weight, bias"):
        loaded(nn.Linear(2, 2).state_dict(), tmp_path)


def test_a_head_that_was_replaced_is_distinguished_from_a_missing_one(tmp_path: Path) -> None:
    module = norms(1.0)
    module.fc = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))  # type: ignore[assignment]
    with pytest.raises(WeightsError, match=r"its fc is another part.*function of your own"):
        loaded(module.state_dict(), tmp_path)


@pytest.mark.parametrize(
    ("content", "instead"),
    [
        ([1, 2], "it holds a list"),
        ({"epoch": 3, "lr": 0.1}, "it holds epoch, lr"),
        ({"a": np.array(["x"])}, "it holds a"),
    ],
)
def test_a_file_without_a_state_dict_says_what_it_holds(
    content: object, instead: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=f"no state dict.*{instead}"):
        loaded(content, tmp_path)
