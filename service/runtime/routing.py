"""Which model answers a request that names none, and which version answers one that names no version."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from service.errors import NoDefaultModelError, UnknownVersionError
from service.runtime.fleet import NO_ROUTES, Routes, Selector
from service.runtime.model import Model


@dataclass(frozen=True, slots=True)
class Routing:
    """Chooses among the models that are served. All methods are called on the event loop.

    Attributes:
        defaults: by task, what answers it when a request names no model.
        routes: by name, the aliases, shares and shadow of a model.
    """

    defaults: Mapping[str, Selector]
    routes: Mapping[str, Routes] = field(default_factory=dict)
    _given: dict[str, dict[int, float]] = field(default_factory=dict)

    def of(self, name: str) -> Routes:
        """Return the routes of a model."""
        return self.routes.get(name, NO_ROUTES)

    def version_of(self, versions: Sequence[Model], *, takes_turn: bool = True) -> Model:
        """Return the version that answers a request that names none.

        That is one of those with a share, in turn by their shares; without shares the newest that can answer, and
        where none can, the newest, which says why.

        Args:
            versions: of one model, oldest first; at least one.
            takes_turn: whether a request goes there; else the one whose turn is next keeps it.
        """
        name = versions[-1].name
        routes = self.routes.get(name)
        if routes is not None and routes.weights:
            shared = self._in_turn(name, routes, versions, takes_turn=takes_turn)
            if shared is not None:
                return shared
        return next((model for model in reversed(versions) if model.can_answer), versions[-1])

    def sharing(self, name: str, versions: Sequence[Model]) -> Collection[int]:
        """Return the versions among which the requests that name none are shared; none where there are no shares."""
        routes = self.routes.get(name)
        if routes is None or not routes.weights:
            return ()
        return _shares(routes, {one.version for one in versions if one.can_answer})

    def aliased(self, name: str, alias: str) -> int:
        """Return the version that an alias points at.

        Raises:
            UnknownVersionError: the model has no such alias.
        """
        aliases = self.of(name).aliases
        if alias not in aliases:
            existing = ", ".join(sorted(aliases)) or "none"
            raise UnknownVersionError(f"{name} has no alias {alias!r}. Aliases: {existing}.")
        return aliases[alias]

    def shadow_of(self, versions: Sequence[Model]) -> Model | None:
        """Return the version that shadows the requests that name no version; None where none can."""
        routes = self.routes.get(versions[-1].name)
        if routes is None or routes.shadow is None:
            return None
        wanted = routes.version_of(routes.shadow)
        return next((one for one in versions if one.version == wanted and one.can_answer), None)

    def model_of(
        self, tasks: Collection[str], task: str, models: Collection[Model]
    ) -> Selector | None:
        """Return what answers a task when a request names no model.

        That is the default of the task, else that of the first of `tasks` that has one, else the only model that does
        one of them: a new model never takes the place of another in silence. None where no model does. A model that
        embeds images for a temporal head is only chosen by a default.

        Raises:
            NoDefaultModelError: several could; the message lists them.
        """
        for one in (task, *tasks):
            if one in self.defaults:
                return self.defaults[one]
        backbones = {model.card.backbone for model in models}
        able = dict.fromkeys(
            model.name
            for model in models
            if model.card.task in tasks
            and not (model.card.task == "embed" and model.name in backbones)
        )
        if len(able) > 1:
            raise NoDefaultModelError(
                f"model: {len(able)} models do {task or ' or '.join(sorted(tasks))}, and none is the default: "
                f"{', '.join(able)}. Name one of them, or set a default in foveal.toml or FOVEAL_DEFAULTS."
            )
        return Selector(next(iter(able))) if able else None

    def _in_turn(
        self, name: str, routes: Routes, versions: Sequence[Model], *, takes_turn: bool
    ) -> Model | None:
        """Return the version whose share is furthest behind; None where no version with a share can answer.

        Each request adds every share to its version's credit, and the version with the most credit answers and pays
        for all: over any stretch of requests each version has its share to within one request (nginx's smooth
        weighted round-robin).
        """
        able = {one.version: one for one in versions if one.can_answer}
        shares = _shares(routes, able)
        if not shares:
            return None
        given = self._given.get(name, {})
        credit = given | {one: given.get(one, 0.0) + share for one, share in shares.items()}
        chosen = max(shares, key=lambda version: (credit[version], version))
        if takes_turn:
            credit[chosen] -= sum(shares.values())
            self._given[name] = credit
        return able[chosen]


def _shares(routes: Routes, able: Collection[int]) -> dict[int, float]:
    """Return the share of each version that has one and can answer."""
    shares: dict[int, float] = {}
    for target, share in routes.weights.items():
        version = routes.version_of(target)
        if version is not None and version in able and share:
            shares[version] = shares.get(version, 0.0) + share
    return shares
