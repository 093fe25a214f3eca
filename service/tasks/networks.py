"""Whether the tasks fit together, and which networks of a repository they can use."""

from collections.abc import Iterable, Mapping

from service.card import Card
from service.errors import ConfigurationError
from service.runtime.repository import Refusal, Servable
from service.tasks.task import Task


def require_fitting(tasks: Mapping[str, Task]) -> None:
    """Check that tasks are listed by their names, and that the networks they borrow exist and give what they need.

    Raises:
        ConfigurationError: one of them does not fit.
    """
    for name, task in tasks.items():
        if name != task.name:
            raise ConfigurationError(f"A task must be listed by its own name: {name}")
        for owner in task.networks:
            if owner not in tasks:
                raise ConfigurationError(
                    f"The task {name} uses networks for {owner!r}, and the tasks are {', '.join(tasks)}."
                )
            missing = [one for one in task.outputs if one not in tasks[owner].outputs]
            if missing:
                raise ConfigurationError(
                    f"The task {name} needs the outputs {', '.join(missing)}, which networks for {owner} do not have. "
                    f"They have {', '.join(tasks[owner].outputs)}."
                )


def usable(
    servables: Iterable[Servable], tasks: Mapping[str, Task]
) -> tuple[tuple[Servable, ...], tuple[Refusal, ...]]:
    """Return the servables whose card fits its task, and why the others are refused."""
    found, refused = [], []
    for servable in servables:
        reason = _fault(servable.card, tasks)
        if reason is None:
            found.append(servable)
        else:
            refused.append(Refusal(servable.name, servable.path, f"{servable.path}: {reason}"))
    return tuple(found), tuple(refused)


def _fault(card: Card, tasks: Mapping[str, Task]) -> str | None:
    task = tasks.get(card.task)
    if task is None:
        return f"the card's task is {card.task!r}, and this service knows {', '.join(tasks)}"
    if task.labeled and not card.labels:
        return f"a network for {task.name} needs labels; add them with foveal-export card --set labels=…"
    if card.background_id is not None and not 0 <= card.background_id < len(card.labels):
        return f"background_id {card.background_id} is none of the {len(card.labels)} classes"
    if task.head is not None and card.input is None:
        return f"a network for {task.name} reads images, and the card has no input"
    if task.head is None and card.input is not None:
        return f"a network for {task.name} reads features, and the card has an input for images"
    return None
