"""A client's share of a queue."""

import pytest
from starlette.types import Scope

from service.api.guards.queue_share import QueueShares
from service.api.record import RECORD_KEY, RequestRecord
from service.errors import QueueShareError


def scope_of(key: str = "", address: str = "10.0.0.1") -> Scope:
    record = RequestRecord("id")
    record.client = key
    return {"client": (address, 1), RECORD_KEY: record}


def test_a_client_has_its_share_of_each_model_and_others_have_theirs() -> None:
    shares = QueueShares(0.5, 8, 4)
    ada = scope_of("ada")
    with shares.images(ada, "one", 3):
        with pytest.raises(QueueShareError, match=r"3 images of this client wait or run, .* 4"):
            shares.images(ada, "one", 2).__enter__()
        with shares.images(ada, "one", 1), shares.images(ada, "two", 4):
            pass
        with shares.images(scope_of("bob"), "one", 4):
            pass
    with shares.images(ada, "one", 4):
        pass


def test_without_a_key_the_address_is_the_client() -> None:
    shares = QueueShares(0.1, 10, 4)
    with shares.images(scope_of(), "one", 1):
        with pytest.raises(QueueShareError):
            shares.images(scope_of(), "one", 1).__enter__()
        with shares.images(scope_of(address="10.0.0.2"), "one", 1):
            pass


def test_a_request_that_is_alone_is_never_refused() -> None:
    with QueueShares(0.1, 10, 1).images(scope_of(), "one", 64):
        pass


def test_what_failed_counts_no_longer() -> None:
    shares = QueueShares(0.5, 2, 2)
    with pytest.raises(ZeroDivisionError), shares.images(scope_of(), "one", 1):
        raise ZeroDivisionError
    with shares.images(scope_of(), "one", 1):
        pass


def test_videos_and_explanations_have_a_share_too() -> None:
    shares = QueueShares(0.5, 256, 4)
    with shares.fan_out(scope_of("ada")), shares.fan_out(scope_of("ada")):
        with pytest.raises(QueueShareError, match="2 videos, explanations and chains"):
            shares.fan_out(scope_of("ada")).__enter__()
        with shares.fan_out(scope_of("bob")):
            pass
