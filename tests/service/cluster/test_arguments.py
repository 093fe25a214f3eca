import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.cluster.arguments import ClusterArguments, ModelArguments

PAGE = Path(__file__).parents[3] / "docs" / "cluster.md"


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


def test_the_page_has_each_argument_with_its_default() -> None:
    _, _, section = PAGE.read_text().partition("\n## Arguments\n")
    found: dict[str, str] = {}
    for line in section.partition("\n## ")[0].splitlines():
        if line.startswith("| `"):
            names, default = (cell.strip().split(", ") for cell in line.split("|")[1:3])
            values = default if len(default) == len(names) else default * len(names)
            found |= dict(zip((name.strip("`") for name in names), values, strict=True))
    defaults = ClusterArguments().model_dump()
    shown = {
        name: "" if value == {} else f"{value:g}"
        for name, value in defaults.items()
        if value is not None
    }
    assert found == shown | dict.fromkeys(("cpus", "gpus", "memory_bytes"), "by size")


def test_the_page_has_each_argument_of_one_model() -> None:
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith("| `models` |"))
    assert set(re.findall(r"`(\w+)`", row)) == {"models", *ModelArguments.model_fields}
