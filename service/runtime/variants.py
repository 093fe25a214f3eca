"""The variants beside a servable: files that compute nearly the same faster, each with its own card and certificate."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from service.card import CardError, Precision
from service.errors import ServableError
from service.runtime.contract import require_certificate
from service.runtime.repository import Servable
from service.servable_file import read_card


def variant_path(servable: Path, precision: Precision) -> Path:
    """Return where a servable's variant lies: in the same folder, named after its precision."""
    return servable.with_name(f"{precision}.onnx")


def variants_beside(servable: Servable) -> Iterator[tuple[Precision, Servable | ServableError]]:
    """Yield each variant that lies beside a servable, or why it can not stand in for it."""
    for precision in get_args(Precision):
        path = variant_path(servable.path, precision)
        if not path.exists():
            continue
        try:
            yield precision, _read(path, precision, servable)
        except ServableError as error:
            yield precision, error


def unusable_variants(servable: Servable) -> list[str]:
    """Return why variants beside a servable can not stand in for it (it is served without them). Reads all bytes."""
    return [
        f"the variant in {precision} can not be used: {found}"
        for precision, found in variants_beside(servable)
        if isinstance(found, ServableError)
    ]


def _read(path: Path, precision: Precision, servable: Servable) -> Servable:
    try:
        card = read_card(path)
    except (CardError, OSError) as error:
        raise ServableError(str(error)) from error
    if card.variant is None or card.precision != precision:
        raise ServableError(f"{path}: its card is not that of a variant in {precision}.")
    if card.variant.of_sha256 != servable.card.certificate.graph_sha256:
        raise ServableError(
            f"{path} is a variant of another graph ({card.variant.of_sha256[:12]}…, this one is "
            f"{servable.card.certificate.graph_sha256[:12]}…). Export the variants again."
        )
    if (card.task, card.input) != (servable.card.task, servable.card.input):
        raise ServableError(f"{path} has another task or input than {servable.path.name}.")
    found = Servable(servable.name, servable.version, path, card)
    require_certificate(found)
    return found
