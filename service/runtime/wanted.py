"""What lies in the folder, what `foveal.toml` and the admin calls want of it → the versions that shall be served."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from service.errors import ConfigurationError
from service.runtime.fleet import (
    FLEET_FILE,
    NO_FLEET,
    Fleet,
    Latest,
    ModelPlan,
    Policy,
    Routes,
    Selector,
    is_version,
)
from service.runtime.repository import Refusal, Servable

Key = tuple[str, int]
"""The name and the version of a model."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """What lies in the folder of the models.

    Attributes:
        servables: by name and ascending version.
        refusals: what lies beside them and can not be served.
        fleet: what `foveal.toml` says.
        chain: the chain that answers when a request names none; None where nobody has chosen one.
    """

    servables: tuple[Servable, ...]
    refusals: tuple[Refusal, ...] = ()
    fleet: Fleet = NO_FLEET
    chain: str | None = None

    def versions(self, name: str) -> list[int]:
        """Return the versions of a model whose files can be read, ascending."""
        return [one.version for one in self.servables if one.name == name]

    def refused(self, name: str) -> list[int]:
        """Return the versions of a model whose files can not be read."""
        places = (one.path.parent.name for one in self.refusals if one.name == name)
        return [int(place) for place in places if is_version(place)]

    def with_model(self, name: str, newer: "Catalog") -> "Catalog":
        """Return this catalog with one model as it is in a newer one."""
        found = [one for one in self.servables if one.name != name]
        found += [one for one in newer.servables if one.name == name]
        refused = [one for one in self.refusals if one.name != name]
        refused += [one for one in newer.refusals if one.name == name]
        found.sort(key=key_of)
        return replace(self, servables=tuple(found), refusals=tuple(refused))


@dataclass(frozen=True, slots=True)
class Overrides:
    """What admin calls have changed; it counts beside `foveal.toml` until the service ends.

    Attributes:
        loaded: versions that are served although the policy leaves them out.
        unloaded: versions that are not served although the policy has them.
        unloaded_models: models of which no version is served.
        routes: by name, what counts in place of the routes of `foveal.toml`.
        digest: of the `foveal.toml` whose routes these replace; with another one they do not count.
    """

    loaded: frozenset[Key] = frozenset()
    unloaded: frozenset[Key] = frozenset()
    unloaded_models: frozenset[str] = frozenset()
    routes: Mapping[str, Routes] = field(default_factory=dict)
    digest: int = 0

    def excludes(self, key: Key) -> bool:
        return key[0] in self.unloaded_models or key in self.unloaded

    def with_routes(self, name: str, routes: Routes, digest: int) -> "Overrides":
        return replace(self, routes={**self.routes, name: routes}, digest=digest)

    def without_routes(self, name: str) -> "Overrides":
        """Return these with the routes of a model as `foveal.toml` has them."""
        return replace(self, routes={one: had for one, had in self.routes.items() if one != name})

    def with_version(self, key: Key) -> "Overrides":
        """Return these with a version served."""
        return replace(
            self,
            loaded=self.loaded | {key},
            unloaded=self.unloaded - {key},
            unloaded_models=self.unloaded_models - {key[0]},
        )

    def without_version(self, key: Key) -> "Overrides":
        """Return these with a version not served."""
        return replace(self, loaded=self.loaded - {key}, unloaded=self.unloaded | {key})

    def forgetting(self, key: Key) -> "Overrides":
        """Return these without what they say of a version."""
        return replace(self, loaded=self.loaded - {key}, unloaded=self.unloaded - {key})

    def with_model(self, name: str) -> "Overrides":
        """Return these with a model served as its policy says."""
        return replace(
            self,
            unloaded=frozenset(key for key in self.unloaded if key[0] != name),
            unloaded_models=self.unloaded_models - {name},
        )

    def without_models(self, names: Iterable[str]) -> "Overrides":
        """Return these with models of which no version is served."""
        gone = frozenset(names)
        return replace(
            self,
            loaded=frozenset(key for key in self.loaded if key[0] not in gone),
            unloaded_models=self.unloaded_models | gone,
        )


NO_OVERRIDES = Overrides()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall be served.

    Attributes:
        servables: by name and ascending version.
        refusals: what can not be served.
        withheld: what could be and shall not, with the reason.
        defaults: by task, what answers it when a request names no model.
        plans: by name, the routes and the rest of what is wanted of a model.
    """

    servables: tuple[Servable, ...]
    refusals: tuple[Refusal, ...] = ()
    withheld: tuple[tuple[Servable, str], ...] = ()
    defaults: Mapping[str, Selector] = field(default_factory=dict)
    plans: Mapping[str, ModelPlan] = field(default_factory=dict)

    def ttl_seconds(self, name: str) -> float | None:
        """Return after how long without requests the versions of a model fall asleep; None: never."""
        plan = self.plans.get(name)
        return plan.ttl_seconds if plan else None


def key_of(servable: Servable) -> Key:
    return servable.name, servable.version


def choose(
    catalog: Catalog, overrides: Overrides = NO_OVERRIDES, failed: Collection[Key] = ()
) -> Wanted:
    """Return what shall be served of a catalog.

    Args:
        catalog: what there is.
        overrides: what admin calls have changed.
        failed: versions that could not be loaded; the policy takes older ones in addition.
    """
    plans = {
        name: _plan(catalog.fleet, overrides, name)
        for name in {one.name for one in catalog.servables}
    }
    picked: dict[Key, Servable] = {}
    for name, group in groupby(catalog.servables, key=lambda one: one.name):
        versions = list(group)
        named = _named(name, plans[name], catalog.fleet.defaults, overrides)
        working = [one for one in versions if key_of(one) not in failed]
        policy = plans[name].versions
        for one in (*_by_policy(versions, policy), *_by_policy(working, policy)):
            picked[key_of(one)] = one
        picked |= {key_of(one): one for one in versions if one.version in named}
    picked = {key: one for key, one in picked.items() if not overrides.excludes(key)}
    picked |= _backbones(picked.values(), catalog, overrides)
    servables = tuple(sorted(picked.values(), key=key_of))
    withheld = tuple(
        (one, _why_withheld(one, overrides, plans[one.name].versions))
        for one in catalog.servables
        if key_of(one) not in picked
    )
    return Wanted(servables, catalog.refusals, withheld, catalog.fleet.defaults, plans)


def require_targets(wanted: Wanted, catalog: Catalog) -> None:
    """Check that each alias, share and shadow leads to a version that there is, and so does a list of versions.

    Of a list one must be there: others may have been removed, or may come later; `missing_versions` names them.

    Raises:
        ConfigurationError: one leads nowhere.
    """
    for name in catalog.fleet.models:
        if name not in wanted.plans and not any(one.name == name for one in catalog.refusals):
            raise ConfigurationError(
                f"{FLEET_FILE} has a section for {name!r}, and there is no such model."
            )
    for name, plan in wanted.plans.items():
        there = catalog.versions(name)
        refused = catalog.refused(name)
        for what, version in plan.targets().items():
            if version not in there and version not in refused:
                raise ConfigurationError(no_such_target(name, what, version, there))
        missing = _missing(plan, there, refused)
        if missing and missing == list(plan.versions):
            raise ConfigurationError(
                f"{FLEET_FILE} lists the versions {listed(missing)} of {name!r}, and none of them is there. "
                f"Versions: {listed(there) or 'none'}."
            )


def missing_versions(wanted: Wanted, catalog: Catalog) -> tuple[Key, ...]:
    """Return the versions that a list in `foveal.toml` names and that are not there, by name."""
    return tuple(
        (name, version)
        for name, plan in sorted(wanted.plans.items())
        for version in _missing(plan, catalog.versions(name), catalog.refused(name))
    )


def _missing(plan: ModelPlan, there: Collection[int], refused: Collection[int]) -> list[int]:
    if not isinstance(plan.versions, tuple):
        return []
    return [version for version in plan.versions if version not in there and version not in refused]


def listed(versions: Iterable[int]) -> str:
    """Return versions as a message names them."""
    return ", ".join(map(str, versions))


def no_such_target(name: str, what: str, version: int | None, there: Iterable[int]) -> str:
    """Return the message for an alias, a share or a shadow that leads nowhere."""
    existing = listed(there) or "none"
    if version is None:
        return f"{name}: {what} leads to no alias and no version of it. Versions: {existing}."
    return f"{name}: {what} leads to version {version}, which {name} does not have. Versions: {existing}."


def _plan(fleet: Fleet, overrides: Overrides, name: str) -> ModelPlan:
    plan, routes = fleet.plan(name), overrides.routes.get(name)
    if routes is None:
        return plan
    return plan.model_copy(
        update={"aliases": routes.aliases, "weights": routes.weights, "shadow": routes.shadow}
    )


def _by_policy(versions: list[Servable], policy: Policy) -> list[Servable]:
    if policy == "all":
        return versions
    if isinstance(policy, Latest):
        return versions[-policy.count :]
    return [one for one in versions if one.version in policy]


def _named(
    name: str, plan: ModelPlan, defaults: Mapping[str, Selector], overrides: Overrides
) -> set[int]:
    """Return the versions that something names, so that they are served whatever the policy is."""
    found = {version for version in plan.targets().values() if version is not None}
    found |= {one.version for one in defaults.values() if one.name == name and one.version}
    return found | {version for model, version in overrides.loaded if model == name}


def _backbones(
    picked: Iterable[Servable], catalog: Catalog, overrides: Overrides
) -> dict[Key, Servable]:
    """Return the networks whose features the temporal heads among those picked read."""
    graphs = {(one.card.backbone, one.card.backbone_sha256) for one in picked if one.card.backbone}
    return {
        key_of(one): one
        for one in catalog.servables
        if (one.name, one.card.certificate.graph_sha256) in graphs
        and not overrides.excludes(key_of(one))
    }


def _why_withheld(servable: Servable, overrides: Overrides, policy: Policy) -> str:
    if overrides.excludes(key_of(servable)):
        return "was unloaded"
    kind = policy if isinstance(policy, str | Latest) else list(policy)
    return f"is left out: the versions of {servable.name} that are served are {kind}"
