"""Plain words for what pydantic finds."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from service.faults import nearest, shown, unknown_parameter, words_of


class Sample(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = 1
    share: float = 1
    flag: bool = True


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": "many"}, "A whole number is expected"),
        ({"size": 1.5}, "A whole number is expected"),
        ({"share": "half"}, "A number is expected"),
        ({"flag": "perhaps"}, "true or false is expected"),
        ({"sizes": 1}, "There is no such entry"),
        ({"size": []}, "Input should be a valid integer"),
    ],
)
def test_faults_of_parsers_have_words_of_people(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Sample.model_validate(given)
    (fault,) = refused.value.errors()
    assert words_of(fault) == words


def test_an_unknown_name_is_answered_with_the_nearest_or_with_all() -> None:
    known = ["top_k", "model"]
    assert unknown_parameter("topk", known) == "topk: there is no such parameter here; near: top_k"
    assert unknown_parameter("x" * 99, known) == (
        f"{'x' * 40}: there is no such parameter here; there are top_k, model"
    )


def test_a_name_of_any_length_is_compared_by_its_beginning() -> None:
    assert nearest("x" * 10_000_000, ["x" * 100, "y"], 1) == ["x" * 100]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("cup", "'cup'"),
        (b"cup", "b'cup'"),
        (None, "None"),
        ({"a": [1, {"b": 2.5}], "c": True}, "{'a': [1, {'b': 2.5}], 'c': True}"),
        ("x" * 58, f"'{'x' * 58}'"),
        ("x" * 59, f"'{'x' * 59}…"),
        ([1] * 20, f"[{', '.join(['1'] * 20)}]"),
        ([1] * 21, f"[{', '.join(['1'] * 19)}, 1,…"),
    ],
)
def test_a_message_repeats_the_beginning_of_a_value(value: object, text: str) -> None:
    assert shown(value) == text


class Endless(list[int]):
    """A list whose end is never reached."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 7


def test_a_message_never_looks_at_more_of_a_value_than_it_repeats() -> None:
    assert shown({"data": Endless([7])}).startswith("{'data': [7, 7, 7, ")
    deep: object = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "[" * 60 + "…"
