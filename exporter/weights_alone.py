"""The message for a file of weights that is given as the source: what it holds, and how to name its network.

A pickle of a whole module names the module's class. The name is read from the pickle's opcodes; nothing is loaded.
"""

import pickletools
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from exporter.pickled_statements import MOST_BYTES, MOST_PICKLES, UNREADABLE, pickle_of, stated_in

_ATTRIBUTE = "_parameters"
"""The first attribute with tensors in the pickle of every module, right behind its class."""

_TRAINING_WRAPPERS = ("DataParallel", "DistributedDataParallel", "OptimizedModule", "AveragedModel")
_PLAIN = ("collections.", "builtins.", "__builtin__.")

_PICKLE = b"\x80"
_NO_LIBRARIES = {"builtins", "__builtin__", "collections", "copyreg", "copy_reg", "datetime"}
"""Modules of Python whose objects hold no weights."""

_LIBRARIES = ("torchvision", "timm")

_NETWORK_KEYS = ("arch", "architecture", "model_name", "model", "encoder_name", "backbone")
"""Under which trainings keep the name of the network beside its weights."""

_NAME = re.compile(r"[A-Za-z][\w.-]{2,79}")

_SAVE = (
    "Or save a program where it was trained: torch.export.save(torch.export.export(model.eval(), (images,), "
    "dynamic_shapes=({0: torch.export.Dim('n')},)), 'net.pt2'), with a batch of two images; or ONNX with "
    "torch.onnx.export"
)


def weights_alone(path: Path, wanted: str = "network") -> str:
    """Return what a file of weights holds and how to name its network.

    Args:
        path: a file of torch.save, pickle, safetensors or numpy.savez.
        wanted: what the file should have been.
    """
    if _has_no_arrays(path):
        return (
            f"{path} is a pickle without weights: it holds no tensor and no array. Give a file of torch.save or of "
            f"numpy.savez with the weights, or the {wanted} itself"
        )
    module = pickled_class(path)
    if module is None:
        return (
            f"{path} contains weights and not the {wanted}. {_named_network(path)}Name the network too: "
            f"torchvision:NAME --weights {path}, timm:NAME --weights {path}, or "
            f"python:package.module:callable --weights {path}"
        )
    return (
        f"{path} holds a whole network of the class {module}, as torch.save(model) writes it. Loading that would run "
        f"code that the file names, so only its weights are read. {_remedy(path, module)}. {_SAVE}"
    )


def _named_network(path: Path) -> str:
    """Return what the file says of its network, and the sources that know such names, as a sentence; else nothing."""
    stated = stated_in(path, _NETWORK_KEYS)
    key, name = next(((key, stated[key]) for key in _NETWORK_KEYS if key in stated), ("", ""))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return ""
    likely = "timm" if "." in name else "timm or torchvision" if name.islower() else ""
    sources = " or ".join(f"{one}:{name}" for one in likely.split(" or ")) if likely else ""
    return f"The file says {key} {name}{f', which may be {sources}' if sources else ''}. "


def pickled_class(path: Path) -> str | None:
    """Return the class of the outermost module in a pickle, as `package.module.Name`; None for plain weights.

    Wrappers of a training, such as `DataParallel`, are passed over.
    """
    try:
        return _class_in(pickle_of(path))
    except UNREADABLE:  # what is damaged is refused where it is read
        return None


def _has_no_arrays(path: Path) -> bool:
    """Return whether a pickle alone, no archive, was read to its end and names no class of an array's library."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if not content.startswith(_PICKLE) or len(content) > MOST_BYTES:
            return False
        names = [word for word, is_class in _words(BytesIO(content)) if is_class]
    except UNREADABLE:
        return False
    return not any(name.partition(".")[0] not in _NO_LIBRARIES for name in names)


def _remedy(path: Path, module: str) -> str:
    package = module.partition(".")[0]
    home, _, name = module.rpartition(".")
    if module.startswith("models.yolo."):
        return f"Use the export.py of its repository: python export.py --weights {path}"
    if package in _LIBRARIES:
        return f"Name the network: {package}:NAME --weights {path}"
    if package == "torch":
        return f"Give the function that builds the network: python:module:function --weights {path}"
    if package == "__main__":
        return (
            f"Give the Python file that defines {name}, FILE.py in the working folder: "
            f"python:FILE:{name} --weights {path}"
        )
    return (
        f"Give its code: python:{home}:{name} --weights {path}, with --arg NAME=VALUE for each argument of {name} "
        "and --code FOLDER for the folder of its code"
    )


def _class_in(pickled: BytesIO) -> str | None:
    names: list[str] = []
    outer = -1
    for word, is_class in _words(pickled):
        if is_class and not word.startswith(_PLAIN):
            names.append(word)
        elif word == _ATTRIBUTE and outer < 0:
            outer = len(names) - 1
    if outer < 0:
        return None
    inner = (name for name in names[outer + 1 :] if name.partition(".")[0] != "torch")
    is_wrapper = names[outer].endswith(_TRAINING_WRAPPERS)
    return next(inner, names[outer]) if is_wrapper else names[outer]


def _words(pickled: BytesIO) -> Iterator[tuple[str, bool]]:
    """Yield the texts in a row of pickles, and the names of classes in it, for which the flag is set."""
    for _ in range(MOST_PICKLES):
        texts = ["", ""]
        try:
            for code, value, _ in pickletools.genops(pickled):
                if code.name in {"GLOBAL", "INST"}:
                    yield str(value).replace(" ", "."), True
                elif code.name == "STACK_GLOBAL":
                    yield ".".join(texts[-2:]), True
                elif isinstance(value, str):
                    texts = [texts[-1], value]
                    yield value, False
        except ValueError:  # the end of what was read, or numbers after the pickle
            return
