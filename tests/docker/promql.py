"""Which metrics and labels a PromQL expression names: a reader of names, not of meaning.

It is strict on purpose: an identifier that is no keyword, no function and no known metric is an error, so that a
query can not name what the service does not have.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.metrics import MetricWrapperBase

from service import stage_times
from service.errors import error_types
from service.metrics import CLOSINGS, OUTCOMES, STAGES, Metrics

TARGET_LABELS = frozenset({"job", "instance"})
"""Labels that Prometheus gives every series it scrapes."""

OWN_SERIES = {
    "up": frozenset[str](),
    "ALERTS": frozenset({"alertname", "alertstate", "severity", "model", "route"}),
}
"""Series that Prometheus makes itself."""

VALUES = {
    "stage": frozenset(STAGES),
    "closed": frozenset(CLOSINGS),
    "outcome": frozenset(OUTCOMES),
    "code": frozenset(kind.code for kind in error_types()),
}
"""Labels whose values are a closed set."""

_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
}
_KEYWORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan"}
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_SELECTOR = re.compile(r"(?<![\w.:])([a-zA-Z_:][\w:]*)\s*(?:\{([^{}]*)\})?")
_MATCHER = re.compile(r"\s*(\w+)\s*(=~|!~|!=|=)\s*§(\d+)\s*(?:,|$)")


@dataclass(frozen=True)
class Matcher:
    label: str
    operator: str
    value: str


@dataclass(frozen=True)
class Selector:
    metric: str
    matchers: tuple[Matcher, ...]


@dataclass(frozen=True)
class Names:
    selectors: tuple[Selector, ...]
    grouped: frozenset[str]
    """Labels named in `by (…)` and its kin; they are all that is left of a series after an aggregation."""


def known_series() -> dict[str, frozenset[str]]:
    """Return every series that `/metrics` can have, with its labels."""
    metrics = Metrics()
    labels = {
        family.name: frozenset(metric._labelnames)  # noqa: SLF001  the library has no public name for it
        for metric in (*vars(metrics).values(), *vars(metrics.storage).values())
        if isinstance(metric, MetricWrapperBase)
        for family in metric.describe()
    }
    labels |= {
        family.name: frozenset(stage_times.LABELS) for family in metrics.stage_times.describe()
    }
    series = dict(OWN_SERIES)
    for family in metrics.registry.collect():
        for suffix in _SUFFIXES[family.type]:
            bucket = {"le"} if suffix == "_bucket" else set()
            series[family.name + suffix] = labels.get(family.name, frozenset()) | bucket
    return series


def read_names(expression: str) -> Names:
    """Take an expression apart into its selectors and its grouping labels."""
    strings: list[str] = []

    def set_aside(match: re.Match[str]) -> str:
        strings.append(match[1])
        return f"§{len(strings) - 1}"

    text = re.sub(r'"((?:[^"\\]|\\.)*)"', set_aside, expression)
    text = re.sub(r"\[[^\]]*\]", " ", text)
    grouped = {
        label.strip()
        for inner in _GROUPING.findall(text)
        for label in inner.split(",")
        if label.strip()
    }
    text = _GROUPING.sub(" ", text)
    return Names(tuple(_selectors(text, strings)), frozenset(grouped))


def faults(expression: str, series: dict[str, frozenset[str]]) -> list[str]:
    """Return what the expression names that does not exist, empty when all is well."""
    names = read_names(expression)
    found = [] if names.selectors else ["it selects no series"]
    reachable = set(TARGET_LABELS)
    for selector in names.selectors:
        if selector.metric not in series:
            found.append(f"no series is called {selector.metric}")
            continue
        labels = series[selector.metric] | TARGET_LABELS
        reachable |= labels
        for matcher in selector.matchers:
            if matcher.label not in labels:
                found.append(f"{selector.metric} has no label {matcher.label}")
            known = VALUES.get(matcher.label)
            if known and matcher.operator in {"=", "!="} and matcher.value not in known:
                found.append(f"{matcher.label} is never {matcher.value!r}")
    found.extend(f"no series here has the label {label}" for label in names.grouped - reachable)
    return found


def _selectors(text: str, strings: list[str]) -> Iterator[Selector]:
    for match in _SELECTOR.finditer(text):
        name, inside = match[1], match[2]
        if inside is None and (name in _KEYWORDS or text[match.end() :].lstrip().startswith("(")):
            continue
        yield Selector(name, tuple(_matchers(inside or "", strings)))


def _matchers(inside: str, strings: list[str]) -> Iterator[Matcher]:
    at = 0
    while at < len(inside.rstrip()):
        match = _MATCHER.match(inside, at)
        if match is None:
            raise ValueError(f"not a matcher: {inside[at:]!r}")
        yield Matcher(match[1], match[2], strings[int(match[3])])
        at = match.end()
