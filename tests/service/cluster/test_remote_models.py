"""The models that an ingress replica uses, before a coordinator and replicas that are made of values."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.cluster.arguments import ClusterArguments
from service.cluster.remote_models import RemoteModels
from service.cluster.replicas import Description, Refused
from service.errors import NotReadyError, ServableError
from service.runtime.job import Outputs, Tensor
from service.runtime.repository import Servable, scan_repository
from service.runtime.signature import Signature

DESCRIPTION = Description(np.zeros((8, 8, 3), np.uint8), 4, Signature(), None, "graph", "cpu")


class Replicas:
    def __init__(self, description: Description | Refused | Exception) -> None:
        self._description = description

    def describe(self, timeout_seconds: float) -> Description | Refused:
        assert timeout_seconds > 0
        if isinstance(self._description, Exception):
            raise self._description
        return self._description

    def infer(self, batch: Tensor, timeout_seconds: float) -> Outputs | Refused:
        assert timeout_seconds > 0
        return {"logits": batch}


class Places:
    """The only method of a coordinator that is called here."""

    def __init__(self) -> None:
        self.placed: list[tuple[str, int]] = []

    def place(self, member: str, name: str, version: int, digest: str) -> str:
        assert (member, len(digest)) == ("one", 64)
        self.placed.append((name, version))
        return f"app-{name}-{version}"


def models(
    description: Description | Refused | Exception, places: Places, let_go: list[bool]
) -> RemoteModels:
    coordinator: Any = places
    return RemoteModels(
        ClusterArguments(max_replicas=3),
        "one",
        coordinator,
        lambda app: Replicas(description) if app == "app-colors-1" else pytest.fail(app),
        lambda: let_go.append(True),
        start_seconds=0.2,
    )


@pytest.fixture
def servable(repository: Path) -> Servable:
    (found,), _ = scan_repository(repository)
    return found


def test_a_model_is_held_for_as_long_as_its_network_is_referenced(servable: Servable) -> None:
    places, let_go = Places(), list[bool]()
    remote = models(DESCRIPTION, places, let_go)
    remote.place_all([servable])
    loaded = remote.open(servable)
    assert places.placed == [("colors", 1)]
    assert (len(loaded.runs), loaded.largest, remote.held()) == (6, 4, ["app-colors-1"])
    assert loaded.runs[0](DESCRIPTION.blank[None])["logits"].shape == (1, 8, 8, 3)
    del loaded
    gc.collect()
    assert (remote.held(), let_go) == ([], [True])


def test_what_a_replica_refuses_is_refused_here_and_let_go(servable: Servable) -> None:
    places, let_go = Places(), list[bool]()
    remote = models(Refused.of(ServableError("It is another file.")), places, let_go)
    with pytest.raises(ServableError, match="It is another file"):
        remote.open(servable)
    gc.collect()
    assert (remote.held(), let_go) == ([], [True])


def test_replicas_that_never_start_are_an_error_in_time(servable: Servable) -> None:
    remote = models(TimeoutError(), Places(), [])
    with pytest.raises(NotReadyError, match="No replica of colors version 1 has loaded it"):
        remote.open(servable)
