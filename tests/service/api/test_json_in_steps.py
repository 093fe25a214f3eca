"""Lists that are encoded in steps: the same JSON, and time for others between the steps."""

import asyncio
import json
from collections.abc import Iterator
from itertools import pairwise

import pytest
from pydantic import BaseModel

from service.api.json_in_steps import STEP, json_in_steps

pytestmark = pytest.mark.anyio


class Value(BaseModel):
    number: int
    name: str = "ä"


@pytest.mark.parametrize("count", [0, 1, STEP, 3 * STEP + 1])
async def test_it_is_the_json_of_the_list(count: int) -> None:
    text = await json_in_steps(Value(number=number) for number in range(count))
    assert json.loads(text) == [{"number": number, "name": "ä"} for number in range(count)]


async def test_others_are_served_between_the_steps() -> None:
    begun: list[int] = []
    served: list[int] = []

    def values() -> Iterator[Value]:
        for number in range(10 * STEP):
            begun.append(number)
            yield Value(number=number)

    async def serve() -> None:
        while len(begun) < 10 * STEP:
            served.append(len(begun))
            await asyncio.sleep(0)

    await asyncio.gather(json_in_steps(values()), serve())
    assert len(served) >= 9
    assert all(later - earlier <= STEP for earlier, later in pairwise(served))
