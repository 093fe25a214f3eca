import pytest
from pydantic import ValidationError

from service.cluster.arguments import ClusterArguments


def test_a_command_line_gives_texts_and_models_as_json() -> None:
    found = ClusterArguments.model_validate(
        {"max_replicas": "8", "models": '{"u2netp": {"gpus": 0.25, "max_replicas": 2}}'}
    )
    assert found.replicas_of("resnet50") == (1, 8)
    assert found.replicas_of("u2netp") == (1, 2)
    assert found.models["u2netp"].gpus == 0.25


def test_one_full_ingress_asks_for_every_replica_of_a_model() -> None:
    arguments = ClusterArguments(max_replicas=8, queue_per_replica=2)
    assert arguments.batches_in_flight("resnet50") / arguments.queue_per_replica >= 8


@pytest.mark.parametrize(
    "given",
    [
        {"min_replicas": 3, "max_replicas": 2},
        {"min_ingress": 5, "max_ingress": 4},
        {"models": {"u2netp": {"min_replicas": 5}}},
        {"models": "{"},
        {"replicas": 3},
        {"cpus": 0},
    ],
)
def test_what_can_not_be_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ClusterArguments.model_validate(given)
