"""The guard that counts: so many requests a time by each client; `RateLimit` headers state them."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

from limits import RateLimitItem, parse_many
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.guards.clients import address_of
from service.api.guards.counters import Counters, whole_seconds
from service.api.guards.refusal import refuse
from service.api.guards.scopes import is_open
from service.api.record import RECORD_KEY, RequestRecord
from service.errors import ConfigurationError, RateLimitedError

Identify = Callable[[Scope], str]
"""Returns which client a request counts for; empty for none."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One limit, by `name` for its headers."""

    name: str
    item: RateLimitItem

    @property
    def amount(self) -> int:
        return self.item.amount

    @property
    def seconds(self) -> int:
        return self.item.get_expiry()

    @property
    def policy(self) -> bytes:
        return b'"%s";q=%d;w=%d' % (self.name.encode(), self.amount, self.seconds)


def parse_rate(counted: str, text: str) -> tuple[RateLimit, ...]:
    """Return the limits that a setting states, such as `10/second; 1000/hour`; none for an empty one.

    Args:
        counted: what has a count of its own, `key` or `address`.
        text: as the library `limits` writes them.

    Raises:
        ConfigurationError: it states none that can be understood.
    """
    if not text.strip():
        return ()
    variable = f"FOVEAL_RATE_LIMIT_PER_{counted.upper()}"
    try:
        items = parse_many(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{variable}={text} is not a rate limit. Write it as 10/second, 600/minute or 10/second; 5000/hour."
        ) from error
    if any(item.amount < 1 or item.get_expiry() < 1 for item in items):
        raise ConfigurationError(f"{variable}={text} allows nothing. State at least 1 request.")
    return tuple(RateLimit(f"{counted}-{item.get_expiry()}s", item) for item in items)


class RateLimitGuard:
    """Plain ASGI: counts the requests of each client, and refuses those above a limit.

    The pages and the health routes are not counted. Each process of the service counts for itself.

    Args:
        app: what it guards.
        limits: which a client must all observe.
        identify: says which client a request counts for.
        counters: where the requests are counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: tuple[RateLimit, ...],
        identify: Identify,
        counters: Counters | None = None,
    ) -> None:
        self.app = app
        self._limits = limits
        self._identify = identify
        self._counters = counters or Counters()
        self._limiter = SlidingWindowCounterRateLimiter(self._counters)
        self._policy = (b"ratelimit-policy", b", ".join([one.policy for one in limits]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        client = self._identify(scope)
        if not client:
            await self.app(scope, receive, send)
            return
        exceeded = [one for one in self._limits if not self._limiter.test(one.item, client)]
        if not exceeded:  # what is refused by one limit is not counted by another
            for one in self._limits:
                self._limiter.hit(one.item, client)
        headers = [self._policy, (b"ratelimit", self._standing(client))]
        if not exceeded:

            async def send_with_headers(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message.get("headers", ()), *headers]}
                await send(message)

            await self.app(scope, receive, send_with_headers)
            return
        wait, longest = max(((self._wait(one, client), one) for one in exceeded), key=itemgetter(0))
        seconds = whole_seconds(wait)
        error = RateLimitedError(
            f"More than {longest.amount} requests in {longest.seconds} s. Try again in {seconds} s."
        )
        retry = (b"retry-after", b"%d" % seconds)
        await refuse(error, scope, receive, send, [retry, *headers])

    def _standing(self, client: str) -> bytes:
        """Return how many requests are left of each limit, and the seconds until there is one more."""
        parts = []
        for one in self._limits:
            left = self._limiter.get_window_stats(one.item, client).remaining
            after = 0 if left else whole_seconds(self._wait(one, client))
            parts.append(b'"%s";r=%d;t=%d' % (one.name.encode(), left, after))
        return b", ".join(parts)

    def _wait(self, limit: RateLimit, client: str) -> float:
        key = limit.item.key_for(client)
        return self._counters.seconds_until_free(key, limit.amount, limit.seconds)


def by_key(scope: Scope) -> str:
    """Return the name of the request's key."""
    record: RequestRecord = scope[RECORD_KEY]
    return record.client


def by_address(scope: Scope) -> str:
    """Return the request's address."""
    return address_of(scope)
