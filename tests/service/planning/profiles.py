"""A measurement that no machine made, with plain figures."""

from datetime import date
from typing import Any

from service.planning.profile import BatchTime, Machine, Profile


def make_profile(**changes: Any) -> Profile:
    """Return a process that takes 10 ms for each request, one at a time."""
    fields: dict[str, Any] = {
        "taken": date(2026, 1, 2),
        "machine": Machine(processor="Abacus 3", cores=1, device="cpu", detail=""),
        "model": "colors",
        "version": 1,
        "graph_sha256": "0" * 64,
        "macs": 1_000_000,
        "image": "640×480 JPEG",
        "image_bytes": 50_000,
        "workers": 1,
        "instances": 1,
        "decoders": 0,
        "batches": (BatchTime(size=1, seconds=0.010),),
        "decode": 0.0,
        "head": 0.0,
        "http": 0.0,
        "crowded": 1.0,
        "factors": (1.0,),
        "lone_factors": (1.0,),
        "full_load": 100.0,
        "efficiency": 1.0,
        "memory_bytes": 2**28,
    }
    return Profile.model_validate(fields | changes)
