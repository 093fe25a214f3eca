"""Long lists as JSON, encoded a few values at a time, so that the event loop serves others between them."""

import asyncio
from collections.abc import Iterable

from pydantic_core import to_json

STEP = 8
"""Values that are encoded at once. The card of a model with a thousand labels takes a tenth of a millisecond."""


async def json_in_steps(values: Iterable[object]) -> bytes:
    """Return a JSON list of values that pydantic can encode."""
    encoded = []
    for index, value in enumerate(values, 1):
        encoded.append(to_json(value))
        if index % STEP == 0:
            await asyncio.sleep(0)
    return b"[" + b",".join(encoded) + b"]"
