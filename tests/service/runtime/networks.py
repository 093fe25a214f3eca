"""Networks that a test holds and breaks, and what loads them."""

import asyncio
import gc
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from service.card import Card
from service.errors import ServableError
from service.runtime.job import Outputs, Tensor
from service.runtime.loaded import Loaded
from service.runtime.repository import Servable
from tests.servables import color_card


def servable(name: str = "colors", version: int = 1, **card: object) -> Servable:
    changed: Card = color_card().model_copy(update=card)
    return Servable(name, version, Path(name), changed)


class Network:
    """Answers with its own version; may be held in a run, and may be broken."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.broken = False
        self.endless = False
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch: Tensor) -> Outputs:
        self.entered.release()
        assert self.gate.wait(10)
        if self.broken:
            raise RuntimeError("broken")
        return {"version": np.full((len(batch), 1), np.inf if self.endless else self.version)}

    async def has_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=10)


@dataclass
class Loader:
    """Makes a network of each servable, and may be held.

    A version in `refuses` can not be loaded; one in `breaks` does not answer; one in `endless` answers with what is not
    finite; one in `holds` is held in its first run.
    """

    loaded: list[tuple[str, int]] = field(default_factory=list)
    networks: "weakref.WeakValueDictionary[tuple[str, int], Network]" = field(
        default_factory=weakref.WeakValueDictionary
    )
    refuses: set[int] = field(default_factory=set)
    breaks: set[int] = field(default_factory=set)
    endless: set[int] = field(default_factory=set)
    holds: set[int] = field(default_factory=set)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    gate: threading.Event = field(default_factory=threading.Event)
    alive_at_release: list[list[tuple[str, int]]] = field(default_factory=list)
    freed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __call__(self, one: Servable) -> Loaded:
        self.loaded.append((one.name, one.version))
        self.entered.release()
        assert self.gate.wait(10)
        if one.version in self.refuses:
            raise ServableError("no room on the device")
        network = self.networks[one.name, one.version] = Network(one.version)
        weakref.finalize(network, self.freed.release)
        network.broken = one.version in self.breaks
        network.endless = one.version in self.endless
        if one.version in self.holds:
            network.gate.clear()
        return Loaded((network,), 4, np.zeros(1, np.uint8))

    def note_release(self) -> None:
        """Note which networks were alive when memory was released."""
        self.alive_at_release.append(sorted(self.networks))

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=10)

    async def has_freed_a_network(self) -> None:
        """Return once nothing holds one of the networks any more."""
        gc.collect()
        assert await asyncio.to_thread(self.freed.acquire, timeout=10)
