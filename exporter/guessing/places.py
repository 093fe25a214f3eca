"""A path on the command line → a source: what kind of network a file or folder holds, judged by what is in it."""

import zipfile
from pathlib import Path
from typing import Any

from exporter.errors import SourceError
from exporter.file_kind import file_kind
from exporter.guessing.granted import Granted
from exporter.sources.transformers_configs import CONFIG, read_config

KINDS = ("torchvision", "timm", "transformers", "python", "program", "torchscript", "onnx", "train")

_BY_SUFFIX = {
    ".onnx": "onnx",
    ".pt2": "program",
    ".ts": "torchscript",
    ".torchscript": "torchscript",
}
_WEIGHTS = {
    ".pt",
    ".pth",
    ".tar",
    ".bin",
    ".ckpt",
    ".safetensors",
    ".pkl",
    ".pickle",
    ".npz",
    ".npy",
}
_ELSEWHERE = {
    ".h5": "Convert it: python -m tf2onnx.convert --keras FILE --output net.onnx",
    ".keras": "Convert it with Keras: model.export('net.onnx', format='onnx')",
    ".tflite": "Convert it: python -m tf2onnx.convert --tflite FILE --output net.onnx",
    ".pb": "Convert it: python -m tf2onnx.convert --graphdef FILE --output net.onnx",
    ".engine": "A TensorRT engine can not be converted back; export from the network that it was made of",
    ".trt": "A TensorRT engine can not be converted back; export from the network that it was made of",
    ".mlpackage": "Export from the network that it was made of",
    ".mlmodel": "Export from the network that it was made of",
    ".xml": "OpenVINO's form can not be read; export from the network that it was made of",
}
"""The next step for a file of a kind that is not read, by its ending."""


def source_at(path: Path) -> tuple[str, tuple[Granted, ...]]:
    """Return the source that a file or folder holds, and the options that its form answers.

    Raises:
        SourceError: it holds no network, several, or one that can not be read; the message has the next step.
    """
    return _in_folder(path) if path.is_dir() else (_in_file(path), ())


def _in_folder(folder: Path) -> tuple[str, tuple[Granted, ...]]:
    config = folder / CONFIG
    if config.is_file():
        return _configured(folder, config)
    for place in (folder, folder / "weights"):
        networks = sorted(file for kind in _BY_SUFFIX for file in place.glob(f"*{kind}"))
        if len(networks) == 1:
            return _in_file(networks[0]), ()
        if networks:
            names = ", ".join(file.name for file in networks)
            raise SourceError(f"{folder} holds several networks: {names}. Name one of them")
    if (folder / "recipe.toml").is_file():
        return str(folder / "recipe.toml"), ()
    if (folder / "saved_model.pb").is_file():
        raise SourceError(
            f"{folder} is a SavedModel of TensorFlow. Convert it: python -m tf2onnx.convert --saved-model {folder} "
            "--output net.onnx"
        )
    weights = sorted(
        file
        for place in (folder, folder / "weights")
        for file in place.glob("*")
        if file.suffix in _WEIGHTS
    )
    if weights:
        return _in_file(weights[0]), ()
    raise SourceError(
        f"{folder} holds no network: no config.json, no {', '.join(_BY_SUFFIX)} and no recipe.toml"
    )


def _configured(folder: Path, config: Path) -> tuple[str, tuple[Granted, ...]]:
    """Return the source of a folder with a config.json: Transformers', or timm's."""
    content = read_config(config)
    if "architecture" not in content:
        return f"transformers:{folder}", ()
    why = f"stated in {config}"
    granted = [
        Granted("weights", str(file), "the file beside config.json")
        for file in (folder / "model.safetensors", folder / "pytorch_model.bin")
        if file.is_file()
    ][:1]
    classes = content.get("num_classes")
    if classes is not None and classes != 1000:
        granted.append(Granted("arg", [f"num_classes={classes}"], why))
    granted += _timm_words(content, config, why)
    return f"timm:{content['architecture']}", tuple(granted)


def _timm_words(content: dict[str, Any], config: Path, why: str) -> list[Granted]:
    stated = [Granted("labels", str(config), why)] if content.get("label_names") else []
    known = content.get("pretrained_cfg") or {}
    pixels = {name: known[name] for name in ("mean", "std") if known.get(name)}
    return stated + [
        Granted(name, ",".join(str(one) for one in value), why) for name, value in pixels.items()
    ]


def _in_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".toml":
        return str(path)
    if suffix in _BY_SUFFIX:
        return f"{_BY_SUFFIX[suffix]}:{path}"
    if path.name == CONFIG:
        return f"transformers:{path}"
    if suffix in _ELSEWHERE:
        raise SourceError(f"{path} can not be read. {_ELSEWHERE[suffix]}")
    if suffix in _WEIGHTS:
        return _in_torch_file(path)
    raise SourceError(
        f"{path} is of no known kind. Write KIND:{path}, KIND one of {', '.join(KINDS)}"
    )


def _in_torch_file(path: Path) -> str:
    kind = file_kind(path)
    if kind.kind in {"other", "broken", "onnx"}:
        raise SourceError(f"{path} {kind.sentence}")
    if kind.kind in {"torchscript", "program"}:
        return f"{kind.kind}:{path}"
    if kind.kind == "torch" and _mentions_ultralytics(path):
        raise SourceError(
            f"{path} is a checkpoint of Ultralytics, and reading it runs code. Export it first: "
            f"yolo export model={path} format=onnx"
        )
    raise SourceError(
        f"{path} contains weights and not the network. Name the network too: torchvision:NAME --weights {path}, "
        f"timm:NAME --weights {path}, or python:package.module:callable --weights {path}"
    )


def _mentions_ultralytics(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        with archive.open(pickled) as file:
            return b"ultralytics" in file.read(2**20)
