"""How spans travel: a session of HTTP for which only the collector's own answer counts, and of that the beginning."""

from io import BytesIO
from typing import Any

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as BrokenConnection
from requests.exceptions import TooManyRedirects
from urllib3.exceptions import HTTPError

MOST_ANSWER_BYTES = 1 << 16
"""Of an answer; a collector says in it how many spans it refused, which nothing reads."""


def open_session() -> Session:
    """Return a session whose answers are bounded, and which follows no redirects: to it they are failures.

    Another place would get the spans by a GET, without them. OpenTelemetry's exporter takes a redirect for a success.
    """
    session = Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Bounded())
    return session


class _Bounded(HTTPAdapter):
    def send(self, request: PreparedRequest, *given: Any, **options: Any) -> Response:  # noqa: ANN401  # of requests
        answer = super().send(request, *given, **{**options, "stream": True})
        try:
            answer.raw = BytesIO(_beginning(answer.raw))
        except (HTTPError, OSError) as error:
            answer.close()
            raise BrokenConnection(error, request=request) from error
        if 300 <= answer.status_code < 400:
            raise TooManyRedirects("the collector redirects", response=answer, request=request)
        return answer


def _beginning(raw: Any) -> bytes:  # noqa: ANN401  # urllib3's
    """Return an answer's bytes; the connection of a longer one is closed, of any other it can be used again."""
    content = b""
    while block := raw.read(MOST_ANSWER_BYTES + 1 - len(content)):
        content += block
        if len(content) > MOST_ANSWER_BYTES:
            raw.close()
            break
    return content[:MOST_ANSWER_BYTES]
