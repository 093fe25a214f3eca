"""`foveal reload`: tells a running service to look at its models again, and prints what came of it."""

import http.client
import urllib.error
import urllib.request

from pydantic_core import from_json
from rich.console import Console
from rich.markup import escape

from service.errors import ConfigurationError
from service.runtime.change import ChangeReport
from service.runtime.fleet import ModelPlan

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
        raise ConfigurationError(_no_service(url, error)) from error
    for what, found in (("loaded", report.loaded), ("removed", report.removed)):
        if found:
            console.print(f"{what}: {', '.join(found)}")
    for name, reason in report.refused.items():
        console.print(f"[red]refused[/] {escape(name)}: {escape(reason)}")
    for name, plan in report.plans.items():
        console.print(escape(f"{name}: {_words(plan)}"))
    for task, selector in report.defaults.items():
        console.print(escape(f"default of {task}: {selector or 'none'}"))
    if not any((report.loaded, report.removed, report.refused, report.plans, report.defaults)):
        console.print("nothing has changed")
    return 1 if report.refused else 0


def _words(plan: ModelPlan) -> str:
    """Return what is wanted of a model, as a line for people."""
    aliases = ", ".join(
        f"{alias} is version {plan.aliases[alias]}" for alias in sorted(plan.aliases)
    )
    shares = ", ".join(f"{target} {share:g} %" for target, share in plan.weights.items())
    parts = [
        aliases or "no aliases",
        f"shares {shares}" if shares else "the newest version answers",
        f"shadow {plan.shadow}" if plan.shadow else "",
        f"asleep after {plan.ttl_seconds:g} s" if plan.ttl_seconds else "",
    ]
    return "; ".join(part for part in parts if part)


def _no_service(url: str, error: Exception) -> str:
    """Return what to do where no service answers."""
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, ConnectionRefusedError):
        return f"Nothing listens at {url}. Start the service, or name its address with --url."
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason
    return f"{url} does not answer as a Foveal service: {text}. Check the address in --url."


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(from_json(error.read())["detail"])
    except (ValueError, KeyError, TypeError, OSError):
        return str(error.reason)
