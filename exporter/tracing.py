"""A PyTorch module → a raw ONNX graph over pixel values, and the module itself as the reference."""

import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn

from exporter.batch_length import free_lengths
from exporter.capture_errors import capture_error, quiet, reason
from exporter.errors import GraphError
from exporter.graph import BATCH, OPSET, Graph
from exporter.network import Array, Outputs
from exporter.recipe import Pixels
from exporter.torch_operators import all_true
from exporter.torch_outputs import named_tensors
from exporter.transforms import pixel_values
from service.card import ImageInput

PIXELS = "pixels"

TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten._is_all_true.default: all_true,  # noqa: SLF001 - an operator's own name
}
"""Operators of PyTorch that its exporter does not know: the checks of `torch._check_tensor_all` end in this one."""
_MISSING = re.compile(
    r"forward\(\) (?:missing \d+ required (?:positional|keyword-only) arguments?: (.+)"
    r"|is missing value for argument '?(\w+))"
)
"""What Python and TorchScript say of a forward that takes more than the images."""

_GPU = re.compile(r"NVIDIA|CUDA|cuda")
"""In what PyTorch says where code moves values to a GPU that is not there, or mixes them with others."""

_CHANNELS = re.compile(
    r"(?:expected input\[[\d, ]+\] to have |set in the configuration\. Expected )(\d+)(?: channels,)? but got [13]\b"
)
"""What PyTorch and Transformers say of images that have fewer channels than the first convolution reads."""

Exportable = torch.export.ExportedProgram | torch.jit.ScriptModule


@dataclass(frozen=True, slots=True)
class TorchReference:
    """A module in evaluation mode on the CPU, in float32.

    `transform` is the framework's own path from encoded bytes to pixel values, `postprocessed` its own path from
    encoded bytes to the task's outputs, where it has one. `part` is the batch at which the module runs, None for any.
    """

    name: str
    module: nn.Module
    pixels: Pixels
    transform: Callable[[bytes], NDArray[np.float32]]
    postprocessed: Callable[[bytes], Outputs] | None = None
    part: int | None = None

    def pixels_of_image(self, body: bytes) -> NDArray[np.float32]:
        return self.transform(body)

    def pixels_of_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pixel_values(frames, self.pixels)

    def run(self, pixels: NDArray[np.float32]) -> tuple[Array, ...]:
        size = self.part or len(pixels)
        parts = [
            run_module(self.module, pixels[index : index + size])
            for index in range(0, len(pixels), size)
        ]
        return tuple(np.concatenate(same) for same in zip(*parts, strict=True))

    def own_outputs(self, body: bytes) -> Outputs | None:
        return None if self.postprocessed is None else self.postprocessed(body)

    def layers(self, pixels: NDArray[np.float32]) -> Iterator[tuple[str, Array]]:
        return layer_outputs(self.module, pixels[: self.part])


@dataclass(frozen=True, slots=True)
class Traced:
    """A raw graph, the names of its outputs, and their dimensions for a batch of one."""

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
    """Return the module's graph over pixel values; its batch axis is free unless `max_batch` is given.

    Raises:
        GraphError: the module does not run or can not be captured; the message has PyTorch's reason. Or it computes in
            bfloat16 or double.
    """
    example = torch.zeros(2 if max_batch is None else 1, *pixels.shape(image_input))
    dims = tuple((1, *tensor.shape[1:]) for tensor in as_tuple(first_run(module, example)))
    raw = tuple(f"raw_{index}" for index in range(len(dims)))
    graph = Graph(capture(exportable or module, example, raw, free=max_batch is None))
    _refuse_types(graph)
    return Traced(graph, tuple(_in_float32(graph, name) for name in raw), dims)


def _refuse_types(graph: Graph) -> None:
    """Refuse layers in numbers that ONNX Runtime does not multiply on a CPU; a cast of such weights it can run."""
    for node in graph.nodes:
        kinds = {graph.constants[name].data_type for name in node.input if name in graph.constants}
        is_double = TensorProto.DOUBLE in kinds and node.op_type in {"Conv", "ConvTranspose"}
        if is_double or (TensorProto.BFLOAT16 in kinds and node.op_type != "Cast"):
            raise GraphError(
                f"The network computes in {'double' if is_double else 'bfloat16'} ({node.op_type}), which ONNX Runtime "
                "can not on a CPU. Let it compute in float32: model.float(), and no casts of its input in forward"
            )


def _in_float32(graph: Graph, output: str) -> str:
    """Return an output in float32, where it is a float of another length."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.proto.output}
    if kinds.get(output) not in {TensorProto.FLOAT16, TensorProto.DOUBLE}:
        return output
    return graph.add("Cast", [output], to=TensorProto.FLOAT)


def first_run(module: nn.Module, example: Tensor) -> object:
    """Return what a module returns for an example.

    Raises:
        GraphError: it does not run; the message has its own words.
    """
    try:
        with torch.inference_mode():
            output: object = module(example)
    # The network's own code may raise anything, and often says what is wrong.
    except Exception as error:
        if (missing := _MISSING.search(str(error))) is not None:
            raise GraphError(
                f"The network needs more than the image: {missing[1] or missing[2]}. A request gives a network one "
                "image. Wrap it in a module whose forward takes the images alone and passes the rest on, and export "
                "that with python:package.module:callable"
            ) from error
        channels = _CHANNELS.search(str(error))
        if channels is not None and channels[1] not in {"1", "3"}:
            raise GraphError(
                f"The network reads {channels[1]} channels, and images have one (gray) or three: it can not be served. "
                "For more values of a pixel, wrap it in a module that makes them of three, and export that with "
                "python:package.module:callable"
            ) from error
        advice = "Are --height, --width, --layout and --color right?"
        if _GPU.search(str(error)) is not None:
            advice = (
                "An export runs on the CPU: remove what moves values to a GPU from its code, as .cuda() or "
                ".to('cuda') in forward, or take the device of the input, x.device"
            )
        raise GraphError(
            f"The network does not run on {tuple(example.shape)}: {reason(error).rstrip('.')}. {advice}"
        ) from error
    return output


def capture(
    network: nn.Module | Exportable, example: Tensor, raw: tuple[str, ...], *, free: bool = True
) -> onnx.ModelProto:
    """Return a network's graph, with an input named PIXELS and outputs of these names.

    Args:
        network: a module, or what PyTorch saved with its code.
        example: an input to run it on.
        raw: the outputs' names.
        free: whether the batch axis is free; a TorchScript's always is.

    Raises:
        GraphError: the network can not be captured; the message has PyTorch's reason.
    """
    if isinstance(network, torch.jit.ScriptModule):
        return _attempted(lambda: _captured_script(network, example, raw), is_script=True)
    try:
        return _attempted(lambda: _captured(network, example, raw, free=free), is_script=False)
    except GraphError as error:
        if not isinstance(network, nn.Module):
            raise
        return _traced_instead(network, example, raw, error)


def _attempted(capture: Callable[[], onnx.ModelProto], *, is_script: bool) -> onnx.ModelProto:
    try:
        with quiet():
            return capture()
    # PyTorch's exporters, and the network's code under them, raise anything.
    except Exception as error:
        raise capture_error(error, is_script=is_script) from error


def _traced_instead(
    module: nn.Module, example: Tensor, raw: tuple[str, ...], first: GraphError
) -> onnx.ModelProto:
    """Record one run of a module whose code can not be captured; the proof shows whether other images go the same way.

    Raises:
        GraphError: the run depends on the values of the image; the message has the reason of the first attempt.
    """
    other = torch.rand(example.shape[0] + 1, *example.shape[1:])
    try:
        with quiet():
            script = torch.jit.trace(  # type: ignore[no-untyped-call]
                module, example, check_inputs=[(torch.ones_like(example),), (other,)]
            )
            return _captured_script(script, example, raw)
    except Exception as error:
        raise first from error


def run_module(module: nn.Module, values: Array) -> tuple[Array, ...]:
    """Return a module's outputs for a batch of float32 values."""
    with torch.inference_mode():
        return tuple(_numbers(tensor) for tensor in as_tuple(module(torch.from_numpy(values))))


def _numbers(tensor: Tensor) -> Array:
    """Return a tensor's values, floats of any length as float32."""
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def layer_outputs(module: nn.Module, values: Array) -> Iterator[tuple[str, Array]]:
    """Run a module on a batch and yield the name and the output of each layer, in the order in which they ran."""
    recorded: list[tuple[str, Array]] = []
    hooks = [
        part.register_forward_hook(_record_into(recorded, name))
        for name, part in module.named_modules()
        if name
    ]
    try:
        run_module(module, values)
    finally:
        for hook in hooks:
            hook.remove()
    yield from recorded


def as_tuple(output: object) -> tuple[Tensor, ...]:
    """Return the tensors in a module's output in order, whatever container it returns them in."""
    return tuple(tensor for _, tensor in named_tensors(output))


def torch_name() -> str:
    """Return the framework's name and version for a certificate."""
    return f"PyTorch {torch.__version__} on the CPU"


def _captured(
    network: nn.Module | torch.export.ExportedProgram,
    example: Tensor,
    raw: tuple[str, ...],
    *,
    free: bool,
) -> onnx.ModelProto:
    lengths = free_lengths(network) if free and isinstance(network, nn.Module) else nullcontext()
    with lengths:
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[PIXELS],
            output_names=raw,
            dynamic_shapes=({0: BATCH},) if free else None,
            verbose=False,
            custom_translation_table=TRANSLATIONS,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _captured_script(
    script: torch.jit.ScriptModule, example: Tensor, raw: tuple[str, ...]
) -> onnx.ModelProto:
    """Use PyTorch's older exporter, the only one that reads TorchScript."""
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


def _record_into(
    recorded: list[tuple[str, Array]], name: str
) -> Callable[[nn.Module, object, object], None]:
    def record(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            recorded.append((name, output.detach().numpy().copy()))

    return record
