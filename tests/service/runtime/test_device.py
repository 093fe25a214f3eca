import json
from pathlib import Path

import pytest

from service.runtime.device import (
    Device,
    DeviceName,
    SessionPlan,
    cuda_options,
    openvino_options,
    padded_sizes,
    plan_session,
    plans_on_gpu,
    tensorrt_options,
)

CACHE = Path("cache")


def plan(name: DeviceName, index: int = 0) -> SessionPlan:
    return plan_session(Device(name, index), largest=12, threads=3, cache=CACHE)


def test_a_cpu_run_has_its_threads_and_pads_nothing() -> None:
    cpu = plan("cpu")
    assert cpu.intra_threads == 3
    assert cpu.providers == (("CPUExecutionProvider", {}),)
    assert cpu.batch_sizes == ()


@pytest.mark.parametrize("name", ["cpu", "openvino", "cuda", "tensorrt"])
def test_no_session_spins_and_every_placement_is_recorded(name: DeviceName) -> None:
    entries = plan(name).entries
    assert entries["session.intra_op.allow_spinning"] == "0"
    assert entries["session.record_ep_graph_assignment_info"] == "1"


def test_a_run_that_has_the_cores_to_itself_spins_until_it_ends() -> None:
    lone = plan_session(Device("cpu"), largest=1, threads=2, cache=CACHE, spin=True).entries
    assert lone["session.intra_op.allow_spinning"] == "1"
    assert lone["session.force_spinning_stop"] == "1", "a thread that spins on takes a core"


def test_cuda_comes_first_and_heavy_work_may_not_leave_it() -> None:
    cuda = plan("cuda", index=1)
    assert [name for name, _ in cuda.providers] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert cuda.providers[0][1]["device_id"] == "1"
    assert cuda.allowed_providers == {"CUDAExecutionProvider"}


def test_tensorrt_may_leave_to_cuda_what_it_lacks() -> None:
    names = [name for name, _ in plan("tensorrt").providers]
    assert names == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert plan("tensorrt").allowed_providers == set(names[:2])


INPUTS = {"image": (224, 224, 3)}


def ways(name: DeviceName, **changes: object) -> tuple[SessionPlan, ...]:
    options: dict[str, object] = {"largest": 12, "cache": CACHE, "inputs": INPUTS, "graphs": True}
    return plans_on_gpu(Device(name, 1), **{**options, **changes})  # type: ignore[arg-type]


def test_cuda_captures_graphs_where_the_network_allows_it() -> None:
    captured, plain = ways("cuda")
    assert captured.graphs
    assert captured.providers[0][1]["enable_cuda_graph"] == "1"
    assert not captured.memory_pattern, "a pattern allocates in the second run"
    assert not plain.graphs
    assert "enable_cuda_graph" not in plain.providers[0][1]
    assert captured.batch_sizes == plain.batch_sizes == (1, 2, 4, 8, 12)


def test_graphs_can_be_switched_off() -> None:
    (only,) = ways("cuda", graphs=False)
    assert not only.graphs


def test_one_tensorrt_engine_serves_every_batch() -> None:
    profiled, plain = ways("tensorrt")
    options = profiled.providers[0][1]
    assert options["trt_profile_min_shapes"] == "image:1x224x224x3"
    assert options["trt_profile_opt_shapes"] == "image:12x224x224x3"
    assert options["trt_profile_max_shapes"] == "image:12x224x224x3"
    assert not profiled.graphs, "the provider keeps one graph, and batches have several sizes"
    assert [name for name, _ in profiled.providers] == [name for name, _ in plain.providers]
    assert "trt_profile_min_shapes" not in plain.providers[0][1]


def test_an_input_of_unknown_shape_gets_no_profile() -> None:
    (only,) = ways("tensorrt", inputs={})
    assert "trt_profile_min_shapes" not in only.providers[0][1]


def test_a_gpu_pads_to_powers_of_two_and_the_largest() -> None:
    assert plan("cuda").batch_sizes == (1, 2, 4, 8, 12)
    assert padded_sizes(1) == (1,)
    assert padded_sizes(8) == (1, 2, 4, 8)


def test_provider_options_are_strings_as_onnx_runtime_wants_them() -> None:
    for options in (
        cuda_options(0),
        tensorrt_options(0, CACHE),
        openvino_options(threads=2, cache=CACHE),
    ):
        assert all(isinstance(value, str) for value in options.values())


def test_engines_are_kept_in_the_cache() -> None:
    assert tensorrt_options(0, CACHE)["trt_engine_cache_path"] == "cache"


def test_openvino_runs_in_full_precision_on_its_threads() -> None:
    config = json.loads(openvino_options(threads=2, cache=CACHE)["load_config"])["CPU"]
    assert config["INFERENCE_PRECISION_HINT"] == "f32"
    assert config["INFERENCE_NUM_THREADS"] == "2"


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
@pytest.mark.parametrize("graphs", [True, False])
def test_a_deterministic_plan_measures_no_algorithm(name: DeviceName, *, graphs: bool) -> None:
    """A search by time may choose another algorithm, with other bits, at each start."""
    for wanted, search in ((False, "EXHAUSTIVE"), (True, "DEFAULT")):
        plans = plans_on_gpu(
            Device(name), largest=1, cache=Path(), inputs={}, graphs=graphs, deterministic=wanted
        )
        for plan in plans:
            assert plan.deterministic is wanted
            assert dict(plan.providers)["CUDAExecutionProvider"]["cudnn_conv_algo_search"] == search
