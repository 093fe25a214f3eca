"""Which fields a manifest may have, by the schemas of Kubernetes and of those who define the other kinds.

- Kubernetes' own kinds: kubernetes-validate, strict.
- KEDA and the Prometheus operator: models that cloudcoil makes from their CRDs. They ignore unknown fields, so what a
  model leaves out of a manifest is one.
- KServe publishes its CRDs in no package. The fields below are those of its API reference that our manifests use; the
  fields of a pod are held against Kubernetes' own schema.
"""

import json
from typing import Any

import jsonschema_rs
import kubernetes_validate
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor
from pydantic import ValidationError

VERSIONS = ("1.29", "1.37")
"""The oldest and the newest release of Kubernetes that docs/kubernetes.md names."""

MODELS: dict[tuple[str, str], Any] = {
    ("keda.sh/v1alpha1", "ScaledObject"): ScaledObject,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): ServiceMonitor,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PrometheusRule,
}
TRIGGERS = {
    "prometheus": {
        "serverAddress",
        "query",
        "threshold",
        "activationThreshold",
        "namespace",
        "customHeaders",
        "ignoreNullValues",
        "queryParameters",
        "unsafeSsl",
        "timeout",
    },
    "cpu": {"value", "containerName"},
}
"""What KEDA's documentation names for the scalers that we use; its CRD allows any text."""


def _closed(*required: str, **properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_ANY = {"type": "array", "items": {"type": "object"}}
KSERVE: dict[tuple[str, str], dict[str, object]] = {
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): _closed(
        "containers",
        annotations=_TEXTS,
        supportedModelFormats={
            "type": "array",
            "minItems": 1,
            "items": _closed(
                "name", name=_TEXT, version=_TEXT, autoSelect={"type": "boolean"}, priority=_COUNT
            ),
        },
        protocolVersions={"type": "array", "items": {"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}},
        containers=_ANY,
        volumes=_ANY,
    ),
    ("serving.kserve.io/v1beta1", "InferenceService"): _closed(
        "predictor",
        predictor=_closed(
            "model",
            enableServiceLinks={"type": "boolean"},
            shareProcessNamespace={"type": "boolean"},
            terminationGracePeriodSeconds=_COUNT,
            minReplicas=_COUNT,
            maxReplicas=_COUNT,
            model=_closed(
                "modelFormat",
                modelFormat=_closed("name", name=_TEXT, version=_TEXT),
                protocolVersion={"enum": ["v1", "v2"]},
                runtime=_TEXT,
                storageUri={"type": "string", "pattern": "^(pvc|s3|gs|https|hf|oci)://"},
            ),
        ),
    ),
}


def faults(manifest: dict[str, Any]) -> list[str]:
    """Return what is wrong with a manifest, empty when all is well."""
    kind = (manifest["apiVersion"], manifest["kind"])
    if kind in MODELS:
        return [*_of_model(manifest, MODELS[kind]), *_of_triggers(manifest)]
    if kind in KSERVE:
        return _of_kserve(manifest, KSERVE[kind])
    return _of_kubernetes(manifest)


def _of_kubernetes(manifest: dict[str, Any]) -> list[str]:
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except (
            kubernetes_validate.ValidationError,
            kubernetes_validate.InvalidSchemaError,
        ) as error:
            found.append(f"{version}: {error}")
    return found


def _of_model(manifest: dict[str, Any], model: Any) -> list[str]:
    try:
        read = model.model_validate_json(json.dumps(manifest), strict=True)
    except ValidationError as error:
        return [str(error)]
    known = json.loads(read.model_dump_json(by_alias=True, exclude_unset=True))
    return list(_unknown(manifest, known, ""))


def _unknown(given: Any, known: Any, where: str) -> list[str]:
    if isinstance(given, dict) and isinstance(known, dict):
        return [
            fault
            for name, value in given.items()
            for fault in (
                _unknown(value, known[name], f"{where}.{name}")
                if name in known
                else [f"{where}.{name} is not a field"]
            )
        ]
    if isinstance(given, list) and isinstance(known, list):
        pairs = enumerate(zip(given, known, strict=True))
        return [f for index, pair in pairs for f in _unknown(*pair, f"{where}.{index}")]
    return []


def _of_triggers(manifest: dict[str, Any]) -> list[str]:
    return [
        f"{trigger['type']} has no parameter {name}"
        for trigger in manifest["spec"].get("triggers", ())
        for name in trigger["metadata"].keys() - TRIGGERS[trigger["type"]]
    ]


def _of_kserve(manifest: dict[str, Any], schema: dict[str, object]) -> list[str]:
    spec = manifest["spec"]
    found = [
        f"{error.instance_path}: {error.message}"
        for error in jsonschema_rs.validator_for(schema).iter_errors(spec)
    ]
    if "containers" in spec:
        pod = {name: spec[name] for name in ("containers", "volumes") if name in spec}
        found += _of_kubernetes(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": manifest["metadata"],
                "spec": pod,
            }
        )
    return found
