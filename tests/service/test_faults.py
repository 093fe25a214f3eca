"""Plain words for what pydantic finds."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from service.faults import unknown_parameter, words_of


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
