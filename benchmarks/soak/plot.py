"""Draws a soak: memory, threads, open files, series and latency over time."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.plots import ACCENT, CALM, FAINT, INK, STYLE, clear, save
from benchmarks.soak.watch import Sample


def draw(samples: Sequence[Sample], warm_up_seconds: float, title: str, file: Path) -> None:
    minutes = [sample.seconds / 60 for sample in samples]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 8.4), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        memory, counts, series, latency, rate = figure.subplots(5, 1, sharex=True)
        _line(memory, minutes, [one.memory_mib for one in samples], ACCENT, "")
        memory.set_ylabel("memory, MiB")
        _line(counts, minutes, [one.threads for one in samples], ACCENT, "threads")
        _line(counts, minutes, [one.files for one in samples], FAINT, "open files")
        _line(series, minutes, [one.series for one in samples], ACCENT, "")
        series.set_ylabel("metric series")
        _line(latency, minutes, [one.p50_ms for one in samples], ACCENT, "median")
        _line(latency, minutes, [one.p99_ms for one in samples], CALM, "99th percentile")
        latency.set_yscale("log")
        latency.set_ylabel("latency, ms")
        _line(rate, minutes, _rates(samples), ACCENT, "answers per second")
        _line(rate, minutes, [one.foreign_cores for one in samples], CALM, "cores of other work")
        rate.set_xlabel("minutes under load")
        for axes in (memory, counts, series, rate):
            axes.set_ylim(0, axes.get_ylim()[1] * 1.1)
        for axes in (memory, counts, series, latency, rate):
            axes.axvline(warm_up_seconds / 60, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
            clear(axes)
        for axes in (counts, latency, rate):
            axes.legend(loc="upper right", frameon=False, ncols=2, fontsize=8)
        save(figure, file)


def _line(
    axes: Axes, minutes: Sequence[float], values: Sequence[float], color: str, label: str
) -> None:
    axes.plot(minutes, values, color=color, linewidth=1.0, label=label)


def _rates(samples: Sequence[Sample]) -> list[float]:
    times = [0.0, *(sample.seconds for sample in samples)]
    return [
        sample.answered / max(0.1, sample.seconds - before)
        for sample, before in zip(samples, times, strict=False)
    ]
