"""The pages of reference that are made from the code, by name; `make reference` writes them into docs/."""

from collections.abc import Callable, Mapping

from service.reference import card, errors, metrics, settings, tasks
from service.tasks.tasks import TASKS

PAGES: Mapping[str, Callable[[], str]] = {
    "card": card.reference,
    "errors": errors.reference,
    "metrics": metrics.reference,
    "settings": settings.reference,
    "tasks": lambda: tasks.reference(TASKS),
}
