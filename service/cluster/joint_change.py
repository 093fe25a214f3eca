"""A change of the models in all ingress replicas: each prepares it, then all do it, or none does."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from service.cluster.replicas import Refused
from service.errors import FovealError, UnavailableError
from service.logs import LOGGER
from service.processes.fleet_changes import by_process, joined
from service.runtime.change import ChangeReport
from service.runtime.wanted import Key

log = logging.getLogger(LOGGER)

PREPARE_SECONDS = 900.0
"""How long the replicas may take to load what is new: longer than a single model may."""
COMMIT_SECONDS = 60.0
Failures = dict[Key, str]


class Ingress(Protocol):
    """All replicas of the ingress that run. A call that one does not answer is an exception in the list."""

    async def ask_ingress(self, method: str, *given: Any, timeout_seconds: float) -> list[Any]: ...  # noqa: ANN401


class JointChange:
    """One change.

    A replica that dies meanwhile is no reason against it: the next one begins with what counts then.

    Args:
        ingress: all replicas.
        change: a `Change` as JSON.
        identity: its name.
    """

    def __init__(self, ingress: Ingress, change: Mapping[str, Any], identity: str) -> None:
        self._ingress = ingress
        self._change = dict(change)
        self._identity = identity

    async def prepare(self) -> dict[str, Any]:
        """Let all replicas prepare the change; return what admin calls have changed then, as JSON.

        Raises:
            FovealError: one of them can not do it.
        """
        prepared = await self._ask("prepare", self._change)
        union: Failures = {}
        for _ in range(len(prepared) + 2):
            found = {name: dict(one["failures"]) for name, one in prepared.items()}
            for key in {key for its in found.values() for key in its} - union.keys():
                reasons = {name: its[key] for name, its in found.items() if key in its}
                union[key] = by_process(reasons, len(found))
            if all(union.keys() == its.keys() for its in found.values()):
                overrides: dict[str, Any] = next(iter(prepared.values()))["overrides"]
                return overrides
            prepared = await self._ask("do_without", list(union.items()))
        raise UnavailableError(
            "The replicas can not load the same models. Their logs have the reasons."
        )

    async def commit(self, revision: int) -> dict[str, Any]:
        """Let all replicas do it; return what came of it, as JSON. Those that do not answer are replaced."""
        answers = await self._ingress.ask_ingress(
            "commit", self._identity, revision, timeout_seconds=COMMIT_SECONDS
        )
        reports: list[tuple[str, ChangeReport]] = []
        for one in answers:
            if isinstance(one, BaseException) or one[1] is None:
                log.warning("a replica of the ingress has missed a change, and is replaced")
            else:
                reports.append((one[0], ChangeReport.model_validate(one[1])))
        if not reports:
            return ChangeReport(drained=False).model_dump(mode="json")
        refused: dict[str, str] = {}
        for name, report in reports:
            for version, reason in report.refused.items():
                refused.setdefault(
                    version, reason if name == reports[0][0] else f"{name}: {reason}"
                )
        drained = all(report.drained for _, report in reports)
        first = reports[0][1]
        return first.model_copy(update={"drained": drained, "refused": refused}).model_dump(
            mode="json"
        )

    async def drop(self) -> None:
        """Let all replicas forget it."""
        await self._ingress.ask_ingress("drop", self._identity, timeout_seconds=COMMIT_SECONDS)

    async def _ask(self, method: str, given: object) -> dict[str, dict[str, Any]]:
        answers = await self._ingress.ask_ingress(
            method, self._identity, given, timeout_seconds=PREPARE_SECONDS
        )
        prepared: dict[str, dict[str, Any]] = {}
        errors: dict[str, FovealError] = {}
        for one in answers:
            if isinstance(one, TimeoutError):
                raise UnavailableError(
                    f"A replica of the ingress has not prepared the change within {PREPARE_SECONDS:g} s; nothing has "
                    "changed."
                )
            if isinstance(one, BaseException):
                log.warning("a replica of the ingress has ended while the models changed: %s", one)
                continue
            name, answer = one
            if isinstance(answer, Refused):
                errors[name] = answer.error()
            else:
                prepared[name] = answer
        if errors:
            raise joined(errors, len(errors) + len(prepared))
        if not prepared:
            raise UnavailableError(
                "No replica of the ingress answers, so that no model is changed anywhere. Try again in a moment."
            )
        return prepared
