"""`program:FILE.pt2` and `torchscript:FILE`: networks that PyTorch saved together with their code."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from exporter.errors import GraphError, SourceError
from exporter.file_kind import SAVED, Kind, require_saved
from exporter.library_warnings import ignore_library_warnings
from exporter.network import EVERY_PART, Facts, Network
from exporter.progress import Progress
from exporter.recipe import Pixels, Recipe
from exporter.sources.found_input import say_free_size, stretched_to
from exporter.sources.user_code import reason
from exporter.torch_network import TorchModel, torch_network
from service.card import ImageInput

_IMAGE_AXES = 4

T = TypeVar("T")
Known = tuple[ImageInput | None, Pixels | None]
"""What a file states of its input, and of its pixels color and layout alone; None where it says nothing."""


def load_program(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return the network in a file of `torch.export.save`.

    Raises:
        SourceError: the file is no such program, or its batch is fixed.
        GraphError: it was exported in training mode.
    """
    progress.begin("Read the program")
    path = recipe.locate(where)
    program = _read(path, torch.export.load, *SAVED["program"])
    _refuse_training(program, path.name)
    known = _described(program, recipe, progress)
    return _network(Unpacked(program.module()), program, known, recipe, progress)


def load_torchscript(where: str, recipe: Recipe, progress: Progress) -> Network:
    """Return the network in a file of `torch.jit.save`.

    Raises:
        SourceError: the file is no TorchScript.
    """
    progress.begin("Read the script")
    path = recipe.locate(where)
    module: torch.jit.ScriptModule = _read(path, _load_script, *SAVED["torchscript"])
    return _network(module, module, (None, None), recipe, progress)


def _load_script(path: Path) -> torch.jit.ScriptModule:
    # The warning says that TorchScript is deprecated, which does not help with a file that exists.
    with ignore_library_warnings():
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


def _read(path: Path, load: Callable[[Path], T], kind: Kind, what: str) -> T:
    require_saved(path, kind, what)
    try:
        return load(path)
    # torch raises RuntimeError, the errors of zipfile and pickle, and its own
    except Exception as error:
        raise SourceError(
            f"{path.name} is not {what} that this PyTorch can read: {reason(error)}. Save it again with this version"
        ) from error


def _described(program: torch.export.ExportedProgram, recipe: Recipe, progress: Progress) -> Known:
    """Return the input that a program was exported for; its batch must be free.

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
            f"A network must have one input, a batch of images (N, C, H, W); this one has {shapes}. Export a module "
            "whose forward takes the images alone and passes the rest on"
        )
    layout = recipe.pixels.layout if recipe.pixels is not None else "NCHW"
    batch, *sizes = shapes[0]
    if isinstance(batch, int):
        raise SourceError(
            f"The program was exported for batches of {batch} alone. Export it again: "
            "torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))"
        )
    channels, height, width = sizes if layout == "NCHW" else (sizes[2], *sizes[:2])
    if channels not in {1, 3}:
        advice = "give --layout NHWC" if sizes[2] in {1, 3} else "one or three channels are needed"
        raise SourceError(
            f"The program reads {channels} channels of an input {shapes[0]}: {advice}"
        )
    pixels = Pixels(layout=layout, color="gray" if channels == 1 else "rgb")
    if isinstance(height, int) and isinstance(width, int):
        return ImageInput(height=height, width=width, resize="stretch"), pixels
    fixed = (side if isinstance(side, int) else None for side in (height, width))
    known = stretched_to(recipe, *fixed)
    say_free_size(recipe, known, progress)
    return known, pixels


_TRAINING = {
    torch.ops.aten.batch_norm.default: 5,
    torch.ops.aten.dropout.default: 2,
    torch.ops.aten.feature_dropout.default: 2,
    torch.ops.aten.alpha_dropout.default: 2,
}
"""The place of the argument that says whether an operator trains."""


def _refuse_training(program: torch.export.ExportedProgram, name: str) -> None:
    """Refuse batch norms over the batch's own statistics, and active dropout: a program stays in its mode.

    Weights that are standardized by a batch norm, as in timm, have no batch: the size of their first axis is known.

    Raises:
        GraphError: there is one.
    """
    for node in program.graph.nodes:
        place = _TRAINING.get(node.target)
        if place is None or len(node.args) <= place or node.args[place] is not True:
            continue
        read = node.args[0].meta["val"]
        if not isinstance(read.shape[0], int):
            raise GraphError(
                f"{name}: the program was exported in training mode: {node.name} ({node.target}) depends on the other "
                "images of the batch, or on chance. Call model.eval() before torch.export.export; a batch norm without "
                "running statistics, or functional dropout without training=self.training, must be corrected"
            )


def _network(
    module: nn.Module,
    program: torch.export.ExportedProgram | torch.jit.ScriptModule,
    known: Known,
    recipe: Recipe,
    progress: Progress,
) -> Network:
    kind, _, where = recipe.source.partition(":")
    facts = Facts(title=recipe.name, origin=f"{kind}:{Path(where).name}")
    image_input, pixels = known
    model = TorchModel(
        module,
        facts,
        image_input,
        pixels,
        exportable=program,
        states_values=False,
        silent=EVERY_PART,
    )
    try:
        return torch_network(model, recipe, progress)
    except GraphError as error:
        raise GraphError(f"{Path(where).name}: {error}") from error
