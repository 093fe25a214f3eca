"""What the protocol says of the server and of a model."""

from typing import Any

from service.api.dialects.v2.datatypes import datatype_of, dtype_of
from service.api.dialects.v2.described import Described
from service.api.dialects.v2.ultralytics import (
    UltralyticsView,
    client_metadata,
    view_metadata,
)
from service.engine import Engine
from service.runtime.fleet import NO_PLAN, Latest, ModelPlan
from service.runtime.model import Model
from service.runtime.signature import TensorInfo

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "schedule_policy",
    "statistics",
)
PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
JsonObject = dict[str, Any]


def server_metadata(version: str, *, admin: bool) -> JsonObject:
    """Return what the server is; models can be loaded and unloaded where `admin` is true."""
    extensions = sorted((*EXTENSIONS, *(["model_repository"] if admin else ())))
    return {"name": "foveal", "version": version, "extensions": extensions}


def model_metadata(model: Model, engine: Engine, view: UltralyticsView | None = None) -> JsonObject:
    """Return the names, types and shapes of a model's tensors; the first axis is the batch."""
    described: Described = view or model
    ready = [one for one in engine.registry.versions(model.name) if one.can_answer]
    return {
        "name": described.name,
        "versions": [str(one.version) for one in ready],
        "platform": PLATFORM,
        "inputs": [_described(one) for one in _known(described.signature.inputs)],
        "outputs": [_described(one) for one in _known(described.signature.outputs)],
    }


def model_config(
    model: Model, engine: Engine, most_rows: int, view: UltralyticsView | None = None
) -> JsonObject:
    """Return how a model is served, in the fields of Triton's ModelConfig that are true here."""
    described: Described = view or model
    batches = model.signature.inputs[0].shape[0] is None
    metadata = client_metadata(model.card) if view is None else view_metadata(model.card)
    device = engine.registry.device
    group: JsonObject = {
        "name": f"{model.name}_0",
        "kind": "KIND_GPU" if device.is_gpu else "KIND_CPU",
        "count": model.queue.instances if model.queue else 1,
        "gpus": [device.index] if device.is_gpu else [],
    }
    delay = engine.registry.batching.max_delay_seconds
    return {
        "name": described.name,
        "platform": PLATFORM,
        "backend": BACKEND,
        "version_policy": _version_policy(engine.registry.wanted.plans.get(model.name, NO_PLAN)),
        "max_batch_size": most_rows if batches else 0,
        "input": [_configured(one, batches=batches) for one in _known(described.signature.inputs)],
        "output": [
            _configured(one, batches=batches) for one in _known(described.signature.outputs)
        ],
        "instance_group": [group],
        "dynamic_batching": {
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": round(delay * 1e6),
            "priority_levels": 2,
            "default_priority_level": 1,
        },
        "response_cache": {"enable": False},
        "model_transaction_policy": {"decoupled": False},
        "parameters": {"metadata": {"string_value": repr(metadata)}},
    }


def _version_policy(plan: ModelPlan) -> JsonObject:
    if isinstance(plan.versions, Latest):
        return {"latest": {"num_versions": plan.versions.count}}
    return {"all": {}} if plan.versions == "all" else {"specific": {"versions": plan.versions}}


def _known(tensors: tuple[TensorInfo, ...]) -> list[TensorInfo]:
    return [one for one in tensors if dtype_of(one) is not None]


def _datatype(tensor: TensorInfo) -> str:
    dtype = dtype_of(tensor)
    assert dtype is not None
    return datatype_of(dtype)


def _axes(axes: tuple[int | None, ...]) -> list[int]:
    return [-1 if axis is None else axis for axis in axes]


def _described(tensor: TensorInfo) -> JsonObject:
    return {
        "name": tensor.name,
        "datatype": _datatype(tensor),
        "shape": _axes(tensor.shape),
    }


def _configured(tensor: TensorInfo, *, batches: bool) -> JsonObject:
    return {
        "name": tensor.name,
        "data_type": f"TYPE_{_datatype(tensor)}",
        "dims": _axes(tensor.shape[1:] if batches else tensor.shape),
    }
