"""A change of the models in all processes of a service: each prepares it, then all do it, or none does.

Worker 1 does one change after the other, and the others pass theirs on to it. It asks every process to prepare the
change. When all have, it writes into a file of the service's folder that the change happens, and then lets all of them
do it. A process that loses worker 1 in between finds in that file what has become of the change, and one that takes the
place of a dead one begins with it.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from service.errors import BY_CODE, FovealError, RefusedModelError, UnavailableError
from service.logs import LOGGER
from service.processes.slot import WorkerSlot
from service.runtime.change import Change, ChangeReport
from service.runtime.changes import Changes, Prepared
from service.runtime.wanted import NO_OVERRIDES, Key, Overrides
from service.whole_write import write_whole

log = logging.getLogger(LOGGER)

FORWARD, PREPARE = b"change ", b"prepare "
_COMMIT, _WITHOUT = b"commit", b"without "
MOST_BYTES = 1 << 20
"""Of one message: a change, a report."""
OVERRIDES = TypeAdapter(Overrides)
_FAILURES = TypeAdapter(dict[Key, str])


def read_overrides(slot: WorkerSlot) -> Overrides:
    """Return what admin calls have changed since the service began."""
    return _read_decision(slot)[1]


def _read_decision(slot: WorkerSlot) -> tuple[str, Overrides]:
    try:
        decision = from_json(slot.overrides.read_bytes())
    except FileNotFoundError:
        return "", NO_OVERRIDES
    return decision["id"], OVERRIDES.validate_python(decision["overrides"])


def _decide(slot: WorkerSlot, identity: str, overrides: Overrides) -> None:
    written = OVERRIDES.dump_python(overrides, mode="json")
    write_whole(slot.overrides, to_json({"id": identity, "overrides": written}))


class FleetChanges:
    """This process's part in the changes of all.

    Args:
        slot: this process's.
        changes: changes what this process serves.
    """

    def __init__(self, slot: WorkerSlot, changes: Changes) -> None:
        self._slot = slot
        self._changes = changes
        self._passed_on: dict[str, asyncio.Future[ChangeReport]] = {}
        """By identity, what comes here of a change that was passed on."""

    async def change(self, change: Change) -> ChangeReport:
        """Do a change in all processes, or in none.

        Raises:
            RequestError: it can not be done.
            UnavailableError: a process does not answer, or ends.
        """
        identity = secrets.token_hex(8)
        do = self._pass_on if self._slot.index else self._lead
        return await do(change, identity)

    async def _lead(self, change: Change, identity: str) -> ChangeReport:
        """Do a change in all processes, as worker 1."""
        async with AsyncExitStack() as stack:
            try:
                own = await stack.enter_async_context(self._changes.prepared(change))
            except RefusedModelError as error:
                others = await self._let_prepare(stack, change, identity)
                raise await self._refused(error, others) from error
            others = await self._let_prepare(stack, change, identity)
            await self._agree(own, others)
            await asyncio.to_thread(_decide, self._slot, identity, own.overrides)
            for other in others:
                with contextlib.suppress(OSError):  # it finds the decision in the file
                    await other.send(_COMMIT)
            report = await self._changes.commit(own)
            reports = [await other.report() for other in others]
        drained = report.drained and all(one is None or one.drained for one in reports)
        refused = dict(report.refused)
        for other, one in zip(others, reports, strict=True):
            for name, reason in one.refused.items() if one else ():
                refused.setdefault(name, f"{other.name}: {reason}")
        return report.model_copy(update={"drained": drained, "refused": refused})

    async def _let_prepare(
        self, stack: AsyncExitStack, change: Change, identity: str
    ) -> "list[_Link]":
        """Let all other processes prepare a change; what they have prepared is dropped when the stack ends."""
        order = _order(change, identity)
        others = [await stack.enter_async_context(_link(slot)) for slot in self._slot.others()]
        for other in others:
            await other.send(PREPARE + order)
        return others

    async def _refused(self, error: FovealError, others: "Sequence[_Link]") -> FovealError:
        """Return why a change can not be done, with the reason of each process; this one's is known."""
        _, errors = await _prepared_by(others)
        return joined({self._slot.name: error, **errors}, 1 + len(others))

    async def _agree(self, own: Prepared, others: "Sequence[_Link]") -> None:
        """Wait until all have prepared the change, and all do without the same versions."""
        failures, errors = await _prepared_by(others)
        if errors:
            raise joined(errors, 1 + len(others))
        union: dict[Key, str] = {}
        for _ in range(len(others) + 2):
            found = {self._slot.name: own.transition.failures}
            found |= {one.name: its for one, its in zip(others, failures, strict=True)}
            for key in {key for its in found.values() for key in its} - union.keys():
                reasons = {name: its[key] for name, its in found.items() if key in its}
                union[key] = by_process(reasons, len(found))
            if all(union.keys() == one.keys() for one in (own.transition.failures, *failures)):
                return
            await self._changes.do_without(own, union)
            for other in others:
                await other.send(_WITHOUT + _failures_json(union))
            failures = [await other.failures() for other in others]
        raise UnavailableError(
            "The workers can not load the same models. Their logs have the reasons."
        )

    async def _pass_on(self, change: Change, identity: str) -> ChangeReport:
        """Let worker 1 do a change; where it ends in between, say what has become of the change."""
        first = WorkerSlot(self._slot.folder, 0, self._slot.count)
        own: asyncio.Future[ChangeReport] = asyncio.get_running_loop().create_future()
        self._passed_on[identity] = own
        try:
            async with _link(first) as link:
                await link.send(FORWARD + _order(change, identity))
                message = await link.receive()
            if message:
                return ChangeReport.model_validate(_unpacked(message))
            if await self._is_decided(identity):
                return await own
            raise _ended(first.name)
        finally:
            del self._passed_on[identity]
            if not own.cancel() and not own.cancelled():
                own.exception()  # else asyncio logs one that nobody waits for

    async def _is_decided(self, identity: str) -> bool:
        decided, _ = await asyncio.to_thread(_read_decision, self._slot)
        return decided == identity

    async def serve(
        self, query: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer another process's query, one that begins with `FORWARD` or `PREPARE`."""
        link = _Link(self._slot.name, reader, writer)
        try:
            if query.startswith(FORWARD):
                order = from_json(query.removeprefix(FORWARD))
                leading = self._lead(Change.model_validate(order["change"]), order["id"])
                report = await asyncio.shield(asyncio.ensure_future(leading))
                await link.send(to_json(report.model_dump(mode="json")))
            else:
                await self._take_part(from_json(query.removeprefix(PREPARE)), link)
        except FovealError as error:
            await link.send(to_json({"error": {"code": error.code, "detail": str(error)}}))

    async def _take_part(self, order: dict[str, Any], link: "_Link") -> None:
        change = Change.model_validate(order["change"])
        async with self._changes.prepared(change) as prepared:
            await link.send(_failures_json(prepared.transition.failures))
            while (word := await link.receive()).startswith(_WITHOUT):
                failures = _FAILURES.validate_python(_keys(from_json(word.removeprefix(_WITHOUT))))
                await self._changes.do_without(prepared, failures)
                await link.send(_failures_json(prepared.transition.failures))
            # An empty word: worker 1 has ended.
            if word == _COMMIT or await self._is_decided(order["id"]):
                report = await self._commit(prepared, self._passed_on.get(order["id"]))
                with contextlib.suppress(OSError):
                    await link.send(to_json(report.model_dump(mode="json")))

    async def _commit(
        self, prepared: Prepared, waiting: "asyncio.Future[ChangeReport] | None"
    ) -> ChangeReport:
        """Do a change that all have prepared, and say so where the call for it came to this process."""
        try:
            report = await self._changes.commit(prepared)
        except Exception as error:
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
            raise
        if waiting is not None and not waiting.done():
            waiting.set_result(report)
        return report


class _Link:
    """A connection to another process, on which each message is a line."""

    def __init__(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.name = name
        self._reader = reader
        self._writer = writer

    async def send(self, message: bytes) -> None:
        self._writer.write(message + b"\n")
        await self._writer.drain()

    async def receive(self) -> bytes:
        """Return the next message; empty where the other process has ended."""
        try:
            return (await self._reader.readline()).rstrip(b"\n")
        except (OSError, ValueError):
            return b""

    async def answer(self) -> Any:  # noqa: ANN401  # JSON
        """Return the next message.

        Raises:
            FovealError: it is an error, which is raised here as it was there.
            UnavailableError: the other process has ended.
        """
        message = await self.receive()
        if not message:
            raise _ended(self.name)
        return _unpacked(message)

    async def failures(self) -> dict[Key, str]:
        return _FAILURES.validate_python(_keys(await self.answer()))

    async def report(self) -> ChangeReport | None:
        """Return what came of the change there; None where the process has ended: its successor begins with it."""
        with contextlib.suppress(FovealError):
            return ChangeReport.model_validate(await self.answer())
        return None


def _order(change: Change, identity: str) -> bytes:
    return to_json({"id": identity, "change": change.model_dump(mode="json")})


def _unpacked(message: bytes) -> Any:  # noqa: ANN401  # JSON
    """Return a message, or raise the error that it is."""
    found = from_json(message)
    if isinstance(found, dict) and "error" in found:
        raise BY_CODE.get(found["error"]["code"], FovealError)(found["error"]["detail"])
    return found


def _ended(name: str) -> UnavailableError:
    return UnavailableError(
        f"{name} has ended while the models changed; nothing has changed. Try again in a moment."
    )


async def _prepared_by(
    others: Sequence[_Link],
) -> tuple[list[dict[Key, str]], dict[str, FovealError]]:
    """Return what each process does without, and by name why some could not prepare the change."""
    failures, errors = list[dict[Key, str]](), dict[str, FovealError]()
    for other in others:
        try:
            failures.append(await other.failures())
        except FovealError as error:
            errors[other.name] = error
    return failures, errors


def joined(errors: Mapping[str, FovealError], count: int) -> FovealError:
    """Return one error for those of several processes, of so many; the first one's kind."""
    first = next(iter(errors.values()))
    return type(first)(by_process({name: str(one) for name, one in errors.items()}, count))


def by_process(reasons: Mapping[str, str], count: int) -> str:
    """Return the reasons of several processes, of so many, as one text; where all have the same, none is named."""
    if len(reasons) == count and len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


@asynccontextmanager
async def _link(slot: WorkerSlot) -> AsyncIterator[_Link]:
    try:
        reader, writer = await asyncio.open_unix_connection(slot.socket, limit=MOST_BYTES)
    except OSError as error:
        raise UnavailableError(
            f"{slot.name} does not answer, so that no model is changed anywhere. Try again in a moment."
        ) from error
    try:
        yield _Link(slot.name, reader, writer)
    finally:
        writer.close()


def _failures_json(failures: Any) -> bytes:  # noqa: ANN401  # a mapping of keys
    return to_json([[name, version, reason] for (name, version), reason in failures.items()])


def _keys(rows: Any) -> dict[Key, str]:  # noqa: ANN401  # JSON
    return {(name, version): reason for name, version, reason in rows}
