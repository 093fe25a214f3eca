"""A path on the command line → a source: what kind of network a file or folder holds, judged by what is in it."""

import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from exporter.errors import SourceError
from exporter.file_kind import FileKind, file_kind
from exporter.foreign_files import is_foreign, next_step
from exporter.guessing.granted import Granted
from exporter.guessing.timm_config import timm_words
from exporter.sources.transformers_configs import CONFIG, has_weights, read_config
from exporter.weights_alone import weights_alone

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
_INNER_FOLDERS = ("weights", "checkpoints", "onnx", "export", "model")
"""Where trainings and exports keep the network inside their folder."""

_SHOWN = 5
_MOST_FILES = 2000


def source_at(path: Path) -> tuple[str, tuple[Granted, ...]]:
    """Return the source that a file or folder holds, and the options that its form answers.

    Raises:
        SourceError: it holds no network, several, or one that can not be read; the message has the next step.
    """
    return _in_folder(path) if path.is_dir() else (_in_file(path), ())


def _in_folder(folder: Path) -> tuple[str, tuple[Granted, ...]]:
    config = folder / CONFIG
    if config.is_file() and (configured := _configured(folder, config)) is not None:
        return configured
    for place in _places(folder):
        networks = _networks(place)
        if len(networks) == 1:
            return _in_file(networks[0]), ()
        if networks:
            raise SourceError(
                f"{folder} holds several networks: {_listed(networks)}. Name one of them"
            )
    if (folder / "recipe.toml").is_file():
        return str(folder / "recipe.toml"), ()
    if (step := next_step(folder)) is not None:
        raise SourceError(f"{folder} can not be read. {step}")
    other = next((one for one in sorted(folder.iterdir()) if is_foreign(one)), None)
    if other is not None:
        return _in_file(other), ()
    weights = [
        file
        for place in _places(folder)
        for file in sorted(place.glob("*"))
        if _may_be_weights(file)
    ]
    if len(weights) > 1:
        raise SourceError(
            f"{folder} holds several files of weights: {_listed(weights)}. Name one of them, and its network: "
            f"torchvision:NAME --weights {weights[0]}, timm:NAME or python:package.module:callable"
        )
    if weights:
        return _in_file(weights[0]), ()
    raise SourceError(_nothing_in(folder))


def _places(folder: Path) -> list[Path]:
    """Return the folder and those inside it in which trainings keep their networks."""
    return [folder, *(folder / name for name in _INNER_FOLDERS if (folder / name).is_dir())]


def _networks(place: Path) -> list[Path]:
    return sorted(file for file in place.iterdir() if file.suffix.lower() in _BY_SUFFIX)


def _may_be_weights(file: Path) -> bool:
    return file.suffix.lower() in _WEIGHTS and file.is_file()


def _listed(files: Sequence[Path]) -> str:
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return ", ".join(file.name for file in files[:_SHOWN]) + more


def _nothing_in(folder: Path) -> str:
    """Return the message about a folder without a network, with those that lie deeper inside it."""
    inner = [
        file
        for file in islice(folder.rglob("*"), _MOST_FILES)
        if file.suffix.lower() in {*_BY_SUFFIX, *_WEIGHTS}
        or (file.name == CONFIG and file.parent != folder)
    ]
    nothing = (
        f"{folder} holds no network: no config.json of Transformers or timm, no {', '.join(_BY_SUFFIX)} and no "
        "recipe.toml"
    )
    if inner:
        names = ", ".join(str(file) for file in sorted(inner)[:_SHOWN])
        return f"{nothing}. Name what is inside it: {names}"
    return f"{nothing}. Name the file of the network, or a source, for example torchvision:resnet50"


def _configured(folder: Path, config: Path) -> tuple[str, tuple[Granted, ...]] | None:
    """Return the source of a folder with a config.json of Transformers or timm, None for one of another tool."""
    content = read_config(config)
    why = f"stated in {config}"
    if "architecture" not in content:
        if not {"architectures", "model_type"} & content.keys():
            return None
        networks = (
            [] if has_weights(folder) else [one for p in _places(folder) for one in _networks(p)]
        )
        if len(networks) == 1:
            labels = [Granted("labels", str(config), why)] if content.get("id2label") else []
            return _in_file(networks[0]), tuple(labels)
        return f"transformers:{folder}", ()
    granted = [
        Granted("weights", str(file), "the file beside config.json")
        for file in (folder / "model.safetensors", folder / "pytorch_model.bin")
        if file.is_file()
    ][:1]
    if content.get("num_classes") == 0:
        granted.append(Granted("task", "embed", f"no classifier: num_classes is 0 in {config}"))
    granted += timm_words(content, config)
    return f"timm:{content['architecture']}", tuple(granted)


def _in_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".toml":
        return str(path)
    if path.name == CONFIG:
        return f"transformers:{path}"
    if (step := next_step(path)) is not None:
        raise SourceError(f"{path} can not be read. {step}")
    kind = file_kind(path)
    if kind.kind in {"text", "other", "broken"}:
        raise SourceError(f"{path} {kind.sentence}")
    if kind.kind in {"torchscript", "program"}:
        return f"{kind.kind}:{path}"
    if kind.kind == "onnx" or (suffix == ".onnx" and not kind.is_weights):
        return f"onnx:{path}"
    if kind.is_weights:
        raise _only_weights(path, kind)
    if suffix in _BY_SUFFIX:
        return f"{_BY_SUFFIX[suffix]}:{path}"
    raise SourceError(
        f"{path} is of no known kind. Write KIND:{path}, KIND one of {', '.join(KINDS)}"
    )


def _only_weights(path: Path, kind: FileKind) -> SourceError:
    if kind.kind == "torch" and _mentions_ultralytics(path):
        return SourceError(
            f"{path} is a checkpoint of Ultralytics, and reading it runs code. Export it first: "
            f"yolo export model={path} format=onnx"
        )
    return SourceError(weights_alone(path))


def _mentions_ultralytics(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        with archive.open(pickled) as file:
            return b"ultralytics" in file.read(2**20)
