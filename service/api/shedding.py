"""Requests to a queue that is known to be full are refused before they are parsed, for a fraction of the cost.

A refusal the long way costs as much as a small answer. Of 512 clients that sent again at once, half were refused, and
the refusals took half of the service's goodput.
"""

import logging
import re
import sys
import weakref
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection
from dataclasses import dataclass

from starlette.types import Scope

from service.api.error_forms import answer_to
from service.api.record import RequestRecord, request_ids, route_of
from service.errors import OverloadedError
from service.logs import LOGGER
from service.metrics import Metrics

log = logging.getLogger(LOGGER)

MOST_TARGETS = 64
"""Targets (paths with their queries) that are known at once; when there are more, all are forgotten."""
REPORT_SECONDS = 1.0
"""How often what was refused is counted and logged. Then all is forgotten: other versions may answer by now."""
Room = weakref.WeakMethod[Callable[[], int]]
"""How many more images a queue takes now."""
_SAFE_ID = re.compile(r"[\w.-]{1,128}", re.ASCII)
"""A request id of a client that needs no escapes in JSON."""
_ID_BYTES = 32


@dataclass(slots=True)
class _Full:
    """A target whose queue was full when a request came last.

    Where versions share the requests of a model, `rooms` has the queue of each that has refused one.
    """

    route: str
    model: str
    version: int
    rooms: dict[int, Room]
    wanted: object
    """What led the request there."""
    answer: bytes
    """From the headers on, with places for the body's length and the request id, also where the body has it."""
    length: int
    """Of the body without the request id."""
    ids: int
    """How often the body has it."""
    refused: int = 0
    passed: int = 0
    """How many came in this step of the event loop and are not queued yet."""

    def queued(self) -> None:
        """Note that what came in the last step is queued."""
        self.passed = 0


class Shedding:
    """Remembers which requests a full queue refused, and refuses the next ones while it stays full.

    Everything runs on the event loop.

    Args:
        metrics: counts what is refused.
        sharing: returns the versions of a model that share its requests; none where one answers all.
        wanted: returns what leads requests to models, another object once that changes.
        remembers: False where a guard may refuse what a queue would. Then nothing is refused here, because the answer
            would tell a client without a key which models exist and how busy they are.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        sharing: Callable[[str], Collection[int]] = lambda _: (),
        wanted: Callable[[], object] = lambda: None,
        remembers: bool = True,
    ) -> None:
        self._metrics = metrics
        self._sharing = sharing
        self._wanted = wanted
        self._remembers = remembers
        self._targets: dict[bytes, _Full] = {}
        self._reports = False
        self._ids = map(str.encode, request_ids())

    @property
    def targets(self) -> int:
        """How many targets are known."""
        return len(self._targets)

    def note(self, scope: Scope, record: RequestRecord, error: OverloadedError) -> None:
        """Remember that a request was refused; an error whose queue is not known is not remembered."""
        if error.room is None or not self._remembers:
            return
        query = scope["query_string"]
        target = scope.get("raw_path", b"") + (b"?" + query if query else b"")
        known = self._targets.get(target)
        if known is not None and known.model == record.model:
            known.rooms[record.version] = error.room
            return
        if known is not None or len(self._targets) >= MOST_TARGETS:
            self._forget()
        self._targets[target] = _full(scope, record, error, self._wanted())

    def refusal(self, target: bytes, given_id: str | None, loop: AbstractEventLoop) -> bytes | None:
        """Return the answer from its headers on for a request that its queue would refuse; None for any other."""
        full = self._targets.get(target)
        if full is None or (given_id is not None and not _SAFE_ID.fullmatch(given_id)):
            return None
        room = self._room(full) if full.wanted is self._wanted() else None
        if room is None:  # the model was removed, or another may answer
            del self._targets[target]
            return None
        if full.passed < room:
            if not full.passed:
                loop.call_soon(full.queued)
            full.passed += 1
            return None
        full.refused += 1
        if not self._reports:
            self._reports = True
            loop.call_later(REPORT_SECONDS, self._report)
        request_id = given_id.encode() if given_id else next(self._ids)
        length = full.length + full.ids * len(request_id)
        return full.answer % (length, request_id, *[request_id] * full.ids)

    def _room(self, full: _Full) -> int | None:
        """Return how many images the emptiest queue that may get them would take; None where one was removed."""
        most = 0
        for version in self._sharing(full.model) or (full.version,):
            reference = full.rooms.get(version)
            if reference is None:  # it has refused none yet
                return sys.maxsize
            room = reference()
            if room is None:
                return None
            most = max(most, room())
        return most

    def _report(self) -> None:
        self._reports = False
        self._forget()

    def _forget(self) -> None:
        for full in self._targets.values():
            if full.refused:
                answered, *_ = self._metrics.of_request(full.route, full.model, full.version, 503)
                answered.inc(full.refused)
                self._metrics.errors.labels(full.route, OverloadedError.code).inc(full.refused)
                log.info("POST %s 503: %d refused, the queue is full", full.route, full.refused)
        self._targets.clear()


def _full(scope: Scope, record: RequestRecord, error: OverloadedError, wanted: object) -> _Full:
    assert error.room is not None
    placeholder = "0" * _ID_BYTES
    response = answer_to(error, scope["path"], placeholder)
    fields = [one for one in response.raw_headers if one[0] != b"content-length"]
    head = b"".join(b"%s: %s\r\n" % field for field in fields)
    body = bytes(response.body)
    answer = head.replace(b"%", b"%%") + (
        b"x-content-type-options: nosniff\r\nserver-timing: total;dur=0\r\n"
        b"content-length: %d\r\nx-request-id: %s\r\n\r\n"
    )
    answer += body.replace(b"%", b"%%").replace(placeholder.encode(), b"%s")
    ids = body.count(placeholder.encode())
    return _Full(
        route_of(record, scope),
        record.model,
        record.version,
        {record.version: error.room},
        wanted,
        answer,
        len(body) - ids * _ID_BYTES,
        ids,
    )
