"""A run's JSON → a plot: images a second by batch without HTTP, and by clients on a socket."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.gpu.journal import FILE
from benchmarks.gpu.order import Order, Report
from benchmarks.gpu.summary import PLOT, models_of, serving_figures, session_rates
from benchmarks.plots import ACCENT, INK, STYLE, clear, save

COLORS = (ACCENT, "#b45309", "#1d4ed8", "#be123c", "#6d28d9", "#4d7c0f", "#0891b2", "#475569")
DRAWN = (", session", "captured loop", "CUDA graphs", "channels last", "torch.compile")
LEFT_OUT = ("ONNX Runtime fp32",)
"""Ends and beginnings of the names of the ways that are drawn, and that are not: the table has all of them."""
ROW_INCHES = 3.4
LEGEND_ROOM = 1.5


def draw_step(order: Order, report: Report) -> None:
    """Draw the plot of the run in this folder."""
    content = json.loads((order.out / FILE).read_text())
    report({"drawn": draw(content, order.out / PLOT)})


def draw(content: Mapping[str, Any], file: Path) -> int:
    """Write the plot, and return how many networks it shows; without any no file is written."""
    models = list(dict.fromkeys([*models_of(content, "rates"), *models_of(content, "service")]))
    if not models:
        return 0
    title = content.get("card") or "The CPU in place of a GPU: no figure of a GPU"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 0.6 + ROW_INCHES * len(models)), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        grid = figure.subplots(len(models), 2, squeeze=False)
        for (left, right), model in zip(grid, models, strict=True):
            rates = session_rates(content, model)
            chosen = {
                name: by_size
                for name, by_size in rates.items()
                if name.endswith(DRAWN) and not name.startswith(LEFT_OUT)
            }
            _draw_lines(left, f"{model}, without HTTP", "images in a batch", chosen)
            served: dict[str, dict[int, float]] = {}
            for name, clients, found in serving_figures(content, model):
                served.setdefault(name, {})[clients] = found["images_per_second"]
            _draw_lines(right, f"{model}, on a socket", "clients", served)
        save(figure, file)
    return len(models)


def _draw_lines(
    axes: Axes, title: str, across: str, lines: Mapping[str, Mapping[int, float]]
) -> None:
    ticks: Sequence[int] = sorted({at for points in lines.values() for at in points})
    for index, (name, points) in enumerate(lines.items()):
        at = sorted(points)
        color = COLORS[index % len(COLORS)]
        style = "-" if index < len(COLORS) else "--"
        axes.plot(at, [points[x] for x in at], style, marker="o", ms=3, color=color, label=name)
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    axes.set_xlabel(across)
    axes.set_ylabel("images a second")
    axes.set_ylim(0, axes.get_ylim()[1] * LEGEND_ROOM)
    if ticks:
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.legend(fontsize=6, loc="upper left")
    clear(axes)
