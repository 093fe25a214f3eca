"""Which model a request gets: by its name and version, by its task's default, by shares, aliases and shadows."""

from collections.abc import Collection, Iterable, Mapping

from service.errors import (
    ConfigurationError,
    FovealError,
    InvalidParameterError,
    NotReadyError,
    UnknownModelError,
    UnknownVersionError,
    WrongTaskError,
)
from service.runtime.fleet import Routes, Selector, parse_selector
from service.runtime.model import Model
from service.runtime.repository import Servable
from service.runtime.routing import Routing
from service.runtime.served import Served
from service.runtime.wanted import Wanted, key_of


class Finder:
    """Finds models among those that are served. All methods are called on the event loop.

    Args:
        served: what is served.
        networks: by task, the tasks whose networks can do it; a task that is not there has its own.
        wanted: what shall be served.

    Attributes:
        wanted: what `install` was called with last.

    Raises:
        ConfigurationError: a default leads to no model that does the task.
    """

    def __init__(
        self, served: Served, networks: Mapping[str, Collection[str]], wanted: Wanted
    ) -> None:
        self._served = served
        self._networks = networks
        self.require_defaults(wanted)
        self.install(wanted)

    def install(self, wanted: Wanted) -> None:
        """Let other defaults, aliases, shares and shadows count from now on."""
        routes = {name: plan for name, plan in wanted.plans.items() if plan.has_routes}
        self.wanted = wanted
        self._has_shadows = any(one.shadow is not None for one in routes.values())
        self._routing = Routing(wanted.defaults, routes)
        self._answering: dict[str, Selector] = {}

    def find(
        self,
        tasks: Collection[str],
        name: str | None,
        version: int | None,
        *,
        task: str = "",
        takes_turn: bool = True,
    ) -> Model:
        """Return the model that answers a request.

        Args:
            tasks: the model must do one of them.
            name: of the model, `name:version` or `name@alias`; None for the default.
            version: of the model; None: by its shares, else the newest that is ready, or the newest if none is.
            task: whose default answers, where it has one of its own; else that of the first of `tasks` that has one.
            takes_turn: whether a request goes there, which counts for the shares.

        Raises:
            UnknownModelError: there is no such model, or none for the tasks.
            UnknownVersionError: the model has no such version or alias.
            NoDefaultModelError: no name, no default, and several models do the task.
            InvalidParameterError: a version is given twice, or the name can not be one.
            WrongTaskError: the model does none of the tasks.
        """
        selector = None
        if name is None:
            selector = self._default(tasks, task)
            name = selector.name
        versions = self._served.versions(name)
        if not versions and selector is None:
            selector = parse_selector(name)
            if version is not None and str(selector) != selector.name:
                raise InvalidParameterError(
                    f"version: {name[:120]} names one already. Send one of them."
                )
            name = selector.name
            versions = self._served.versions(name)
        if not versions:
            able = (model.name for model in self._served.models if model.card.task in tasks)
            whose = "This task's models" if task or len(tasks) == 1 else "The models"
            raise UnknownModelError(f"There is no model {name[:120]!r}. {whose}: {listed(able)}.")
        if version is None and selector is not None:
            version = self._version_of(selector)
        if version is None:
            model = self._routing.version_of(versions, takes_turn=takes_turn)
        else:
            model = self._version(name, version)
        if model.card.task not in tasks:
            raise WrongTaskError(f"{name} does {model.card.task}, not {_either(tasks)}.")
        return model

    def versions(self, name: str) -> tuple[Model, ...]:
        """Return all versions of a model, oldest first.

        Raises:
            UnknownModelError: there is no such model.
        """
        versions = self._served.versions(name)
        if not versions:
            raise UnknownModelError(
                f"There is no model {name[:120]!r}. Models: {listed(self._served.names)}."
            )
        return versions

    def shadow_of(self, model: Model, name: str | None, version: int | None) -> Model | None:
        """Return the version that shadows a request; None where there is none, or it is the one that answers.

        Only a request that names no version has a shadow.

        Args:
            model: what answers.
            name: what the request names: a model, one of its versions or aliases; None: nothing.
            version: the version that it names beside that.
        """
        if not self._has_shadows or version is not None or name not in {None, model.name}:
            return None
        versions = self._served.versions(model.name)
        shadow = self._routing.shadow_of(versions) if versions else None
        return shadow if shadow is not model else None

    def backbone_of(self, head: Model) -> Model:
        """Return the model whose features a temporal head reads.

        Raises:
            NotReadyError: no model has the graph that the head was trained on.
        """
        card = head.card
        versions = [
            model
            for model in self._served.versions(card.backbone or "")
            if model.card.certificate.graph_sha256 == card.backbone_sha256
        ]
        if not versions:
            raise NotReadyError(
                f"{head.name} reads the features of {card.backbone}. The {card.backbone} that it was trained with is "
                "not among the models. Put it back, or export both again."
            )
        return Routing({}).version_of(versions)

    def routes_of(self, name: str) -> Routes:
        """Return the aliases, shares and shadow of a model."""
        return self._routing.of(name)

    def sharing(self, name: str) -> Collection[int]:
        """Return the versions of a model that answer, by their shares, requests that name none; see `Routing`."""
        return self._routing.sharing(name, self._served.versions(name))

    def default_of(self, task: str) -> Selector | None:
        """Return what answers a task when a request names no model; None where a request must name one."""
        try:
            return self._default(self._networks.get(task, (task,)), task)
        except FovealError:
            return None

    def defaults(self) -> dict[str, str]:
        """Return what answers each task when a request names no model."""
        tasks = self._networks or {model.card.task: () for model in self._served.models}
        return {task: str(self.default_of(task) or "none") for task in tasks}

    def known_version(self, selector: Selector) -> int | None:
        """Return the version that a default leads to; None where it leads to a name, or nowhere."""
        try:
            return self._version_of(selector)
        except UnknownVersionError:
            return None

    def require_defaults(self, wanted: Wanted) -> None:
        """Check that each default leads to a model that does its task.

        Raises:
            ConfigurationError: one does not.
        """
        withheld = [one for one, _ in wanted.withheld]
        refused = {one.name for one in wanted.refusals}
        for task, selector in wanted.defaults.items():
            fitting = self._networks.get(task, (task,))
            fits = [one for one in (*wanted.servables, *withheld) if one.card.task in fitting]
            if selector.name in refused or any(_is_of(selector, one, wanted) for one in fits):
                continue
            raise ConfigurationError(
                f"The default of {task} is {str(selector)!r}, which does not do it or is not there. "
                f"Models for {task}: {listed(one.name for one in fits)}."
            )

    def _default(self, tasks: Collection[str], task: str) -> Selector:
        """Return what answers a request that names no model; the answer is kept until the models change."""
        found = self._answering.get(task) if task else None
        if found is None:
            found = self._routing.model_of(tasks, task, self._served.models)
            if found is None:
                whose = "This task's models" if task or len(tasks) == 1 else "The models"
                raise UnknownModelError(f"There is no model for {_either(tasks)}. {whose}: none.")
            if task:
                self._answering[task] = found
        return found

    def _version(self, name: str, version: int) -> Model:
        model = self._served.at((name, version))
        if model is not None:
            return model
        existing = listed(str(model.version) for model in self._served.versions(name))
        why = "".join(
            f" Version {version} {reason}."
            for one, reason in self.wanted.withheld
            if key_of(one) == (name, version)
        )
        raise UnknownVersionError(f"{name} has no version {version}. Versions: {existing}.{why}")

    def _version_of(self, selector: Selector) -> int | None:
        if selector.alias is not None:
            return self._routing.aliased(selector.name, selector.alias)
        return selector.version


def listed(names: Iterable[str]) -> str:
    """Return names for a message, each once."""
    return ", ".join(dict.fromkeys(names)) or "none"


def _is_of(selector: Selector, servable: Servable, wanted: Wanted) -> bool:
    if servable.name != selector.name:
        return False
    if selector.alias is not None:
        plan = wanted.plans.get(selector.name)
        return plan is not None and plan.aliases.get(selector.alias) == servable.version
    return selector.version in {None, servable.version}


def _either(tasks: Collection[str]) -> str:
    return " or ".join(sorted(tasks))
