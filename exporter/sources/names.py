"""Names of networks that a framework does not know, with those that are spelled alike."""

from collections.abc import Sequence
from difflib import get_close_matches

from exporter.errors import SourceError


def unknown_network(name: str, known: Sequence[str], listing: str) -> SourceError:
    """Return the error of an unknown name, with up to four similar ones.

    Args:
        name: what was not found.
        known: the framework's names.
        listing: the call that lists them, `framework.function()`.
    """
    near = get_close_matches(name, known, 4, 0.5)
    framework, _, _ = listing.partition(".")
    hint = f"Similar names: {', '.join(near)}" if near else f"See {listing}"
    return SourceError(f"{framework} has no network {name!r}. {hint}")
