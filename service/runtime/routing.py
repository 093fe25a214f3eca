"""Which model answers a request that names none, and which version answers one that names no version."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from service.runtime.model import Model


@dataclass(frozen=True, slots=True)
class Routing:
    """Chooses among the models that are served.

    Attributes:
        defaults: by task, the name of the model that answers it when a request names none.
    """

    defaults: Mapping[str, str]

    def version_of(self, versions: Sequence[Model]) -> Model:
        """Return the newest version that is ready; where none is, the newest, whose queue says why it is not.

        Args:
            versions: of one model, oldest first; at least one.
        """
        ready = (model for model in reversed(versions) if model.state == "ready")
        return next(ready, versions[-1])

    def model_of(self, task: str, models: Collection[Model]) -> str | None:
        """Return the name of the model that answers a task when none is named; None where no model does the task.

        That is the one in `defaults`, else the first of `models` that does the task. A model that embeds images for a
        temporal head is only chosen by `defaults`.
        """
        if task in self.defaults:
            return self.defaults[task]
        backbones = {model.card.backbone for model in models} if task == "embed" else set()
        able = (model.name for model in models if model.card.task == task)
        return next((name for name in able if name not in backbones), None)
