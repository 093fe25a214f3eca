"""From a trained module to a servable, and the refusals on the way."""

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from exporter.errors import GraphError, RecipeError, SourceError, WeightsError
from exporter.heads.classify import ClassifyHead
from service.servable_file import check_certificate, read_card
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.nets import LABELS, SIDE, save_weights, small

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, while it traces and scripts
]

SMALL = "python:tests.exporter.nets:Small"
INPUT = {"height": SIDE, "width": SIDE}


def test_a_module_becomes_a_servable_with_the_contract_s_ends(tmp_path: Path) -> None:
    done = export_to(
        tmp_path, SMALL, weights=save_weights(small(), tmp_path), labels=LABELS, input=INPUT
    )

    graph = onnx.load(done.path).graph
    assert [value.name for value in graph.input] == ["image"]
    assert [value.name for value in graph.output] == list(ClassifyHead.outputs)
    check_certificate(done.path, read_card(done.path))


def test_a_servable_answers_as_its_module_does(tmp_path: Path) -> None:
    module = small()
    weights = save_weights(module, tmp_path)
    done = export_to(tmp_path, SMALL, weights=weights, labels=LABELS, input=INPUT)
    frames = some_frames(5, SIDE)

    found = outputs_of(done.path, frames)

    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        logits = module(pixels)
    np.testing.assert_allclose(found["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(found["probabilities"], logits.softmax(1), atol=1e-6)
    assert found["features"].shape == (5, 16)


def test_features_are_what_the_classifier_reads(tmp_path: Path) -> None:
    module = small()
    weights = save_weights(module, tmp_path)
    done = export_to(tmp_path, SMALL, weights=weights, labels=LABELS, input=INPUT)

    found = outputs_of(done.path, some_frames(3, SIDE))

    with torch.inference_mode():
        logits = module.classifier(torch.from_numpy(found["features"]))
    np.testing.assert_allclose(found["logits"], logits, atol=1e-5)


def test_stages_are_inner_tensors_one_a_resolution(tmp_path: Path) -> None:
    weights = save_weights(small(), tmp_path)
    done = export_to(tmp_path, SMALL, weights=weights, labels=LABELS, input=INPUT)

    stages = [(stage.channels, stage.stride) for stage in done.card.stages]
    made = {name for node in onnx.load(done.path).graph.node for name in node.output}
    assert stages == [(8, 2.0), (16, 4.0)]
    assert {stage.tensor for stage in done.card.stages} <= made


def test_the_file_says_nothing_of_the_machine_it_was_made_on(tmp_path: Path) -> None:
    weights = save_weights(small(), tmp_path)
    done = export_to(tmp_path, SMALL, weights=weights, labels=LABELS, input=INPUT)

    content = done.path.read_bytes()
    assert str(tmp_path).encode() not in content
    assert b"site-packages" not in content


def test_multi_label_probabilities_are_sigmoids(tmp_path: Path) -> None:
    weights = save_weights(small(), tmp_path)
    done = export_to(tmp_path, SMALL, weights=weights, labels=LABELS, input=INPUT, multi_label=True)

    found = outputs_of(done.path, some_frames(2, SIDE))
    np.testing.assert_allclose(
        found["probabilities"], 1 / (1 + np.exp(-found["logits"])), atol=1e-6
    )


@pytest.mark.parametrize("color", ["bgr", "gray"])
def test_color_order_and_gray_are_in_the_graph(tmp_path: Path, color: str) -> None:
    channels = 1 if color == "gray" else 3
    done = export_to(
        tmp_path,
        SMALL,
        arguments={"channels": channels},
        weights=save_weights(small(channels), tmp_path),
        labels=LABELS,
        input=INPUT,
        pixels={"color": color, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]},
    )
    assert done.card.certificate.max_difference < 1e-5


def test_an_embedding_is_the_module_s_own_output(tmp_path: Path) -> None:
    weights = save_weights(small(), tmp_path)
    done = export_to(tmp_path, SMALL, task="embed", weights=weights, input=INPUT)

    assert list(outputs_of(done.path, some_frames(2, SIDE))) == ["features"]


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(small().state_dict(), tmp_path / "w.safetensors")
    done = export_to(tmp_path, SMALL, weights="w.safetensors", labels=LABELS, input=INPUT)
    assert done.card.certificate.agreement == 1


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_weights_that_run_code_are_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "evil.pt").open("wb") as file:
        pickle.dump({"state_dict": _Evil()}, file)
    with pytest.raises(WeightsError, match="runs code"):
        export_to(tmp_path, SMALL, weights="evil.pt", labels=LABELS, input=INPUT)
    assert "code ran" not in capsys.readouterr().out


def test_weights_that_do_not_fit_are_refused_by_key(tmp_path: Path) -> None:
    state = small().state_dict()
    state["stranger"] = state.pop("classifier.bias")
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"lacks classifier\.bias.*no stranger"):
        export_to(tmp_path, SMALL, weights="w.pt", labels=LABELS, input=INPUT)


def test_labels_of_another_number_are_refused(tmp_path: Path) -> None:
    weights = save_weights(small(), tmp_path)
    with pytest.raises(RecipeError, match=r"2 are given.*4 classes"):
        export_to(tmp_path, SMALL, weights=weights, labels=["a", "b"], input=INPUT)


@pytest.mark.parametrize("name", ["Careless", "OwnStatistics"])
def test_a_network_in_training_mode_is_refused(tmp_path: Path, name: str) -> None:
    source = f"python:tests.exporter.nets:{name}"
    with pytest.raises(GraphError, match="training"):
        export_to(tmp_path, source, weights="none", labels=LABELS, input=INPUT)
    assert not (tmp_path / "1").exists()


def test_an_input_size_that_is_not_known_needs_an_option(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--height and --width"):
        export_to(tmp_path, SMALL, weights="none", labels=LABELS)


@pytest.mark.parametrize(
    ("source", "near"),
    [("torchvision:resnet5", "resnet50"), ("timm:vit_tiny_patch16_22", "vit_tiny_patch16_224")],
)
def test_an_unknown_network_names_those_near_it(tmp_path: Path, source: str, near: str) -> None:
    with pytest.raises(SourceError, match=near):
        export_to(tmp_path, source, weights="none")


def test_an_unknown_kind_of_source_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="torchvision, timm, transformers, python"):
        export_to(tmp_path, "keras:net")


def test_a_torch_export_program_is_taken(tmp_path: Path) -> None:
    images = (torch.zeros(2, 3, SIDE, SIDE),)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(small(), images, dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "net.pt2")

    done = export_to(tmp_path, "program:net.pt2", labels=LABELS)

    assert (done.card.image_input.height, done.card.image_input.resize) == (SIDE, "stretch")


def test_a_program_for_one_size_of_batch_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(small(), (torch.zeros(2, 3, SIDE, SIDE),))
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(SourceError, match="batches of 2 alone"):
        export_to(tmp_path, "program:net.pt2", labels=LABELS)


def test_a_program_in_training_mode_is_refused(tmp_path: Path) -> None:
    images = (torch.zeros(2, 3, SIDE, SIDE),)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(small().train(), images, dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(GraphError, match="training"):
        export_to(tmp_path, "program:net.pt2", labels=LABELS)


def test_a_torchscript_file_is_taken(tmp_path: Path) -> None:
    script = torch.jit.trace(small(), torch.zeros(2, 3, SIDE, SIDE))  # type: ignore[no-untyped-call]
    script.save(tmp_path / "net.ts")
    done = export_to(tmp_path, "torchscript:net.ts", labels=LABELS, input=INPUT)
    assert done.card.certificate.max_difference < 1e-5


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_text("no network")
    with pytest.raises(SourceError, match=r"net\.pt2 is not a program"):
        export_to(tmp_path, "program:net.pt2", labels=LABELS)
