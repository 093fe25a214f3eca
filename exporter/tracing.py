"""A PyTorch module → a raw ONNX graph over pixel values, and the module itself as the reference."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from exporter.errors import GraphError
from exporter.graph import BATCH, OPSET, Graph
from exporter.network import Array, Outputs
from exporter.quiet import quietly
from exporter.recipe import Pixels
from exporter.transforms import pixel_values
from service.card import ImageInput

PIXELS = "pixels"

Exportable = torch.export.ExportedProgram | torch.jit.ScriptModule


@dataclass(frozen=True, slots=True)
class TorchReference:
    """A module in evaluation mode on the CPU, in float32.

    `of_image` is the framework's own way from encoded bytes to pixel values.
    """

    name: str
    module: nn.Module
    pixels: Pixels
    of_image: Callable[[bytes], NDArray[np.float32]]
    answer: Callable[[bytes], Outputs] | None = None

    def pixels_of_image(self, body: bytes) -> NDArray[np.float32]:
        return self.of_image(body)

    def pixels_of_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pixel_values(frames, self.pixels)

    def run(self, pixels: NDArray[np.float32]) -> tuple[Array, ...]:
        with torch.inference_mode():
            return tuple(
                tensor.numpy() for tensor in as_tuple(self.module(torch.from_numpy(pixels)))
            )

    def own_answer(self, body: bytes) -> Outputs | None:
        return None if self.answer is None else self.answer(body)

    def layers(self, pixels: NDArray[np.float32]) -> Iterator[tuple[str, Array]]:
        seen: list[tuple[str, Array]] = []
        hooks = [
            module.register_forward_hook(_note_into(seen, name))
            for name, module in self.module.named_modules()
            if name
        ]
        try:
            self.run(pixels)
        finally:
            for hook in hooks:
                hook.remove()
        yield from seen


@dataclass(frozen=True, slots=True)
class Traced:
    """A raw graph, its outputs, and their dimensions for a batch of one."""

    graph: Graph
    outputs: tuple[str, ...]
    dims: tuple[tuple[int, ...], ...]


def trace(
    module: nn.Module,
    image_input: ImageInput,
    pixels: Pixels,
    exportable: Exportable | None = None,
    max_batch: int | None = None,
) -> Traced:
    """Return the module's graph over pixel values, its batch axis free unless `max_batch` is 1.

    Raises:
        GraphError: the module's forward can not be captured; the message holds PyTorch's reason.
    """
    example = torch.zeros(2 if max_batch is None else 1, *pixel_shape(image_input, pixels))
    try:
        with torch.inference_mode():
            dims = tuple((1, *tensor.shape[1:]) for tensor in as_tuple(module(example)))
    except RuntimeError as error:
        raise GraphError(
            f"The network does not run on {tuple(example.shape)}: {_reason(error)}. "
            "Are --height, --width and --layout right?"
        ) from error
    raw = tuple(f"raw_{index}" for index in range(len(dims)))
    try:
        with quietly():
            if isinstance(exportable, torch.jit.ScriptModule):
                proto = _captured_script(exportable, example, raw)
            else:
                proto = _captured(exportable or module, example, raw, free=max_batch is None)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise GraphError(f"PyTorch can not capture this network: {_reason(error)}") from error
    return Traced(Graph(proto), raw, dims)


def capture(module: nn.Module, example: Tensor, raw: tuple[str, ...]) -> onnx.ModelProto:
    """Return a module's graph, whose input is called PIXELS whatever it is, with a free batch axis.

    Raises:
        GraphError: the module's forward can not be captured; the message holds PyTorch's reason.
    """
    try:
        with quietly():
            return _captured(module, example, raw, free=True)
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise GraphError(f"PyTorch can not capture this network: {_reason(error)}") from error


def _captured(
    network: nn.Module | torch.export.ExportedProgram,
    example: Tensor,
    raw: tuple[str, ...],
    *,
    free: bool,
) -> onnx.ModelProto:
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[PIXELS],
        output_names=raw,
        dynamic_shapes=({0: BATCH},) if free else None,
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _captured_script(
    script: torch.jit.ScriptModule, example: Tensor, raw: tuple[str, ...]
) -> onnx.ModelProto:
    """Use PyTorch's older exporter, which alone reads TorchScript."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "raw.onnx"
        torch.onnx.export(
            script,
            (example,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=[PIXELS],
            output_names=list(raw),
            dynamic_axes={PIXELS: {0: BATCH}},
        )
        return onnx.load(path)


def pixel_shape(image_input: ImageInput, pixels: Pixels) -> tuple[int, int, int]:
    """Return the shape of one image's pixel values."""
    if pixels.layout == "NCHW":
        return (pixels.channels, image_input.height, image_input.width)
    return (image_input.height, image_input.width, pixels.channels)


def as_tuple(
    output: Tensor | tuple[Tensor, ...] | list[Tensor] | dict[str, Tensor],
) -> tuple[Tensor, ...]:
    """Return a module's outputs in order, however it packs them."""
    if isinstance(output, Tensor):
        return (output,)
    return tuple(output.values()) if isinstance(output, dict) else tuple(output)


def torch_name() -> str:
    """Return the framework's name for a certificate."""
    return f"PyTorch {torch.__version__} on the CPU"


def _note_into(
    seen: list[tuple[str, Array]], name: str
) -> Callable[[nn.Module, object, object], None]:
    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            seen.append((name, output.detach().numpy().copy()))

    return note


def _reason(error: BaseException) -> str:
    """Return the first line of the innermost cause: the exporter wraps it in pages."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
