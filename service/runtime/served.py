"""The tables of what is served: every version of every model, by name and version."""

from collections.abc import Collection

from service.runtime.model import Model
from service.runtime.model_series import ModelSeries
from service.runtime.repository import Servable
from service.runtime.wanted import Key, key_of


class Served:
    """All models that requests find. All methods are called on the event loop.

    They replace tuples and never change one, so that an iteration over the models is never disturbed.

    Args:
        series: where a version has its metrics while it is here.

    Attributes:
        models: every version of every model, by name and ascending version.
    """

    def __init__(self, series: ModelSeries) -> None:
        self.models: tuple[Model, ...] = ()
        self._by_name: dict[str, tuple[Model, ...]] = {}
        self._series = series

    @property
    def names(self) -> Collection[str]:
        return self._by_name.keys()

    def versions(self, name: str) -> tuple[Model, ...]:
        """Return all versions of a model, oldest first; empty where there is no such model."""
        return self._by_name.get(name, ())

    def at(self, key: Key) -> Model | None:
        """Return one version."""
        name, version = key
        return next((model for model in self.versions(name) if model.version == version), None)

    def serves(self, servable: Servable) -> bool:
        """Return whether this very network is served, and has not failed.

        Where one of several ways to serve it was chosen, another file for such a way makes another network of it.
        """
        served = self.at(key_of(servable))
        return (
            served is not None
            and served.state != "failed"
            and served.card == servable.card
            and served.servable.path == servable.path
            and (served.choice is None or served.servable.beside == servable.beside)
        )

    def enter(self, model: Model) -> None:
        """Take a version in."""
        self._series.publish(model)
        self.models = tuple(sorted((*self.models, model), key=lambda one: key_of(one.servable)))
        self._regroup(model.name)

    def leave(self, model: Model) -> None:
        """Take a version out, which is among them."""
        self._series.unpublish(model)
        self.models = tuple(other for other in self.models if other is not model)
        self._regroup(model.name)

    def _regroup(self, name: str) -> None:
        versions = tuple(model for model in self.models if model.name == name)
        if versions:
            self._by_name[name] = versions
        else:
            del self._by_name[name]
