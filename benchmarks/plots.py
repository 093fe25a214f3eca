"""Results as plots: throughput relative to the limit, and latency of one client."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.contenders import FOVEAL, INT8_FILE, LIMIT
from benchmarks.goals import EVERY_CASE
from benchmarks.results import CaseResult
from benchmarks.statistics import Sample, Spread, median_of, throughput_ratio
from benchmarks.targets import MANY_CLIENTS

ACCENT, CALM, INK, FAINT = "#0f766e", "#cbd5e1", "#1e293b", "#94a3b8"
ROW_INCHES = 0.27
COLUMNS = 2
STYLE: Any = {  # Matplotlib types the keys one by one
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "svg.fonttype": "none",
    # The same results give the same file.
    "svg.hashsalt": "foveal",
}
Bar = tuple[str, Spread, str]
"""Name, ratio, and the text beside the bar. The last bar is drawn at the top, so the best comes last."""
Panel = tuple[str, list[Bar]]
"""Title and bars."""


def draw_plots(results: Sequence[CaseResult], folder: Path) -> list[str]:
    """Write the plots for which there are results, and return their file names."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    throughput = [panel for result in results for panel in throughput_panels(result)]
    if throughput:
        title = f"Throughput at {MANY_CLIENTS} clients, × the machine's limit"
        _draw_panels(throughput, title, folder / "throughput.svg")
        drawn.append("throughput.svg")
    alone = [(_title_of(result), bars) for result in results if (bars := _alone_bars(result))]
    if alone:
        title = "Median latency of one client, × the limit's with all cores on one image"
        _draw_panels(alone, title, folder / "alone.svg")
        drawn.append("alone.svg")
    return drawn


def throughput_panels(result: CaseResult) -> list[Panel]:
    """Return a panel of each file that contenders ran, since each file has a limit of its own."""
    bars: dict[str, list[Bar]] = {}
    rounds = result.at(MANY_CLIENTS)
    for name in rounds[0] if rounds else []:
        base = result.limit_of(name, MANY_CLIENTS)
        if name.startswith(LIMIT) or not (ratio := throughput_ratio(rounds, name, [base])):
            continue
        rate = median_of(rounds, name, lambda sample: sample.images_per_second) or 0.0
        note = f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s"
        in_int8 = result.ran_int8(name)
        title = f"{_title_of(result)}, {INT8_FILE}" if in_int8 else _title_of(result)
        shown = name.removesuffix(f", {INT8_FILE}")
        bars.setdefault(title, []).append((shown, ratio, note))
    return [(title, sorted(some, key=lambda bar: bar[1].median)) for title, some in bars.items()]


def _title_of(result: CaseResult) -> str:
    return next(case.title for case in EVERY_CASE if case.name == result.name)


def _alone_bars(result: CaseResult) -> list[Bar]:
    rounds = result.at(1)
    bars = []
    for name in rounds[0] if rounds else []:
        p50 = median_of(rounds, name, lambda sample: sample.p50_ms) or 0.0
        base = result.limit_of(name, 1)
        if name != base and (ratio := _latency_ratio(rounds, name, base)):
            bars.append((name, ratio, f"{p50:.3g} ms"))
    return sorted(bars, key=lambda bar: -bar[1].median)


def _latency_ratio(rounds: Sequence[dict[str, Sample]], name: str, base: str) -> Spread | None:
    ratios = sorted(
        mine / theirs
        for one in rounds
        if base in one and (mine := one[name].p50_ms) and (theirs := one[base].p50_ms)
    )
    return Spread(ratios[len(ratios) // 2], ratios[0], ratios[-1]) if ratios else None


def _draw_panels(found: Sequence[Panel], title: str, file: Path) -> None:
    panels = _arranged(found)
    rows = [panels[at : at + COLUMNS] for at in range(0, len(panels), COLUMNS)]
    tallest = [max(len(bars) for _, bars in row) for row in rows]
    size = (9.0, 0.5 + len(rows) * 0.75 + ROW_INCHES * sum(tallest))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        ratios = [count + 0.75 / ROW_INCHES for count in tallest]
        grid = figure.subplots(len(rows), COLUMNS, squeeze=False, height_ratios=ratios)
        for line, row, count in zip(grid, rows, tallest, strict=True):
            for axes, (name, bars) in zip(line, row, strict=False):
                _draw_bars(axes, name, bars, count)
            for axes in line[len(row) :]:
                axes.set_visible(False)
        save(figure, file)


def _arranged(found: Sequence[Panel]) -> list[Panel]:
    """Return the panels in the order of the cases; those with one bar share the last one."""
    panels = [panel for panel in found if len(panel[1]) > 1]
    lone = [(title, *bars[0][1:]) for title, bars in found if len(bars) == 1]
    if lone:
        panels.append((f"{FOVEAL}, beside the limit only", lone[::-1]))
    return panels


def _draw_bars(axes: Axes, title: str, bars: Sequence[Bar], rows: int) -> None:
    """Draw the bars from the top of a panel with room for `rows` bars."""
    places = range(rows - len(bars), rows)
    medians = [spread.median for _, spread, _ in bars]
    ours = [name.startswith(FOVEAL) or title.startswith(FOVEAL) for name, _, _ in bars]
    colors = [ACCENT if mine else CALM for mine in ours]
    axes.barh(places, medians, color=colors, height=0.72)
    for place, (_, spread, note) in zip(places, bars, strict=True):
        axes.plot([spread.low, spread.high], [place, place], color=INK, linewidth=0.8, alpha=0.6)
        end = max(spread.high, spread.median)
        axes.annotate(
            f"{spread.median:.2f} · {note}",
            (end, place),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(-0.6, rows - 0.4)
    axes.set_yticks(places, [name for name, _, _ in bars])
    axes.set_xlim(0, max(*medians, 1.0) * 1.45)
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    clear(axes)


def clear(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)


def save(figure: Figure, file: Path) -> None:
    figure.savefig(file, metadata={"Date": None}, facecolor="white")
