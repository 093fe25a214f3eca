from collections.abc import Sequence

import numpy as np
import pytest

from service.cluster.replicas import Description, Refused, RemoteNetwork, ReplicaLostError
from service.errors import InferenceError, NotReadyError
from service.runtime.job import Outputs, Tensor

BATCH = np.zeros((2, 3), np.uint8)
OUTPUTS = {"logits": np.ones((2, 5), np.float32)}


class Scripted:
    """Replicas whose answers are given; an exception is raised."""

    def __init__(self, answers: Sequence[Outputs | Refused | Exception]) -> None:
        self._answers = list(answers)
        self.left: list[float] = []

    def describe(self, timeout_seconds: float) -> Description | Refused:
        raise AssertionError(timeout_seconds)

    def infer(self, batch: Tensor, timeout_seconds: float) -> Outputs | Refused:
        assert batch is BATCH
        self.left.append(timeout_seconds)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def network(replicas: Scripted, time: Time, patience_seconds: float = 10.0) -> RemoteNetwork:
    return RemoteNetwork(
        "colors",
        replicas,
        patience_seconds=patience_seconds,
        sleep=time.sleep,
        clock=time.clock,
    )


def test_a_batch_that_replicas_lose_runs_on_another_one() -> None:
    replicas, time = Scripted([ReplicaLostError(), ReplicaLostError(), OUTPUTS]), Time()
    one = network(replicas, time)
    assert one(BATCH) is OUTPUTS
    assert one.lost == 2
    assert replicas.left[0] == 10 > replicas.left[1] > replicas.left[2]


def test_a_batch_that_every_replica_loses_is_an_error_in_time() -> None:
    time = Time()
    one = network(Scripted([ReplicaLostError()] * 50), time)
    with pytest.raises(NotReadyError, match="No replica of colors answered within 10 s"):
        one(BATCH)
    assert time.now <= 10


def test_replicas_that_do_not_answer_are_an_error() -> None:
    with pytest.raises(NotReadyError):
        network(Scripted([TimeoutError()]), Time())(BATCH)


def test_an_error_of_the_network_is_the_same_error_here() -> None:
    refused = Refused.of(InferenceError("The network failed."))
    with pytest.raises(InferenceError, match="The network failed"):
        network(Scripted([refused]), Time())(BATCH)


def test_a_fault_that_is_not_of_a_replica_is_not_tried_again() -> None:
    replicas = Scripted([InferenceError("bad"), OUTPUTS])
    with pytest.raises(InferenceError):
        network(replicas, Time())(BATCH)
    assert len(replicas.left) == 1
