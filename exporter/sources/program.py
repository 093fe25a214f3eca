"""`program:FILE.pt2` and `torchscript:FILE`: networks that PyTorch saved together with their code."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from exporter.errors import SourceError
from exporter.network import Facts, Network
from exporter.progress import Progress
from exporter.recipe import Recipe
from exporter.torch_network import TorchModel, torch_network
from service.card import ImageInput

_IMAGE_AXES = 4

T = TypeVar("T")


def load_program(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return the network in a file of `torch.export.save`.

    Raises:
        SourceError: the file is no such program, or its batch is fixed.
    """
    progress.begin("Read the program")
    path = recipe.locate(where)
    program = _read(path, torch.export.load, "a program of torch.export")
    return _network(Unpacked(program.module()), program, _frame(program), recipe, progress)


def load_torchscript(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return the network in a file of `torch.jit.save`.

    Raises:
        SourceError: the file is no TorchScript.
    """
    progress.begin("Read the script")
    path = recipe.locate(where)
    module: torch.jit.ScriptModule = _read(path, _load_script, "a TorchScript")
    return _network(module, module, None, recipe, progress)


def _load_script(path: Path) -> torch.jit.ScriptModule:
    script: torch.jit.ScriptModule = torch.jit.load(path, "cpu")  # type: ignore[no-untyped-call]
    return script


class Unpacked(nn.Module):
    """A program's graph module. It does not support `eval()`: it stays in the mode in which it was exported."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self._program = [program]

    def forward(self, pixels: Tensor) -> Tensor:
        output: Tensor = self._program[0](pixels)
        return output


def _read(path: Path, load: Callable[[Path], T], what: str) -> T:
    try:
        return load(path)
    # torch raises RuntimeError, the errors of zipfile and pickle, and its own
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(f"{path} is not {what} that this PyTorch can read: {reason}") from error


def _frame(program: torch.export.ExportedProgram) -> ImageInput:
    """Return the input size that a program was exported for; its batch must be free.

    Raises:
        SourceError: its input is not one batch of images, or its batch is fixed.
    """
    names = program.graph_signature.user_inputs
    entries = [
        node for node in program.graph.nodes if node.op == "placeholder" and node.name in names
    ]
    shapes = [tuple(node.meta["val"].shape) for node in entries]
    if len(shapes) != 1 or len(shapes[0]) != _IMAGE_AXES:
        raise SourceError(
            f"A network must have one input, a batch of images (N, C, H, W); this one has {shapes}"
        )
    batch, _, height, width = shapes[0]
    if isinstance(batch, int):
        raise SourceError(
            f"The program was exported for batches of {batch} alone. Export it again: "
            "torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))"
        )
    return ImageInput(height=int(height), width=int(width), resize="stretch")


def _network(
    module: nn.Module,
    program: torch.export.ExportedProgram | torch.jit.ScriptModule,
    image_input: ImageInput | None,
    recipe: Recipe,
    progress: Progress,
) -> Network:
    facts = Facts(title=recipe.name, origin=recipe.source)
    model = TorchModel(module, facts, image_input, exportable=program)
    return torch_network(model, recipe, progress)
