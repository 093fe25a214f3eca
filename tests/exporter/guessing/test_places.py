"""Files and folders as strangers have them are judged by content; every refusal names the next step."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from exporter.errors import ExportError, RecipeError, SourceError
from exporter.guessing.granted import Granted
from exporter.guessing.guess import guess
from exporter.guessing.places import source_at
from tests.exporter.graphs import small_classifier
from tests.exporter.guessing.files import graph_file

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, about TorchScript


def network(path: Path) -> None:
    onnx.save(small_classifier(), path)


def weights(path: Path) -> None:
    torch.save(nn.Linear(2, 3).state_dict(), path)


def script(path: Path) -> None:
    torch.jit.script(nn.Linear(2, 3)).save(path)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("make", "name", "kind"),
    [
        (network, "net.bin", "onnx"),
        (network, "net.pt", "onnx"),
        (network, "net", "onnx"),
        (script, "net.onnx", "torchscript"),
        (script, "net.pth", "torchscript"),
        (script, "net.pt2", "torchscript"),
    ],
)
def test_a_network_with_another_ending_is_taken_for_what_it_is(
    tmp_path: Path, make: Callable[[Path], None], name: str, kind: str
) -> None:
    make(tmp_path / name)

    assert guess(str(tmp_path / name), {}).source == f"{kind}:{tmp_path / name}"


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.pth", "x")


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (weights, "net.onnx", "--weights"),
        (weights, "net.ts", "--weights"),
        (weights, "net", "--weights"),
        (lambda path: save_file({"w": torch.ones(2)}, path), "net.safetensors", "--weights"),
        (zipped, "net.zip", "Unpack it first"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08\x00"), "net.onnx.gz", "Unpack it first"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0"), "net.jpg", "JPEG image"),
        (lambda path: path.write_text("<html></html>"), "net.onnx", "web page"),
        (lambda path: path.write_bytes(b"\x17\xd3\x00\x99" * 64), "net.xyz", "Write KIND:"),
    ],
)
def test_what_is_no_network_alone_gets_its_next_step(
    tmp_path: Path, make: Callable[[Path], object], name: str, words: str
) -> None:
    make(tmp_path / name)

    with pytest.raises(SourceError, match=words) as refused:
        guess(str(tmp_path / name), {})

    assert name in str(refused.value)


def folder_of(folder: Path, **files: Callable[[Path], object]) -> Path:
    """Make the files; two underscores in a name are a slash, one before the last word the dot of its ending."""
    for name, make in files.items():
        stem, _, ending = name.replace("__", "/").rpartition("_")
        path = folder / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
    return folder


def config(content: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(content), encoding="utf-8")


HUGGING = {"architectures": ["ViTForImageClassification"], "id2label": {"0": "a", "1": "b"}}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "Name the file of the network"),
        ({"a_jpg": lambda path: path.write_bytes(b"x")}, "Name the file of the network"),
        ({"runs__best_onnx": network}, r"Name what is inside it: .*runs/best\.onnx"),
        ({"checkpoints__best_ckpt": weights}, r"best\.ckpt contains weights.*--weights"),
        ({"a_onnx": network, "b_onnx": network}, r"several networks: a\.onnx, b\.onnx"),
        ({"f0_pth": weights, "f1_pth": weights}, r"several files of weights: f0\.pth, f1\.pth"),
        ({"net_xml": config({}), "net_bin": lambda path: path.write_bytes(b"x")}, "OpenVINO"),
        ({"net_keras": lambda path: path.write_bytes(b"PK")}, "Convert it with Keras"),
        ({"config_json": config({"hello": 1})}, "no config.json of Transformers or timm"),
    ],
)
def test_a_folder_without_one_network_gets_its_next_step(
    tmp_path: Path, files: dict[str, Callable[[Path], object]], words: str
) -> None:
    with pytest.raises(SourceError, match=words):
        guess(str(folder_of(tmp_path, **files)), {})


def test_an_onnx_export_beside_a_config_without_weights_is_taken_with_its_labels(
    tmp_path: Path,
) -> None:
    folder_of(tmp_path, config_json=config(HUGGING), onnx__model_onnx=network)

    found = guess(str(tmp_path), {})

    assert found.source == f"onnx:{tmp_path / 'onnx/model.onnx'}"
    assert found.values["labels"] == str(tmp_path / "config.json")


def test_a_config_with_weights_is_transformers(tmp_path: Path) -> None:
    folder_of(
        tmp_path,
        config_json=config(HUGGING),
        onnx__model_onnx=network,
        model_safetensors=lambda path: save_file({"w": torch.ones(2)}, path),
    )

    assert guess(str(tmp_path), {}).source == f"transformers:{tmp_path}"


def test_a_folder_with_one_network(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "weights/best.onnx", ["n", 10])
    assert guess(str(tmp_path), {}).source == f"onnx:{path}"


def test_a_folder_with_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").touch()
    assert guess(str(tmp_path), {}).source == str(tmp_path / "recipe.toml")


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")
def test_files_of_pytorch_are_distinguished_by_what_is_in_them(tmp_path: Path) -> None:
    net = nn.Conv2d(3, 3, 1)
    script, program = tmp_path / "script.pt", tmp_path / "program.pt"
    torch.jit.trace(net, torch.zeros(1, 3, 8, 8)).save(str(script))  # type: ignore[no-untyped-call]
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 8, 8),)), program)

    assert guess(str(script), {}).source == f"torchscript:{script}"
    assert guess(str(program), {}).source == f"program:{program}"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("net.keras", "Convert it with Keras"),
        ("net.tflite", "tf2onnx"),
        ("net.engine", "TensorRT"),
        ("net.pkl", "is empty"),
        ("net.jpg", "is empty"),
        ("net", "is empty"),
    ],
)
def test_a_file_of_another_tool_gets_its_next_step(file: str, words: str, tmp_path: Path) -> None:
    (tmp_path / file).touch()

    with pytest.raises(SourceError) as caught:
        guess(str(tmp_path / file), {})

    assert words in str(caught.value)
    assert file in str(caught.value)


def test_weights_alone_are_no_network(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "a.pth")
    save_file({"w": torch.zeros(1)}, tmp_path / "b.safetensors")

    for name in ("a.pth", "b.safetensors"):
        with pytest.raises(SourceError, match="contains weights and not the network"):
            guess(str(tmp_path / name), {})


def test_a_checkpoint_of_ultralytics_is_to_be_exported_first(tmp_path: Path) -> None:
    torch.save({"train_args": "ultralytics.nn.tasks.DetectionModel"}, tmp_path / "best.pt")

    with pytest.raises(SourceError, match=r"yolo export model=.*best\.pt format=onnx"):
        guess(str(tmp_path / "best.pt"), {})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _folder: None, "holds no network"),
        (lambda folder: [graph_file(folder / n, ["n", 2]) for n in ("a.onnx", "b.onnx")], "a.onnx, b.onnx"),
        (lambda folder: (folder / "saved_model.pb").touch(), "--saved-model"),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_say_which_network_is_refused(
    make: Any, words: str, tmp_path: Path
) -> None:
    make(tmp_path)

    with pytest.raises(ExportError) as caught:
        guess(str(tmp_path), {})

    assert words in str(caught.value)


@pytest.mark.parametrize("inner", ["weights", "checkpoints", "onnx", "export", "model"])
@pytest.mark.parametrize("ending", ["onnx", "pt2", "ts", "torchscript"])
def test_a_network_inside_of_a_training_s_folder_is_found(
    inner: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / inner / f"best.{ending}"
    path.parent.mkdir()
    network(path)

    assert source_at(tmp_path) == (f"onnx:{path}", ())


def test_a_network_in_the_folder_itself_comes_first(tmp_path: Path) -> None:
    folder_of(tmp_path, a_onnx=network, weights__b_onnx=network, recipe_toml=config({}))

    assert source_at(tmp_path) == (f"onnx:{tmp_path / 'a.onnx'}", ())


def test_the_form_of_a_file_that_can_not_be_known_by_content_is_its_ending(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("source = 'onnx:a.onnx'")
    (tmp_path / "config.json").write_text("{}")

    assert source_at(recipe) == (str(recipe), ())
    assert source_at(tmp_path / "config.json") == (f"transformers:{tmp_path / 'config.json'}", ())


@pytest.mark.parametrize(
    "ending",
    [
        "h5",
        "keras",
        "tflite",
        "pb",
        "engine",
        "trt",
        "mlpackage",
        "mlmodel",
        "xml",
        "XML",
        "pdmodel",
        "caffemodel",
        "param",
    ],
)
def test_forms_of_other_tools_are_named_with_the_next_step(ending: str, tmp_path: Path) -> None:
    (tmp_path / f"net.{ending}").write_bytes(b"x")

    for place in (tmp_path / f"net.{ending}", tmp_path):
        with pytest.raises(SourceError, match=rf"net\.{ending} can not be read\. .*(onvert|xport)"):
            source_at(place)


def test_endings_may_be_in_capitals(tmp_path: Path) -> None:
    folder_of(tmp_path, runs__deep_PTH=weights)
    with pytest.raises(SourceError, match=r"Name what is inside it: .*runs/deep\.PTH"):
        source_at(tmp_path)
    folder_of(tmp_path, w_PTH=weights)
    with pytest.raises(SourceError, match=r"w\.PTH contains weights"):
        source_at(tmp_path)
    folder_of(tmp_path, net_ONNX=network)
    assert source_at(tmp_path) == (f"onnx:{tmp_path / 'net.ONNX'}", ())


@pytest.mark.parametrize(("count", "more"), [(5, ""), (6, " and 1 more")])
def test_five_of_several_networks_are_named(count: int, more: str, tmp_path: Path) -> None:
    for index in range(count):
        network(tmp_path / f"n{index}.onnx")

    words = "several networks: n0.onnx, n1.onnx, n2.onnx, n3.onnx, n4.onnx"
    with pytest.raises(SourceError) as refused:
        source_at(tmp_path)
    assert f"{words}{more}. Name one" in str(refused.value)


TIMM = {"architecture": "resnet18", "num_classes": 3}


@pytest.mark.parametrize(
    ("files", "content", "granted"),
    [
        ({}, TIMM, {"arg": ["num_classes=3"]}),
        ({}, {**TIMM, "num_classes": 1000}, {}),
        ({}, {**TIMM, "num_classes": 0}, {"task": "embed"}),
        ({}, {"architecture": "resnet18"}, {}),
        ({"pytorch_model_bin": weights}, {"architecture": "resnet18"}, {"weights": "pytorch_model.bin"}),
        (
            {"pytorch_model_bin": weights, "model_safetensors": weights},
            {"architecture": "resnet18"},
            {"weights": "model.safetensors"},
        ),
        (
            {},
            {"architecture": "resnet18", "pretrained_cfg": {"mean": [0.5, 0.25, 0], "std": None}},
            {"mean": "0.5,0.25,0"},
        ),
        ({}, {"architecture": "resnet18", "pretrained_cfg": None, "label_names": []}, {}),
        ({}, {"architecture": "resnet18", "label_names": ["a"]}, {"labels": "config.json"}),
        (
            {},
            {
                "architecture": "resnet18",
                "num_classes": 3,
                "model_args": {"output_stride": 16, "global_pool": "avg", "norm_layer": None},
                "pretrained_cfg": {"input_size": [3, 96, 128], "crop_pct": 0.5, "interpolation": "random"},
            },
            {
                "arg": ["output_stride=16", 'global_pool="avg"', "num_classes=3"],
                "height": 96,
                "width": 128,
                "resize": "crop",
                "shorter_side": 256,
            },
        ),
        (
            {},
            {
                "architecture": "resnet18",
                "pretrained_cfg": {
                    "input_size": [3, 96, 96], "crop_pct": 0.5, "crop_mode": "squash", "interpolation": "bicubic",
                },
            },
            {"height": 96, "width": 96, "resize": "stretch", "interpolation": "bicubic"},
        ),
    ],
)  # fmt: skip
def test_a_config_of_timm_answers_what_it_states(
    files: dict[str, Callable[[Path], object]],
    content: dict[str, Any],
    granted: dict[str, object],
    tmp_path: Path,
) -> None:
    folder_of(tmp_path, config_json=config(content), **files)

    source, found = source_at(tmp_path)

    assert source == "timm:resnet18"
    named = {"weights", "labels"}
    assert {one.parameter: one.value for one in found} == {
        name: str(tmp_path / str(value)) if name in named else value
        for name, value in granted.items()
    }
    why = {one.why for one in found if one.parameter != "weights"}
    assert all(str(tmp_path / "config.json") in one for one in why)


def test_a_config_of_transformers_names_the_folder(tmp_path: Path) -> None:
    folder_of(tmp_path, config_json=config({"model_type": "vit"}))
    assert source_at(tmp_path) == (f"transformers:{tmp_path}", ())

    folder_of(tmp_path, a_onnx=network)
    assert source_at(tmp_path) == (f"onnx:{tmp_path / 'a.onnx'}", ())
    folder_of(tmp_path, config_json=config({"model_type": "vit", "id2label": {"0": "a"}}))
    why = f"stated in {tmp_path / 'config.json'}"
    assert source_at(tmp_path)[1] == (Granted("labels", str(tmp_path / "config.json"), why),)
    folder_of(tmp_path, onnx__b_onnx=network)
    assert source_at(tmp_path) == (f"transformers:{tmp_path}", ())


def test_weights_inside_of_a_folder_need_their_network(tmp_path: Path) -> None:
    folder_of(tmp_path, checkpoints__a_ckpt=weights, b_npz=weights)
    first = tmp_path / "b.npz"

    with pytest.raises(SourceError, match=rf"weights: b\.npz, a\.ckpt\. .*--weights {first},"):
        source_at(tmp_path)
    first.unlink()
    with pytest.raises(SourceError, match=r"a\.ckpt contains weights and not the network"):
        source_at(tmp_path)


def scikit_learn(path: Path) -> None:
    """Write the start of a pickle as scikit-learn's estimators have it."""
    path.write_bytes(b"\x80\x04\x95\x1b\x02\0\0\0\0\0\0\x8c\x18sklearn.ensemble._forest\x94")


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (
            lambda path: path.write_text("import torch\n"),
            "model.py",
            r"python:model:CALLABLE --code",
        ),
        (lambda path: path.write_text('{"modelTopology": {}}'), "model.json", "TensorFlow.js"),
        (lambda path: path.write_text("a,b\n1,2\n"), "w.csv", "is a table. It is not the file"),
        (lambda path: path.write_bytes(b"\x08\x01\x12\x07"), "saved_model.pb", "--saved-model"),
        (lambda path: path.write_bytes(pickle.dumps({"a": [1, 2]})), "a.pkl", "without weights"),
        (scikit_learn, "a.joblib", "a model of scikit-learn"),
        (Path.mkdir, "a.mlpackage", "Core ML"),
    ],
)
def test_what_is_of_another_tool_is_called_what_it_is(
    tmp_path: Path, make: Callable[[Path], object], name: str, words: str
) -> None:
    make(tmp_path / name)

    with pytest.raises(SourceError, match=words) as refused:
        source_at(tmp_path / name)

    assert name in str(refused.value)


def test_a_kind_of_source_that_is_spelled_wrong_gets_the_nearest() -> None:
    with pytest.raises(SourceError, match=r"Is it torchvision:resnet18\?"):
        guess("torchvison:resnet18", {})


def test_a_network_for_texts_is_refused_before_its_task_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')

    with pytest.raises(RecipeError, match="LlamaForCausalLM: it generates text"):
        guess(str(tmp_path), {})
