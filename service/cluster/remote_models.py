"""Servable → a network whose runs wait for the replicas of the model, which end when nobody holds it any more."""

import threading
import time
import weakref
from collections.abc import Callable, Iterable

from service.cluster.arguments import ClusterArguments
from service.cluster.coordinating import FromCoordinator
from service.cluster.replicas import (
    LONGEST_PAUSE_SECONDS,
    Description,
    Refused,
    RemoteNetwork,
    ReplicaLostError,
    Replicas,
)
from service.errors import NotReadyError
from service.runtime.loaded import Loaded
from service.runtime.opening import ADD_SECONDS
from service.runtime.repository import Servable

PATIENCE_SECONDS = 50.0
"""How long a batch may take, with all that its replicas lose: less than the limit of a network's first run, 60 s."""
Identity = tuple[str, int, str]
"""The name, the version and the digest of a graph."""


class RemoteModels:
    """The models that this replica of the ingress uses. A model is held for as long as its network is referenced.

    Args:
        arguments: of the cluster.
        member: the name of this replica.
        coordinator: starts the replicas of models.
        replicas_of: returns the replicas of a model by the name of their application.
        on_let_go: called on any thread when a model is held no more.
        patience_seconds: how long a batch may take.
        start_seconds: how long the first replica of a model may take to load it.
    """

    def __init__(
        self,
        arguments: ClusterArguments,
        member: str,
        coordinator: FromCoordinator,
        replicas_of: Callable[[str], Replicas],
        on_let_go: Callable[[], None],
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        start_seconds: float = ADD_SECONDS,
    ) -> None:
        self._arguments = arguments
        self._member = member
        self._coordinator = coordinator
        self._replicas_of = replicas_of
        self._on_let_go = on_let_go
        self._patience_seconds = patience_seconds
        self._start_seconds = start_seconds
        self._lock = threading.Lock()
        self._placed: dict[Identity, tuple[RemoteNetwork, Replicas]] = {}
        self._held: dict[int, str] = {}

    def held(self) -> list[str]:
        """Return the applications of the models that are held."""
        with self._lock:
            return sorted(set(self._held.values()))

    def place_all(self, servables: Iterable[Servable]) -> None:
        """Let the replicas of all these models start; blocking."""
        for one in servables:
            self._placed[_identity(one)] = self._place(one)

    def open(self, servable: Servable) -> Loaded:
        """Return a model whose batches run in its replicas, once one of them has loaded it; blocking.

        Raises:
            FovealError: what that replica found, or none started in time.
        """
        placed = self._placed.pop(_identity(servable), None)
        network, replicas = self._place(servable) if placed is None else placed
        found = self._describe(servable, replicas)
        if isinstance(found, Refused):
            raise found.error()
        return Loaded(
            (network,) * self._arguments.batches_in_flight(servable.name),
            found.largest,
            found.blank,
            signature=found.signature,
            choice=found.choice,
            identity=found.identity,
        )

    def _place(self, servable: Servable) -> tuple[RemoteNetwork, Replicas]:
        app = self._coordinator.place(self._member, *_identity(servable))
        replicas = self._replicas_of(app)
        network = RemoteNetwork(servable.name, replicas, patience_seconds=self._patience_seconds)
        key = id(network)
        with self._lock:
            self._held[key] = app
        weakref.finalize(network, self._let_go, key).atexit = False
        return network, replicas

    def _let_go(self, key: int) -> None:
        with self._lock:
            del self._held[key]
        self._on_let_go()

    def _describe(self, servable: Servable, replicas: Replicas) -> Description | Refused:
        until = time.perf_counter() + self._start_seconds
        while (left := until - time.perf_counter()) > 0:
            try:
                return replicas.describe(left)
            except TimeoutError:
                break
            except ReplicaLostError:
                time.sleep(LONGEST_PAUSE_SECONDS)
        raise NotReadyError(
            f"No replica of {servable.name} version {servable.version} has loaded it within {self._start_seconds:g} s. "
            "`serve status` says what keeps it from starting."
        )


def _identity(servable: Servable) -> Identity:
    return servable.name, servable.version, servable.card.certificate.graph_sha256
