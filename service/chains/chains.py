"""The chains that are served: found by name, run on the models that are there at that moment."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.chains.call import ChainCall
from service.chains.definition import Chain
from service.chains.repository import scan_chains
from service.chains.step_call import StepCall, bind
from service.errors import (
    ConfigurationError,
    NoDefaultModelError,
    NotReadyError,
    UnknownModelError,
    for_clients,
)
from service.fanout import FanOut
from service.logs import LOGGER
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.runtime.registry import Registry
from service.runtime.repository import Refusal
from service.shadows import Shadows
from service.tasks.task import Task

log = logging.getLogger(LOGGER)

CHAIN = "chain"
"""The name that stands for all chains in the place of a task: in paths, in videos and in the defaults."""


@dataclass(frozen=True, slots=True)
class ServedChain:
    """A chain as it is listed: whether it can run now, and why it can not."""

    chain: Chain
    reason: str
    default: bool


class Chains:
    """All chains of the model repository.

    Args:
        root: the model repository.
        tasks: what steps may do.
        registry: the models that run them.
        pipeline: takes images through the first step.
        fan_out: takes crops through the others.
        shadows: run what steps have answered on the shadows of their models.
        metrics: counts the requests to each.
        default: the name of the chain that answers when none is named; None where nobody has chosen one.

    Raises:
        ConfigurationError: the default is no chain.
    """

    def __init__(
        self,
        root: Path,
        tasks: Mapping[str, Task],
        *,
        registry: Registry,
        pipeline: Pipeline,
        fan_out: FanOut,
        shadows: Shadows,
        metrics: Metrics,
        default: str | None = None,
    ) -> None:
        self._root = root
        self._tasks = tasks
        self._registry = registry
        self._pipeline = pipeline
        self._fan_out = fan_out
        self._shadows = shadows
        self._chains: dict[str, Chain] = {}
        self._chains, self._refusals = self._scan()
        self._default = _chosen(default, self._chains)
        self._metrics = metrics
        metrics.name_chains(self._chains)

    def reload(self, default: str | None) -> None:
        """Take the files as they are now; where one is broken, what it said before stays; blocking.

        Args:
            default: as for the constructor.
        """
        try:
            found, refusals = self._scan()
        except ConfigurationError as error:
            log.error("the chains stay as they are: %s", error)
            return
        for refusal in refusals:
            if refusal not in self._refusals:
                log.error("refused: %s", refusal.reason)
            if refusal.name in self._chains:
                found[refusal.name] = self._chains[refusal.name]
        try:
            chosen = _chosen(default, found)
        except ConfigurationError as error:
            log.error("%s", error)
            chosen = self._default if self._default in found else None
        self._chains = dict(sorted(found.items()))
        self._refusals, self._default = refusals, chosen
        self._metrics.name_chains(self._chains)

    def require_default(self, default: str | None) -> None:
        """Check that a default is a chain, or was one that can not be read now; blocking.

        Raises:
            ConfigurationError: it is not.
        """
        found, refusals = self._scan()
        kept = {one.name: self._chains[one.name] for one in refusals if one.name in self._chains}
        _chosen(default, found | kept)

    def _scan(self) -> tuple[dict[str, Chain], tuple[Refusal, ...]]:
        taken = {model.name for model in self._registry.models}
        return scan_chains(self._root, self._tasks, taken, self._chains)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all chains."""
        return tuple(self._chains)

    def alternate(self, model: str, other: str) -> bool:
        """Return whether steps of one chain run on two models, by name."""
        return any(
            {model, other} <= {step.model for step in chain.steps}
            for chain in self._chains.values()
        )

    def call(self, name: str | None = None) -> ChainCall:
        """Return a call of a chain; None: the default one.

        Raises:
            UnknownModelError: there is no such chain.
            NoDefaultModelError: no name, no default, and there are several.
            NotReadyError: a model of the chain is not served, or can not do what its step wants.
        """
        if name is None and self._default is None and self._chains:
            raise NoDefaultModelError(
                f"model: there are {len(self._chains)} chains, and none is the default: {', '.join(self._chains)}. "
                "Name one of them, or set a default in foveal.toml or FOVEAL_DEFAULTS."
            )
        chosen = self._default if name is None else name
        if chosen is None or chosen not in self._chains:
            known = ", ".join(self._chains) or "none"
            missing = f"There is no chain {name!r}" if name else "There is no chain"
            raise UnknownModelError(f"{missing}. Chains: {known}.")
        chain = self._chains[chosen]
        return self._call(chain, bind(chain, self._registry))

    def served(self) -> list[ServedChain]:
        """Return all chains with their states."""
        return [
            ServedChain(chain, self._reason(chain), name == self._default)
            for name, chain in self._chains.items()
        ]

    def not_ready(self) -> list[str]:
        """Return which files are no chains, a reason each, but of those that were chains before."""
        return [
            for_clients(one.reason, one.path)
            for one in self._refusals
            if one.name not in self._chains
        ]

    def report(self) -> None:
        """Log what can not be served."""
        for refusal in self._refusals:
            log.error("refused: %s", refusal.reason)
        for chain in self._chains.values():
            try:
                bind(chain, self._registry, takes_turn=False)
            except NotReadyError as error:
                log.error("%s", error)

    def _call(self, chain: Chain, first: StepCall) -> ChainCall:
        return ChainCall(chain, first, self._pipeline, self._fan_out, self._shadows)

    def _reason(self, chain: Chain) -> str:
        """Return why a chain can not run; empty where it can."""
        try:
            first = bind(chain, self._registry, takes_turn=False)
        except NotReadyError as error:
            return str(error)
        call = self._call(chain, first)
        waiting = [one for one in call.models if not one.can_answer]
        return f"{waiting[0]} {waiting[0].reason}." if waiting else ""


def _chosen(default: str | None, chains: Mapping[str, Chain]) -> str | None:
    """Return the chain that answers when none is named: the one that was chosen, else the only one.

    Raises:
        ConfigurationError: the one that was chosen is no chain.
    """
    if default is not None and default not in chains:
        known = ", ".join(chains) or "none"
        raise ConfigurationError(
            f"FOVEAL_DEFAULTS or foveal.toml names {default!r} for {CHAIN}. Chains: {known}."
        )
    return default or (next(iter(chains)) if len(chains) == 1 else None)
