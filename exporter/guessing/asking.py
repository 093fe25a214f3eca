"""Asks on a terminal for what only the user can know; without one, refuses with the exact options to add."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from exporter.errors import RecipeError
from exporter.guessing.guess import Missing

Ask = Callable[[Missing], str]
"""Asks one question and returns the answer."""

_NUMBERS = {"--height", "--width"}


def with_answers(
    source: str, values: Mapping[str, Any], questions: Sequence[Missing], ask: Ask | None
) -> dict[str, Any]:
    """Return the options with the answers.

    Args:
        source: what is exported, for the message.
        values: the options so far, by parameter.
        questions: what is missing.
        ask: None where there is no terminal.

    Raises:
        RecipeError: something is missing and there is no terminal, or an answer is no number where one must be.
    """
    answered = dict(values)
    if questions and ask is None:
        raise RecipeError(refusal(source, questions))
    for question in questions:
        assert ask is not None
        answered[question.option.strip("-").replace("-", "_")] = _value(question, ask(question))
    return answered


def refusal(source: str, questions: Sequence[Missing]) -> str:
    """Return the message for a command without a terminal."""
    options = " ".join(_written(question) for question in questions)
    what = " ".join(question.question for question in questions)
    return f"{source} does not state this: {what} Add {options}"


def _written(question: Missing) -> str:
    value = "|".join(question.choices)
    if not value:
        value = "N" if question.option in _NUMBERS else "FILE"
    return f"{question.option} {value}"


def _value(question: Missing, answer: str) -> Any:  # noqa: ANN401 - as the option's type
    if question.option not in _NUMBERS:
        return answer
    if not answer.isdecimal():
        raise RecipeError(f"{question.option} {answer}: this is no number of pixels")
    return int(answer)
