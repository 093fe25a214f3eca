"""The reference of the errors as Markdown, made from the tree of errors."""

import inspect

from service.errors import ConfigurationError, FovealError, error_types
from service.reference.markdown import cell, table

HEADER = """# Errors

Made from `service/errors.py` by `make reference`; do not edit.

The body of an error is `application/problem+json` (RFC 9457). `code` is stable; programs read it. `detail` says what
happened, what it was compared with, and the next step. [Troubleshooting](troubleshooting.md) says more about the
frequent ones.

    {"title":"Unknown model","status":404,"detail":"…","code":"unknown_model","request_id":"…"}

In a request with several images, an image that fails has `{"error": {"code", "detail"}}` in place of its result.
"""


def reference() -> str:
    """Return a row for each code that a client can get: its status and when it is sent."""
    kinds = [kind for kind in error_types() if not issubclass(kind, ConfigurationError)]
    rows = [_row(kind) for kind in sorted(kinds, key=lambda kind: (kind.status, kind.code))]
    return "\n".join([HEADER, *table(("code", "status", "when"), rows)])


def _row(kind: type[FovealError]) -> tuple[str, ...]:
    return f"`{kind.code}`", str(kind.status), cell(inspect.cleandoc(kind.__doc__ or ""))
