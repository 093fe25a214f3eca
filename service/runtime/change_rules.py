"""What a change of one model comes to: what admin calls want after it, or why it can not be."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from service.errors import (
    InvalidParameterError,
    ModelInUseError,
    NotReadyError,
    RefusedModelError,
    UnknownModelError,
    UnknownVersionError,
    for_clients,
)
from service.logs import LOGGER
from service.runtime.change import Change
from service.runtime.fleet import FLEET_FILE, MODEL_NAME, NO_PLAN, Routes, read_routes
from service.runtime.registry import Registry
from service.runtime.wanted import Catalog, Overrides, no_such_target

log = logging.getLogger(LOGGER)


@dataclass(frozen=True, slots=True)
class ChangeRules:
    """Holds a change against what is there.

    Attributes:
        registry: what is served.
        catalog: what lies in the folder.
        overrides: what admin calls have changed before.
    """

    registry: Registry
    catalog: Catalog
    overrides: Overrides

    def after(self, change: Change) -> Overrides:
        """Return the overrides with a change to one model.

        Raises:
            RequestError: it names what is not there, or takes away what something needs.
        """
        name, catalog, overrides = change.name, self.catalog, self.overrides
        if change.kind == "look":
            return overrides.forgetting((name, change.version))
        known = catalog.versions(name)
        if not MODEL_NAME.fullmatch(name) or not (known or catalog.refused(name)):
            raise UnknownModelError(
                f"There is no model {name[:120]!r} in the folder of the models."
            )
        if change.kind in {"load_model", "load_version"}:
            return self._with_loaded(change, known)
        if change.kind == "unload_model":
            served = self.registry.versions(name)
            heads = self._heads_of(name, [model.version for model in served])
            if heads and not change.dependents:
                raise ModelInUseError(_needed(name, heads, "unload_dependents"))
            return overrides.without_models([name, *heads])
        if change.kind == "unload_version":
            self._require_free(name, change.version, may_lie_idle=change.file)
            if change.file:
                self._require_unnamed(name, change.version)
            return overrides.without_version((name, change.version))
        return overrides.with_routes(name, self._routed(change, known), catalog.fleet.digest)

    def _with_loaded(self, change: Change, known: list[int]) -> Overrides:
        name, overrides = change.name, self.overrides
        self._require_servable(change)
        for one in self.catalog.servables:
            if one.name == name and one.card.backbone:
                overrides = overrides.with_model(one.card.backbone)
        if change.kind == "load_model":
            return overrides.with_model(name)
        if self._begins_anew(name, known):
            log.warning(
                "%s: its versions are gone; the aliases, shares and shadow that admin calls had set are dropped",
                name,
            )
            overrides = overrides.without_routes(name)
        return overrides.with_version((name, change.version))

    def _require_servable(self, change: Change) -> None:
        name, version, catalog = change.name, change.version, self.catalog
        wanted = [version] if change.kind == "load_version" else catalog.refused(name)
        for refusal in catalog.refusals:
            if refusal.name == name and refusal.path.parent.name in map(str, wanted):
                raise RefusedModelError(for_clients(refusal.reason, refusal.path))
        if change.kind == "load_version" and version not in catalog.versions(name):
            there = ", ".join(map(str, catalog.versions(name))) or "none"
            raise UnknownVersionError(
                f"{name} has no version {version} in the folder of the models. Versions: {there}."
            )

    def _begins_anew(self, name: str, known: list[int]) -> bool:
        """Return whether a model comes back after its folder was removed, without what admin calls had named of it."""
        routes = self.overrides.routes.get(name)
        if routes is None or self._served(name):
            return False
        return any(version not in known for version in routes.targets().values())

    def _served(self, name: str) -> list[int]:
        return [model.version for model in self.registry.models if model.name == name]

    def _lies(self, name: str, version: int) -> bool:
        """Return whether a version lies in the folder."""
        return version in self.catalog.versions(name) or any(
            (one.name, one.path.parent.name) == (name, str(version))
            for one in self.catalog.refusals
        )

    def _require_free(self, name: str, version: int, *, may_lie_idle: bool) -> None:
        """Refuse to unload a version that something needs, or that is not served: then it may lie there at most."""
        served = self._served(name)
        if version not in served and not (may_lie_idle and self._lies(name, version)):
            there = ", ".join(map(str, served)) or "none"
            raise UnknownVersionError(f"{name} has no version {version}. Versions: {there}.")
        plan = self.registry.wanted.plans.get(name, NO_PLAN)
        for what, target in plan.targets().items():
            if target == version:
                raise ModelInUseError(
                    f"{what[0].upper()}{what[1:]} of {name} leads to version {version}. Let it lead elsewhere first."
                )
        for task, selector in self.registry.wanted.defaults.items():
            if (selector.name, selector.version) == (name, version):
                raise ModelInUseError(
                    f"{selector} is the default of {task}. Change that in foveal.toml first."
                )
        heads = self._heads_of(name, [version]) if version in served else []
        if heads:
            raise ModelInUseError(_needed(name, heads, ""))

    def _require_unnamed(self, name: str, version: int) -> None:
        """Refuse to remove the last file of a model that `foveal.toml` names: the next start would fail."""
        left = {*self.catalog.versions(name), *self.catalog.refused(name)} - {version}
        policy = self.catalog.fleet.plan(name).versions
        if left and isinstance(policy, tuple) and version in policy and left.isdisjoint(policy):
            raise ModelInUseError(
                f"{FLEET_FILE} lists the versions {list(policy)} of {name}, and this is the last of them that is "
                "there. Change the list first."
            )
        if name in self.catalog.fleet.models and not left:
            raise ModelInUseError(
                f"{FLEET_FILE} has a section for {name}, and this is its last version. Remove the section first."
            )

    def _heads_of(self, name: str, versions: Iterable[int]) -> list[str]:
        """Return the models that read the features of these versions, and of no other that is served."""
        gone = set(versions)
        left = {
            model.card.certificate.graph_sha256
            for model in self.registry.models
            if model.name == name and model.version not in gone
        }
        return list(
            dict.fromkeys(
                model.name
                for model in self.registry.models
                if model.card.backbone == name and model.card.backbone_sha256 not in left
            )
        )

    def _routed(self, change: Change, known: list[int]) -> Routes:
        """Return the routes of a model with one of them changed."""
        name = change.name
        plan = self.registry.wanted.plans.get(name, NO_PLAN)
        aliases, weights, shadow = dict(plan.aliases), plan.weights, plan.shadow
        if change.kind == "alias":
            if change.version:
                aliases[change.alias] = change.version
            elif change.alias not in aliases:
                raise UnknownVersionError(f"{name} has no alias {change.alias[:64]!r}.")
            else:
                del aliases[change.alias]
        elif change.kind == "weights":
            weights = change.weights
        else:
            shadow = change.shadow
        routes = read_routes({"aliases": aliases, "weights": weights, "shadow": shadow})
        before = plan.targets()
        for what, version in routes.targets().items():
            if version not in known:
                raise InvalidParameterError(no_such_target(name, what, version, known))
            if self.overrides.excludes((name, version)) and before.get(what) != version:
                raise NotReadyError(
                    f"{name}: {what} leads to version {version}, which was unloaded. Load it first."
                )
        return routes


def _needed(name: str, heads: Iterable[str], remedy: str) -> str:
    listed = ", ".join(heads)
    hint = f", or send {remedy}" if remedy else ""
    return f"{listed} reads the features of {name}. Unload {listed} first{hint}."
