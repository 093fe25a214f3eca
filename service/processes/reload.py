"""`foveal reload`: tells a running service to look at its models again, and prints what came of it."""

import http.client
import urllib.error
import urllib.request

from pydantic_core import from_json
from rich.console import Console
from rich.markup import escape

from service.errors import ConfigurationError
from service.runtime.change import ChangeReport

SECONDS = 900.0
"""How long the loading may take."""


def reload_models(console: Console, url: str, key: str) -> int:
    """Return the exit code: 1 where something was refused.

    Raises:
        ConfigurationError: the service does not answer, or does not do it.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{url} is no URL; write http://HOST:PORT or https://HOST:PORT.")
    request = urllib.request.Request(  # noqa: S310  # checked above
        f"{url.rstrip('/')}/v1/admin/reload", method="POST", headers=_headers(key)
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310  # checked above
            report = ChangeReport.model_validate(from_json(answer.read()))
    except urllib.error.HTTPError as error:
        raise ConfigurationError(f"{url} answered {error.code}: {_detail(error)}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigurationError(f"{url} does not answer as a Foveal service: {reason}.") from error
    for what, found in (("loaded", report.loaded), ("removed", report.removed)):
        if found:
            console.print(f"{what}: {', '.join(found)}")
    for name, reason in report.refused.items():
        console.print(f"[red]refused[/] {escape(name)}: {escape(reason)}")
    if not (report.loaded or report.removed or report.refused):
        console.print("nothing has changed")
    return 1 if report.refused else 0


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(from_json(error.read())["detail"])
    except (ValueError, KeyError, TypeError, OSError):
        return str(error.reason)
