"""How far the answers of the service in a lower precision agree with its answers in fp32, by HTTP on photographs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.server import Server, StartError
from exporter.images import photographs

VIEWS = 70
"""As the exporter takes them; it calibrates with those of even places, and they show other photographs."""
CLEAR = 0.1
BEST = "top_k=1000"
"""All classes, so that the probability of the class that was best in fp32 is in the answer."""
FIGURES = ("images", "clear", "clear_kept", "kept", "mean_change", "largest_change")


@dataclass(frozen=True, slots=True)
class Answer:
    """The best class in fp32, how far it leads the second, and its probability; then what the other answered."""

    best: int
    lead: float
    probability: float
    other_best: int
    other_probability: float


def count_agreement(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the figures of `FIGURES`: how many images there are, in how many fp32 is clear, and how many classes kept.

    The changes are of the probability of the class that fp32 finds best.
    """
    clear = [one for one in answers if one.lead > CLEAR]
    changes = [abs(one.probability - one.other_probability) for one in answers]
    figures = (
        len(answers),
        len(clear),
        sum(one.best == one.other_best for one in clear),
        sum(one.best == one.other_best for one in answers),
        sum(changes) / len(changes),
        max(changes),
    )
    return dict(zip(FIGURES, map(float, figures), strict=True))


def measure_agreement(exact: Server, other: Server, path: str) -> dict[str, float]:
    """Send the photographs that nothing was calibrated with to both, and return how far they agree.

    Raises:
        StartError: an answer has another status than 200.
    """
    return count_agreement(list(_answers(exact, other, path)))


def _answers(exact: Server, other: Server, path: str) -> Iterator[Answer]:
    for image in photographs(VIEWS)[1::2]:
        first, second = (_predictions(server, path, image) for server in (exact, other))
        best = first[0]["class_id"]
        yield Answer(
            best,
            first[0]["probability"] - first[1]["probability"],
            first[0]["probability"],
            second[0]["class_id"],
            next(one["probability"] for one in second if one["class_id"] == best),
        )


def _predictions(server: Server, path: str, image: bytes) -> list[dict[str, Any]]:
    response = server.ask(f"{path}&{BEST}", image, "image/jpeg")
    if response.status != 200:
        raise StartError(f"answered {response.status}: {response.body[:200]!r}")
    found: list[dict[str, Any]] = response.json()["results"][0]["predictions"]
    return found
