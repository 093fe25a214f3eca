"""What kind of answer a request wants: by its `format`, else by its `Accept` header (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence


def preferred(accept: str, offers: Sequence[str]) -> str:
    """Return the offer that an `Accept` header likes best; the first one where it likes none or does not care."""
    ranges = [_parse(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return offers[0]
    weights = [_weight(offer, ranges) for offer in offers]
    return offers[weights.index(max(weights))]


def _parse(part: str) -> tuple[str, float]:
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return media_range, float(quality)
    except ValueError:
        return media_range, 0.0


def _weight(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The most specific range that covers the offer decides."""
    for covering in (offer, offer.split("/", maxsplit=1)[0] + "/*", "*/*"):
        for media_range, quality in ranges:
            if media_range == covering:
                return quality
    return 0.0
