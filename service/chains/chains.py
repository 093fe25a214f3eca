"""The chains that are served: found by name, run on the models that are there at that moment."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.chains.call import ChainCall, bind
from service.chains.definition import Chain
from service.chains.repository import scan_chains
from service.errors import (
    ConfigurationError,
    NotReadyError,
    UnknownModelError,
    for_clients,
)
from service.fanout import FanOut
from service.logs import LOGGER
from service.pipeline import Pipeline
from service.runtime.registry import Registry
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
        default: the chain that answers when none is named; None: the first by name.

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
        default: str | None = None,
    ) -> None:
        taken = {model.name for model in registry.models}
        self._chains, self._refusals = scan_chains(root, tasks, taken)
        self._registry = registry
        self._pipeline = pipeline
        self._fan_out = fan_out
        if default is not None and default not in self._chains:
            known = ", ".join(self._chains) or "none"
            raise ConfigurationError(
                f"FOVEAL_DEFAULTS names {default!r} for {CHAIN}. Chains: {known}."
            )
        self._default = default or next(iter(self._chains), None)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all chains."""
        return tuple(self._chains)

    def call(self, name: str | None = None) -> ChainCall:
        """Return a call of a chain; None: the default one.

        Raises:
            UnknownModelError: there is no such chain.
            NotReadyError: a model of the chain is not served, or can not do what its step wants.
        """
        chosen = self._default if name is None else name
        if chosen is None or chosen not in self._chains:
            known = ", ".join(self._chains) or "none"
            missing = f"There is no chain {name!r}" if name else "There is no chain"
            raise UnknownModelError(f"{missing}. Chains: {known}.")
        chain = self._chains[chosen]
        return ChainCall(chain, bind(chain, self._registry), self._pipeline, self._fan_out)

    def served(self) -> list[ServedChain]:
        """Return all chains with their states."""
        return [
            ServedChain(chain, self._reason(chain), name == self._default)
            for name, chain in self._chains.items()
        ]

    def not_ready(self) -> list[str]:
        """Return which files are no chains, a reason each."""
        return [for_clients(one.reason, one.path) for one in self._refusals]

    def report(self) -> None:
        """Log what can not be served."""
        for refusal in self._refusals:
            log.error("refused: %s", refusal.reason)
        for chain in self._chains.values():
            try:
                bind(chain, self._registry)
            except NotReadyError as error:
                log.error("%s", error)

    def _reason(self, chain: Chain) -> str:
        """Return why a chain can not run; empty where it can."""
        try:
            call = ChainCall(chain, bind(chain, self._registry), self._pipeline, self._fan_out)
        except NotReadyError as error:
            return str(error)
        waiting = [one for one in call.models if one.state != "ready"]
        return f"{waiting[0]} {waiting[0].reason}." if waiting else ""
