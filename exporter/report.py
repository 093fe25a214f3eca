"""Tables that an export and an inspection show on a terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from exporter.network import Unstated
from exporter.outcome import MEASURED_BATCHES, MadeVariant, Measured
from service.card import DATA_SUFFIX, Card

WORST = 5
_PREFIXES = {"G": 1e9, "M": 1e6, "k": 1e3}


def show_card(
    path: Path, card: Card, activation: str | None = None, assumed: Sequence[Unstated] = ()
) -> Table:
    """Return a table of a servable's file, card, cost and proof.

    Args:
        path: of the servable.
        card: its card.
        activation: what makes probabilities of the raw scores, where it is known: cards do not have it.
        assumed: what nothing states of the order of colors and the resize, which cards do not have either.
    """
    proof = card.certificate
    table = Table(title=f"{card.title}  ·  {card.name}", show_header=False, title_justify="left")
    rows = {
        "file": f"{path} ({in_units(_file_bytes(path), 'B')}, {card.precision})",
        "task": f"{card.task}, {len(card.labels)} labels",
        **({"activation": activation} if activation is not None else {}),
        "parameters": in_units(card.cost.parameters),
        "MACs per image": in_units(card.cost.macs),
        "activations": in_units(card.cost.activation_bytes, "B"),
        "stages": ", ".join(f"{s.name} {s.channels}@1/{s.stride:g}" for s in card.stages),
        "proved against": proof.reference,
        "largest difference": f"{proof.max_difference:.1e} at batches {', '.join(map(str, proof.batches))}",
        "agreement": f"{proof.metric} {proof.agreement:.2%} on {_images(proof.images)}",
        **{name: f"{value:g}" for name, value in card.scores.items()},
        **_input(card, is_assumed="resize" in assumed),
        **_normalization(card, is_assumed="color" in assumed),
        **_boxes(card),
        **({"crowds": card.cut.words} if card.cut is not None else {}),
        **_accuracy(card),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def in_units(value: float, unit: str = "") -> str:
    """Return a count with three digits and its prefix: 61700 is `61.7 k`, and 350123 bytes are `350 kB`."""
    for prefix, size in _PREFIXES.items():
        if value >= 0.9995 * size:
            return f"{_three_digits(value / size)} {prefix}{unit}"
    return f"{_three_digits(value)} {unit}".rstrip()


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _file_bytes(path: Path) -> int:
    """Return the size of a servable, with that of the file of weights beside it."""
    data = path.with_name(path.name + DATA_SUFFIX)
    return path.stat().st_size + (data.stat().st_size if data.is_file() else 0)


def show_hint(hint: str) -> Text:
    """Return a warning for the end of an export."""
    return Text.assemble(("warning: ", "bold yellow"), hint)


def _input(card: Card, *, is_assumed: bool) -> dict[str, str]:
    if card.input is None:
        return {}
    return {"input": card.input.words + "; the resize is ASSUMED" * is_assumed}


def _normalization(card: Card, *, is_assumed: bool) -> dict[str, str]:
    one = card.normalization
    if one is None:
        return {}
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (one.mean, one.std))
    assumed = f"; {' and '.join(one.assumed)} ASSUMED" if one.assumed else ""
    color = one.color + " (ASSUMED)" * is_assumed
    return {
        "pixel values": f"{color}, (byte · {one.scale:.4g} − mean) / std; mean {mean}; std {std}{assumed}"
    }


def _boxes(card: Card) -> dict[str, str]:
    one = card.boxes
    if one is None:
        return {}
    assumed = f"; {' and '.join(one.assumed)} ASSUMED" if one.assumed else ""
    return {"the network's boxes": f"{one.words}{assumed}"}


def _accuracy(card: Card) -> dict[str, str]:
    """Return a row for each measured score, and one for the labels with the worst ones."""
    measured = card.accuracy
    if measured is None:
        return {}
    rows = {
        f"measured {name}": f"{value:.2%} of {_images(measured.images, 'labeled ')}"
        + (f"; the source {measured.reference[name]:.2%}" if name in measured.reference else "")
        for name, value in measured.scores.items()
    }
    worst = sorted(measured.by_label.items(), key=lambda item: list(item[1].values())[-1])[:WORST]
    if worst:
        shown = (f"{label} {list(each.values())[-1]:.1%}" for label, each in worst)
        rows[f"worst {list(worst[0][1])[-1]}"] = ", ".join(shown)
    return rows


def show_precisions(measured: Sequence[Measured]) -> Table:
    """Return a table of each precision's size, time per run on this machine, and agreement with fp32."""
    table = Table(title="Precision, on this machine", title_justify="left")
    for heading in (
        "precision",
        "size",
        "batch 1",
        "batch 8",
        "agrees with fp32",
        "layers in float",
        "",
    ):
        table.add_column(heading, justify="right")
    for one in measured:
        times = [
            f"{one.milliseconds[batch]:.1f} ms" if batch in one.milliseconds else "–"
            for batch in MEASURED_BATCHES
        ]
        in_float = str(one.in_float) if one.precision == "int8" else ""
        table.add_row(
            one.precision,
            f"{one.megabytes:.1f} MB",
            *times,
            f"{one.agreement:.2%}",
            in_float,
            "written" if one.written else "",
        )
    return table


def show_variants(variants: Sequence[MadeVariant]) -> Table:
    """Return a table of each variant's size, time of an image on this machine, and figures against fp32."""
    table = Table(title="Variants, on this machine", title_justify="left")
    for heading in ("precision", "size", "one image", "against fp32", "layers in float", ""):
        table.add_column(heading, justify="right")
    for one in variants:
        figures = ", ".join(f"{name} {figure:.4g}" for name, figure in one.agreement.items())
        in_float = str(one.in_float) if one.precision == "int8" else ""
        table.add_row(
            one.precision,
            f"{one.megabytes:.1f} MB",
            f"{one.milliseconds:.1f} ms",
            figures,
            in_float,
            "refused" if one.refused else "written",
        )
    return table


def _images(count: int, kind: str = "") -> str:
    return f"{count} {kind}{'image' if count == 1 else 'images'}"
