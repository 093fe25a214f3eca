"""A run's JSON → a page in Markdown, and the list of what is not right."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.goals import goals
from benchmarks.gpu.journal import DONE

MARKDOWN, PLOT = "README.md", "gpu.svg"
STAND_IN = (
    "**There was no GPU: the CPU stood in for it, with smaller sizes. This page proves that the program runs. "
    "No figure on it says anything about a GPU.**"
)
_SEEN = {True: "yes", False: "**no**", None: "not seen"}
_RAN = "the code runs on the CPU"
Content = Mapping[str, Any]


def problems(content: Content) -> list[str]:
    """Return what does not hold, and the steps that did not end; what could not be seen here is no problem."""
    found = []
    for name, step in content["steps"].items():
        if step["status"] not in {DONE, "skipped"}:
            found.append(f"{name} was {step['status']}: {step.get('detail', '')}")
        found += [
            f"{name}: {what}: {one['because']}"
            for what, one in _verdicts(step)
            if one["holds"] is False
        ]
    return found


def write_page(content: Content, folder: Path) -> None:
    """Write the page, with the plot if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = list(page(content, plot=(folder / PLOT).exists()))
    (folder / MARKDOWN).write_text("\n".join(lines) + "\n")


def page(content: Content, *, plot: bool) -> Iterator[str]:
    """Yield the lines of the page."""
    yield f"# {content.get('card') or content.get('processor', 'No device')}"
    yield ""
    yield from _versions(content)
    if content.get("stand_in", True):
        yield from ("", STAND_IN)
    if plot:
        yield from ("", f"![Images a second]({PLOT})")
    yield from ("", "## Goals", "")
    yield from table(("goal", "measured", "reached"), _goal_rows(content))
    yield from ("", "## What was seen", "")
    yield from table(("step", "", "holds", "because"), _verdict_rows(content))
    yield from _rates(content)
    yield from _serving(content)
    yield from _decoding(content)
    yield from ("", "## Steps", "")
    yield from table(("step", "status", "s", "of at most", ""), _step_rows(content))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a table, or a sentence where it has no rows."""
    if not rows:
        yield "Nothing was measured."
        return
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell(one) for one in row)} |"


def cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value).replace("|", "¦").replace("\n", " ")


def _versions(content: Content) -> Iterator[str]:
    found = _findings(content, "environment")
    machine, libraries = found.get("machine", {}), found.get("libraries", {})
    packages = found.get("packages", {})
    parts = [
        f"{machine.get('processor', '')}, {machine.get('cores', '')} cores",
        f"Python {machine.get('python', '')}",
        *(f"{name} {number}" for name, number in packages.items()),
        *(f"{name.replace('_', ' ')} {value}" for name, value in libraries.items() if value),
    ]
    yield "; ".join(parts) + "."


def _goal_rows(content: Content) -> list[Sequence[object]]:
    return [(one.text, one.measured, _SEEN[one.reached]) for one in goals(content)]


def _verdict_rows(content: Content) -> list[Sequence[object]]:
    return [
        (name, what, _seen(step, one["holds"]), one["because"])
        for name, step in content["steps"].items()
        for what, one in _verdicts(step)
    ]


def _seen(step: Mapping[str, Any], holds: bool | None) -> str:  # noqa: FBT001  # a verdict's value
    """Return what a verdict says; where the CPU stood in, nothing was seen of a GPU."""
    return _RAN if holds and step.get("stand_in") else _SEEN[holds]


def _step_rows(content: Content) -> list[Sequence[object]]:
    return [
        (
            name,
            step["status"],
            step.get("seconds"),
            step.get("limit_seconds"),
            step.get("detail", ""),
        )
        for name, step in content["steps"].items()
    ]


def _rates(content: Content) -> Iterator[str]:
    for model in models_of(content, "rates"):
        rates = session_rates(content, model)
        sizes = sorted({size for by_size in rates.values() for size in by_size})
        yield from ("", f"## {model}: images a second by batch, without HTTP", "")
        rows = [(name, *(by_size.get(size) for size in sizes)) for name, by_size in rates.items()]
        yield from table(("", *map(str, sizes)), rows)


def session_rates(content: Content, model: str) -> dict[str, dict[int, float]]:
    """Return images a second of every way to run a network: name → batch size → rate."""
    found: dict[str, dict[int, float]] = {}
    precisions = _findings(content, f"rates {model}").get("precisions", {})
    for precision, one in precisions.items():
        for way, by_size in one.get("rates", {}).items():
            found[f"ONNX Runtime {precision}, {way}"] = _by_number(by_size)
    for step in ("torch", "torch-compile"):
        for way, by_size in _findings(content, f"{step} {model}").get("rates", {}).items():
            found[f"PyTorch {way}"] = _by_number(by_size)
    return found


def _serving(content: Content) -> Iterator[str]:
    columns = ("images_per_second", "p50_ms", "p99_ms", "server_cores", "decoding_threads")
    for model in models_of(content, "service"):
        yield from ("", f"## {model}: under load, on a socket", "")
        rows: list[Sequence[object]] = []
        for name, clients, found in serving_figures(content, model):
            stages = found.get("stage_ms", {})
            spent = ", ".join(f"{stage} {value:g}" for stage, value in stages.items())
            errors = found["sent"] - found["statuses"].get("200", 0)
            card = found.get("card", {}).get("load")
            figures = [found.get(column) for column in columns]
            rows.append((name, clients, *figures, card, found.get("images_a_batch"), spent, errors))
        head = (
            "",
            "clients",
            "images/s",
            "p50 ms",
            "p99 ms",
            "server's cores",
            "cores that decode",
        )
        more = ("GPU's load", "images a batch", "ms of an image", "not answered with 200")
        yield from table((*head, *more), rows)


def serving_figures(content: Content, model: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield (server, clients, figures) of the servers that were loaded."""
    for name in ("service", "service-workers", "service-fast", "service-fp16", "naive"):
        loads = _findings(content, f"{name} {model}").get("clients", {})
        for clients, found in sorted(loads.items(), key=lambda item: int(item[0])):
            if "images_per_second" in found:
                yield name, int(clients), found


def _decoding(content: Content) -> Iterator[str]:
    yield from ("", "## Decoding a 640×480 JPEG, images a second", "")
    cores = _findings(content, "decoding").get("cores", {})
    rows: list[Sequence[object]] = [
        (f"the service's own, with resizing, on {threads} threads", rate)
        for threads, rate in cores.items()
    ]
    for name, by_size in _findings(content, "torch-decoding").get("rates", {}).items():
        rows += [(f"torchvision, {name}, {size} at once", rate) for size, rate in by_size.items()]
    yield from table(("", "images/s"), rows)


def models_of(content: Content, kind: str) -> list[str]:
    """Return the networks for which there is a step of a kind."""
    return [name.split(" ")[1] for name in content["steps"] if name.split(" ")[0] == kind]


def _findings(content: Content, step: str) -> dict[str, Any]:
    found: dict[str, Any] = content["steps"].get(step, {}).get("findings", {})
    return found


def _verdicts(step: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(step.get("findings", {}).get("verdicts", {}).items())


def _by_number(by_size: Mapping[str, float]) -> dict[int, float]:
    return {int(size): rate for size, rate in by_size.items()}
