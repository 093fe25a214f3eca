"""Draws p99 against load: a panel for each balancer, a line for each number of machines; for light and dark pages."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.capacity.curves import Curve
from benchmarks.plots import FAINT, INK, STYLE, clear

PAPER, GRID = "#fffffe", "#e2e8f1"
LINES = ("#b45309", "#d97707", "#0ea5a0", "#0f766f", "#134e4b")
"""From one machine to the most."""
DARK = {
    PAPER: "#0f172a",
    GRID: "#243146",
    INK: "#e2e8f0",
    FAINT: "#64748b",
    LINES[0]: "#f59e0b",
    LINES[1]: "#fbbf24",
    LINES[2]: "#14b8a6",
    LINES[3]: "#5eead4",
    LINES[4]: "#d5fbf2",
}
"""Color on a light page → color on a dark one."""
TITLES = {
    "least-outstanding": "least outstanding",
    "power-of-two": "the better of two, drawn by lot",
    "round-robin": "round robin",
    "random": "random: the same for any number",
}
HIGHEST = 30.0
"""Of the axis, in times of an image alone."""
TICKS = (1, 2, 3, 5, 10, 20, 30)


def draw_curves(curves: Sequence[Curve], alone: float, title: str, file: Path) -> None:
    """Write the plot.

    Args:
        curves: of one measurement.
        alone: seconds of an image while there is no other.
        title: of the figure.
        file: an SVG.
    """
    with mpl.rc_context(STYLE | {"axes.facecolor": PAPER, "xtick.labelcolor": INK}):
        figure = Figure(figsize=(9.0, 6.6), layout="constrained")
        figure.suptitle(title, x=0.012, ha="left", fontsize=11)
        grid = figure.subplots(2, 2, sharex=True, sharey=True)
        single = [curve for curve in curves if curve.machines == 1]
        counts = sorted({curve.machines for curve in curves})
        colors = dict(zip(counts, LINES[-len(counts) :], strict=True)) | {1: LINES[0]}
        for axes, (name, words) in zip(grid.flat, TITLES.items(), strict=True):
            several = [one for one in curves if one.balancer == name and one.machines > 1]
            _draw_panel(axes, [*single, *several], alone, colors)
            axes.set_title(words, loc="left", fontsize=9.5, color=INK)
        for axes in grid[:, 0]:
            axes.set_ylabel("p99, times an image alone")
        for axes in grid[1]:
            axes.set_xlabel("load, share of the capacity")
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=len(labels),
            frameon=False,
            fontsize=8.5,
        )
        file.write_text(for_both_schemes(_svg(figure)))


def _draw_panel(axes: Axes, curves: Sequence[Curve], alone: float, colors: dict[int, str]) -> None:
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for curve in curves:
        label = "1 machine" if curve.machines == 1 else f"{curve.machines:,}"
        axes.plot(
            curve.shares,
            [p99 / alone for p99 in curve.p99],
            color=colors[curve.machines],
            linewidth=1.8,
            solid_capstyle="round",
            label=label,
        )
    axes.set_yscale("log")
    axes.set_ylim(0.9, HIGHEST)
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_locator(FixedLocator(list(TICKS)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    clear(axes)


def _svg(figure: Figure) -> str:
    stream = BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None}, facecolor=PAPER)
    return stream.getvalue().decode()


def for_both_schemes(svg: str) -> str:
    """Return the drawing with its colors as variables, which a dark page sets anew."""
    names = {color: f"--c{index}" for index, color in enumerate(DARK)}
    for color, name in names.items():
        svg = svg.replace(color, f"var({name})")
    light = "".join(f"{name}:{color};" for color, name in names.items())
    dark = "".join(f"{name}:{DARK[color]};" for color, name in names.items())
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    head, tag, rest = svg.partition("<defs>")
    return f"{head}{style}\n {tag}{rest}"
