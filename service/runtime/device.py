"""Which options ONNX Runtime gets for a device: session and provider options as pure functions of plain values.

Source: https://onnxruntime.ai/docs/execution-providers and onnxruntime_session_options_config_keys.h.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, assert_never, get_args

DeviceName = Literal["cpu", "openvino", "cuda", "tensorrt"]
DEVICES: tuple[DeviceName, ...] = get_args(DeviceName)
"""The names that the settings take besides `auto`."""
PREFERENCE: tuple[DeviceName, ...] = ("cuda", "cpu")
"""The order in which `auto` tries devices. TensorRT builds engines for minutes, and what OpenVINO gains depends on
processor and network, so these two are used only when the setting names them."""

Arithmetic = Literal["fp32", "tf32", "bf16"]
"""In what products of float32 are computed, where a device offers a choice: OpenVINO and NVIDIA's GPUs."""

Layout = Literal["channels first", "channels last", "channels last, fused bias"]
"""How a GPU computes convolutions: the order of the axes in its memory, and whether the bias is added in the kernel."""
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
NVIDIA_PROVIDERS: Mapping[DeviceName, str] = {
    "cuda": CUDA_PROVIDER,
    "tensorrt": TENSORRT_PROVIDER,
}
"""The execution provider of each device that is an NVIDIA GPU."""
HEAVY_OPERATORS = frozenset(
    {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv", "Gemm", "MatMul"}
)
"""These must run on the chosen device and on no other; shape arithmetic may run elsewhere."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that was tried and works.

    Attributes:
        name: its kind.
        index: which one of its kind.
        detail: what the hardware is called.
        memory_bytes: of a GPU; 0 where it is not known.
    """

    name: DeviceName
    index: int = 0
    detail: str = ""
    memory_bytes: int = 0

    @property
    def is_gpu(self) -> bool:
        return self.name in NVIDIA_PROVIDERS


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """The options that a session is opened with.

    Attributes:
        intra_threads: threads of one run.
        entries: session configuration entries.
        providers: execution providers with their options, the preferred one first; empty where a plug-in is used.
        allowed_providers: where heavy operators may run.
        plugin_options: options of the plug-in.
        batch_sizes: the sizes that batches are padded to, ascending; empty where every size runs as it is.
        memory_pattern: whether a run allocates all its buffers in one piece; else one by one.
        graphs: whether each batch size is captured as a CUDA graph and replayed.
        deterministic: whether only kernels run that give the same bits each time.
        returns_memory: whether the CPU's arena gives back what is free at the end of each run.
    """

    intra_threads: int
    entries: dict[str, str]
    providers: tuple[tuple[str, dict[str, str]], ...]
    allowed_providers: frozenset[str]
    plugin_options: dict[str, str] = field(default_factory=dict)
    batch_sizes: tuple[int, ...] = ()
    memory_pattern: bool = True
    graphs: bool = False
    deterministic: bool = False
    returns_memory: bool = False


COMMON_ENTRIES = {
    # Threads that spin while they wait take cores from threads that work.
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
    "session.set_denormal_as_zero": "1",
    # Records where each node runs, which makes a fallback visible.
    "session.record_ep_graph_assignment_info": "1",
}


EXACT_PRODUCTS = {
    # Multiplies unsigned bytes on x86: slower than unsigned by signed ones, whose sums overflow without VNNI.
    "session.x64quantprecision": "1",
}


SPIN_WHILE_RUNNING = {
    # Between two steps of a run its threads wait for microseconds only; to wake them would take longer.
    "session.intra_op.allow_spinning": "1",
    # After the run they sleep.
    "session.force_spinning_stop": "1",
}


def plan_session(
    device: Device,
    *,
    largest: int,
    threads: int,
    cache: Path,
    spin: bool = False,
    arithmetic: Arithmetic | None = None,
) -> SessionPlan:
    """Return the options for a network on `device`.

    Args:
        device: where it runs.
        largest: images in a batch at most.
        threads: threads of one run on a CPU; each of several runs at once uses as many.
        cache: folder for compiled engines.
        spin: on a CPU, whether the threads of a run spin until it ends; for runs that have all cores.
        arithmetic: see `Arithmetic`; None: the device's own default, float32 for OpenVINO.
    """
    cuda = (CUDA_PROVIDER, cuda_options(device.index, tf32=arithmetic == "tf32"))
    host = (CPU_PROVIDER, dict[str, str]())
    match device.name:
        case "cpu":
            return SessionPlan(
                threads,
                COMMON_ENTRIES
                | {"session.use_env_allocators": "1"}
                | (SPIN_WHILE_RUNNING if spin else {}),
                (host,),
                frozenset({CPU_PROVIDER}),
            )
        case "openvino":
            return SessionPlan(
                threads,
                COMMON_ENTRIES,
                (),
                frozenset(),
                plugin_options=openvino_options(
                    threads=threads, cache=cache, bf16=arithmetic == "bf16"
                ),
            )
        case "cuda":
            allowed = frozenset({CUDA_PROVIDER})
            sizes = padded_sizes(largest)
            return SessionPlan(1, COMMON_ENTRIES, (cuda, host), allowed, batch_sizes=sizes)
        case "tensorrt":
            tensorrt = (TENSORRT_PROVIDER, tensorrt_options(device.index, cache))
            allowed = frozenset({TENSORRT_PROVIDER, CUDA_PROVIDER})
            sizes = padded_sizes(largest)
            return SessionPlan(
                1, COMMON_ENTRIES, (tensorrt, cuda, host), allowed, batch_sizes=sizes
            )
        case unplanned:
            assert_never(unplanned)


def plans_on_gpu(
    device: Device,
    *,
    largest: int,
    cache: Path,
    inputs: Mapping[str, tuple[int, ...]],
    graphs: bool,
    deterministic: bool = False,
    arithmetic: Arithmetic | None = None,
    layout: Layout = "channels first",
) -> tuple[SessionPlan, ...]:
    """Return the plans to open a network on a GPU, the best first: not every network allows each.

    CUDA can not capture a network of which a part runs elsewhere. TensorRT accepts a profile only where the inputs of
    its part are the inputs of the network.

    Args:
        device: `cuda` or `tensorrt`.
        largest: images in a batch at most.
        cache: folder for compiled engines.
        inputs: the shape of each input without the batch axis; empty where it is unknown.
        graphs: whether CUDA graphs may be captured.
        deterministic: whether the same kernels run at each start, which give the same bits each time.
        arithmetic: see `plan_session`.
        layout: how convolutions are computed.
    """
    plain = plan_session(device, largest=largest, threads=1, cache=cache, arithmetic=arithmetic)
    plain = laid_out(plain, layout)
    if deterministic:
        plain = with_cuda(replace(plain, deterministic=True), DETERMINISTIC_CUDA)
    (name, options), *others = plain.providers
    if device.name == "tensorrt":
        if not inputs:
            return (plain,)
        profiled = options | tensorrt_profile(inputs, largest)
        return replace(plain, providers=((name, profiled), *others)), plain
    if not graphs:
        return (plain,)
    captured = replace(
        plain,
        providers=((name, options | CUDA_GRAPHS), *others),
        memory_pattern=False,  # the second run allocates a pattern, which a capture does not allow
        graphs=True,
    )
    return captured, plain


def laid_out(plan: SessionPlan, layout: Layout) -> SessionPlan:
    """Return the plan with another layout of convolutions."""
    return with_cuda(plan, LAYOUT_OPTIONS[layout])


def with_cuda(plan: SessionPlan, more: Mapping[str, str]) -> SessionPlan:
    """Return the plan with more options of the CUDA provider."""
    providers = tuple(
        (name, {**options, **more} if name == CUDA_PROVIDER else options)
        for name, options in plan.providers
    )
    return replace(plan, providers=providers)


def padded_sizes(largest: int) -> tuple[int, ...]:
    """Return the batch sizes to warm and to pad to: powers of two up to `largest`, and `largest`."""
    powers = [1 << exponent for exponent in range(largest.bit_length()) if 1 << exponent < largest]
    return (*powers, largest)


def affordable_sizes(sizes: tuple[int, ...], each: int, room: int) -> tuple[int, ...]:
    """Return as many of the batch sizes as there is room for on a GPU, ascending: the largest always.

    Args:
        sizes: powers of two, and the largest.
        each: bytes that a size takes.
        room: bytes.
    """
    sparser = (sizes, tuple(sorted({*sizes[::-2], sizes[0]})), (sizes[0], sizes[-1]))
    for some in sparser:
        if len(some) * each <= room:
            return some
    return sizes[-1:]


def cuda_options(index: int, *, tf32: bool = False) -> dict[str, str]:
    """Return the CUDA provider's options for batches of a few warmed sizes."""
    return {
        "device_id": str(index),
        # Allocates what is needed; the default doubles, and wastes up to half (onnxruntime issue 11627).
        "arena_extend_strategy": "kSameAsRequested",
        # cuDNN's heuristics of mode B; those of mode A (`HEURISTIC`) took 10 % longer for U²-Net-p on an H200.
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "do_copy_in_default_stream": "1",
        # Without it CUDA rounds the factors of products to ten bits, and answers differ from those that were proved.
        "use_tf32": "1" if tf32 else "0",
    }


DETERMINISTIC_CUDA = {
    # cuDNN's fallback kernels: heuristics may choose others for another size.
    "cudnn_conv_algo_search": "DEFAULT",
}

LAYOUT_OPTIONS: Mapping[Layout, Mapping[str, str]] = {
    "channels first": {},
    "channels last": {"prefer_nhwc": "1"},
    "channels last, fused bias": {"prefer_nhwc": "1", "fuse_conv_bias": "1"},
}
"""The CUDA provider's options for each layout."""

CUDA_GRAPHS = {"enable_cuda_graph": "1"}
"""ONNX Runtime keeps one graph for each session, thread and `gpu_graph_id`. Source: the documentation of its CUDA
provider, section "CUDA Graph"."""
GRAPH_ID = "gpu_graph_id"
NO_GRAPH = -1
RUNS_TO_CAPTURE = 3
"""Two ordinary runs allocate all buffers in the arena, since a capture must allocate nothing; the third is captured."""


def tensorrt_profile(inputs: Mapping[str, tuple[int, ...]], largest: int) -> dict[str, str]:
    """Return the options that let one engine serve batches of 1 to `largest`, tuned for the largest.

    Without them TensorRT builds its engine again, for minutes, whenever a batch is larger or smaller than all before.
    """

    def shapes(batch: int) -> str:
        return ",".join(
            f"{name}:{'x'.join(map(str, (batch, *shape)))}" for name, shape in inputs.items()
        )

    return {
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(largest),
        "trt_profile_max_shapes": shapes(largest),
    }


def tensorrt_options(index: int, cache: Path) -> dict[str, str]:
    """Return the TensorRT provider's options; it keeps engines and timings in `cache`."""
    return {
        "device_id": str(index),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
    }


def openvino_options(*, threads: int, cache: Path, bf16: bool = False) -> dict[str, str]:
    """Return the OpenVINO plug-in's options: float32 unless `bf16`, and one stream for each thread."""
    cpu = {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": str(threads),
        "CACHE_DIR": str(cache),
    }
    return {"load_config": json.dumps({"CPU": cpu})}
