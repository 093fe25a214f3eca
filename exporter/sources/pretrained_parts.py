"""An error of a callable that downloads published weights for a part of its network, and how to build it without."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_DOWNLOADS = {
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "HfHubHTTPError",
    "URLError",
    "ConnectionError",
    "ConnectError",
    "ConnectTimeout",
    "gaierror",
}
"""The errors of huggingface_hub, urllib, requests, httpx and sockets where a server is not reached."""

_WORDS_FOR_NONE = {"none", "null"}


def without_parts(
    build: Callable[..., Any], arguments: Mapping[str, Any], error: BaseException
) -> str | None:
    """Return how to build a network without published weights of a part, None where the error has another cause.

    Args:
        build: the callable.
        arguments: its keyword arguments.
        error: what it raised.
    """
    for name, value in arguments.items():
        if isinstance(value, str) and value.strip().lower() in _WORDS_FOR_NONE:
            return f"{name} is the text {value!r}; if Python's None is meant: --arg {name}=None"
    if not any(_is_download(one) for one in _chain(error)):
        return None
    named = ", ".join(_switched_off(build))
    how = f"give {named}" if named else "give --arg NAME=None for the argument that names them"
    return (
        f"It downloads published weights for a part of the network, which --weights replaces: {how}"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_download(error: BaseException) -> bool:
    return any(kind.__name__ in _DOWNLOADS for kind in type(error).__mro__)


def _switched_off(build: Callable[..., Any]) -> Iterator[str]:
    """Yield the options for the arguments of a callable whose names say that they load published weights."""
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):
        return
    for one in parameters:
        if "weights" in one.name or "pretrained" in one.name:
            off = "false" if isinstance(one.default, bool) else "None"
            yield f"--arg {one.name}={off}"
