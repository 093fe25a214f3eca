"""The statistics extension: what each version has done, read from the metrics, so that all processes count."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from prometheus_client.registry import Collector
from pydantic_core import to_json

from service.model_statistics import (
    FAILED,
    LAST_RUN,
    REQUEST_SECONDS,
    REQUESTS,
    RUN_SECONDS,
    RUNS,
    STAGE_SECONDS,
    SUCCEEDED,
)

_FAMILIES = frozenset({LAST_RUN, REQUESTS, REQUEST_SECONDS, RUNS, RUN_SECONDS, STAGE_SECONDS})
_STAGES = {"compute_input": "decode", "compute_infer": "infer", "compute_output": "head"}
"""The protocol's names of the stages, and ours."""
Samples = dict[tuple[str, ...], float]


def statistics(collector: Collector, versions: Sequence[tuple[str, str]]) -> bytes:
    """Return the statistics of versions, each a model's name and a version, as JSON."""
    samples: Samples = defaultdict(float)
    sizes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for family in collector.collect():
        if family.name not in _FAMILIES:
            continue
        for sample in family.samples:
            labels = sample.labels
            version = (labels["model"], labels["version"])
            rest = [labels[key] for key in ("outcome", "images", "stage") if key in labels]
            samples[family.name, *version, *rest] = sample.value
            if family.name == RUNS:
                sizes[version].add(labels["images"])
    return to_json(
        {"model_stats": [_version(samples, sorted(sizes[one], key=int), one) for one in versions]}
    )


def _version(samples: Samples, sizes: Sequence[str], version: tuple[str, str]) -> dict[str, Any]:
    def duration(count: float, seconds: float) -> dict[str, int]:
        return {"count": round(count), "ns": round(seconds * 1e9)}

    def of(*key: str) -> float:
        return samples[key[0], *version, *key[1:]]

    succeeded = of(REQUESTS, SUCCEEDED)
    nothing = duration(0, 0)
    return {
        "name": version[0],
        "version": version[1],
        "last_inference": round(of(LAST_RUN) * 1e3),
        "inference_count": round(sum(int(size) * of(RUNS, size) for size in sizes)),
        "execution_count": round(sum(of(RUNS, size) for size in sizes)),
        "inference_stats": {
            "success": duration(succeeded, of(REQUEST_SECONDS, SUCCEEDED)),
            "fail": duration(of(REQUESTS, FAILED), of(REQUEST_SECONDS, FAILED)),
            "queue": duration(succeeded, of(STAGE_SECONDS, "queue")),
            **{
                name: duration(succeeded, of(STAGE_SECONDS, stage))
                for name, stage in _STAGES.items()
            },
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": int(size),
                **{
                    name: duration(of(RUNS, size), of(RUN_SECONDS, size, stage))
                    for name, stage in _STAGES.items()
                },
            }
            for size in sizes
        ],
        "memory_usage": [],
    }
