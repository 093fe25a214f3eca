"""What only the user can know is asked on a terminal, and refused with the options without one."""

import pytest

from exporter.errors import RecipeError
from exporter.guessing.asking import refusal, with_answers
from exporter.guessing.guess import Missing

TASK = Missing("--task", "What does it do?", ("classify", "detect"))
HEIGHT = Missing("--height", "How high is its input?")
LABELS = Missing("--labels", "What are its classes?")


def test_answers_become_options_and_numbers() -> None:
    answers = {"--task": "detect", "--height": "320", "--labels": "12"}
    given = {"width": 640}

    found = with_answers("net", given, [TASK, HEIGHT, LABELS], lambda one: answers[one.option])

    assert found == {"width": 640, "task": "detect", "height": 320, "labels": "12"}
    assert given == {"width": 640}


def test_an_option_of_two_words_is_one_parameter() -> None:
    question = Missing("--shorter-side", "?")

    assert with_answers("net", {}, [question], lambda _: "5") == {"shorter_side": "5"}


@pytest.mark.parametrize("answer", ["ten", "", "-1", "1.5", "1 0"])
@pytest.mark.parametrize("option", ["--height", "--width"])
def test_an_answer_that_is_no_number_of_pixels_is_refused(option: str, answer: str) -> None:
    with pytest.raises(RecipeError, match=f"{option} {answer}: this is no number of pixels"):
        with_answers("x", {}, [Missing(option, "?")], lambda _question: answer)


def test_without_questions_nobody_is_asked() -> None:
    assert with_answers("net", {"a": 1}, [], None) == {"a": 1}


def test_without_a_terminal_the_refusal_has_the_options_to_add() -> None:
    words = (
        "net does not state this: What does it do? How high is its input? What are its classes? "
        "Add --task classify|detect --height N --labels FILE"
    )

    assert refusal("net", [TASK, HEIGHT, LABELS]) == words
    with pytest.raises(RecipeError) as refused:
        with_answers("net", {}, [TASK, HEIGHT, LABELS], None)
    assert str(refused.value) == words
