"""`foveal evaluate`: a served model's answers for images with known answers → its accuracy."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.bulk.chunks import Chunks, Read
from service.bulk.ending import FAILED, GOOD, signal_status, signals
from service.bulk.item import Item, item_of_file
from service.bulk.known_answers import read_known_answers
from service.bulk.labels_elsewhere import fetch_labels, room_for
from service.bulk.predictor import (
    Outcome,
    Predictor,
    Wanted,
    open_predictor,
    options_of,
    task_of,
)
from service.bulk.progress import Pace, Show, shown
from service.bulk.remote import Places
from service.bulk.run import Run
from service.bulk.shard import is_shard
from service.bulk.sources import Sources
from service.bulk.table import is_table
from service.bulk.whole_file import check_new, whole_file
from service.card import Card
from service.errors import ConfigurationError
from service.labeled.names import ClassNames
from service.labeled.reading import TASKS, check_answers, lacking, read_labels, without_column
from service.labeled.scorers import (
    BoxScorer,
    ClassScorer,
    LabelScorer,
    MaskScorer,
    boxes_of,
    check_masks,
    mask_size,
)
from service.labeled.scores import DECISION, Scores
from service.labeled.truth import LabeledImage, LabeledImages
from service.runtime.daemon_call import daemon_call
from service.runtime.job import JobResult
from service.settings import Settings
from service.storage.url import is_url

DIGITS = 6
SHOWN = 20
FORCED = frozenset({"top_k", "score_threshold", "box_format", "normalized"})
"""Options that decide what an evaluation sees, so it sets them itself."""

AnyScorer = ClassScorer | LabelScorer | BoxScorer | MaskScorer


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is measured.

    Attributes:
        sources: the folder of the images; or tar shards, Parquet files and URLs, see `Sources`.
        labels: the known answers, see `read_labels`, or the URL of them; None: those that the source holds.
        column: of the images in Parquet files.
        label_column: of the labels there.
        out: a file for the report as JSON.
        overwrite: whether that may be replaced.
    """

    sources: tuple[str, ...]
    labels: str | None = None
    column: str | None = None
    label_column: str | None = None
    out: Path | None = None
    overwrite: bool = False


async def evaluate(settings: Settings, wanted: Wanted, given: Evaluation, console: Console) -> int:
    """Measure a model, print its scores on a console, and return the exit status.

    Raises:
        ConfigurationError: the labels can not be read or do not fit, or what is wanted is not possible.
    """
    task = task_of(wanted)
    if task.name not in TASKS:
        raise ConfigurationError(f"--task: evaluated are {', '.join(TASKS)}, not {task.name}.")
    options_of(task, wanted.options)
    forced = [one for one in wanted.options if one.partition("=")[0].strip() in FORCED]
    if forced:
        raise ConfigurationError(
            f"--option {forced[0]}: an evaluation sets this itself. Leave it out."
        )
    if given.out is not None:
        check_new("--out", given.out, replaces=given.overwrite)
    with room_for(given.labels) as room:
        reading = partial(_labeled, given, task.name, settings.max_body_bytes, room)
        labeled = await daemon_call(reading, "foveal-sources")
        full = Wanted(wanted.task, wanted.model, (*wanted.options, *_sight(task.name)))
        rendering = "mask" if task.name == "segment" else None
        async with open_predictor(settings, full, rendering=rendering, all_classes=True) as (
            _,
            predictor,
        ):
            measured = _Measured(predictor, labeled)
            with shown() as show:
                status = await measured.run(show)
    if status > FAILED:
        return status
    report = measured.report()
    _print(console, report)
    if given.out is not None:
        with whole_file(given.out) as file:
            file.write(json.dumps(report, indent=1, ensure_ascii=False).encode() + b"\n")
    return status


Pairs = Iterator[tuple[Item, LabeledImage | None]]


@dataclass(frozen=True, slots=True)
class _Labeled:
    """Known answers; `pairs` gives the images with them, `count` how many there are about."""

    answers: LabeledImages
    pairs: Callable[[], Pairs]
    count: int


def _labeled(given: Evaluation, task: str, largest: int, room: Path) -> _Labeled:
    """Return the known answers; those from elsewhere are fetched into a folder, `room`, which must stay."""
    first, places = Path(given.sources[0]), Places()
    labels = None if given.labels is None else Path(given.labels)
    if given.labels is not None and is_url(given.labels):
        in_source = task == "classify" and _is_source(given.labels, given.sources)
        labels = None if in_source else fetch_labels(given.labels, task, room, places)
    if len(given.sources) == 1 and first.is_dir() and not _holds_sources(first, labels):
        return _in_folder(first, labels, task, largest)
    sources = Sources(given.sources, largest, BytesIO(), column=given.column, places=places)
    known = read_known_answers(sources, task, labels, given.label_column)
    return _Labeled(known.labeled, known.pairs, len(known.labeled.images))


def _is_source(labels: str, sources: Sequence[str]) -> bool:
    return len(sources) == 1 and sources[0].rstrip("/") == labels.rstrip("/")


def _holds_sources(folder: Path, labels: Path | None) -> bool:
    """Return whether a folder holds shards or tables, and no other labels."""
    return labels is None and any(is_shard(one) or is_table(one) for one in folder.iterdir())


def _in_folder(folder: Path, labels: Path | None, task: str, largest: int) -> _Labeled:
    if labels is None or labels.resolve() == folder.resolve():
        found = read_labels(folder, None, task)
    else:
        found = read_labels(labels, folder, task)

    def pairs() -> Pairs:
        return ((item_of_file(one.file, largest), one) for one in found.images)

    return _Labeled(found, pairs, len(found.images))


def _sight(task: str) -> list[str]:
    """Return the options with which nothing is left out that counts: mAP goes over all scores."""
    return ["score_threshold=0"] if task == "detect" else []


class _Measured:
    """The answers of one evaluation."""

    def __init__(self, predictor: Predictor, given: _Labeled) -> None:
        labeled = given.answers
        self._predictor = predictor
        self._labeled = labeled
        self._pairs = given.pairs
        self._card = predictor.call.model.card
        several = self._card.multi_label
        check_answers(labeled, self._card.labels, several=several)
        if self._card.task == "segment":
            check_masks(labeled.images, len(self._card.labels))
        self._scorer = _scorer(self._card)
        self._left_out: list[dict[str, str]] = []
        self._count = 0
        self._answered = 0
        self._pace = Pace()
        self._pace.total = given.count

    async def run(self, show: Show) -> int:
        """Return the exit status, that of a signal where one ended the run.

        Raises:
            ConfigurationError: no image can be measured.
        """
        taken: deque[LabeledImage | None] = deque()

        def items() -> Iterator[Item]:
            for item, image in self._pairs():
                taken.append(image)
                self._answered += image is not None
                yield item

        chunks = Chunks(items(), self._predictor.chunk)

        def add(outcomes: Sequence[tuple[str, Outcome]]) -> None:
            for name, outcome in outcomes:
                self._add(name, taken.popleft(), outcome)
            self._pace.advance(len(outcomes), 0)
            self._pace.failed = len(self._left_out)
            show.update(self._pace)

        run = Run(chunks, answer=self._answer, write=add, in_flight=self._predictor.in_flight)
        async with signals(run.stop, show) as came:
            ended = await run.complete()
        if not ended:
            return signal_status(came[0])
        if not self._count:
            first = self._left_out[0]
            raise ConfigurationError(
                f"No image can be measured. The first is {first['image']}: {first['detail']}"
            )
        self._require_boxes()
        return FAILED if self._left_out else GOOD

    def _require_boxes(self) -> None:
        """Refuse annotations without any box: a network's 0 % would mean nothing.

        Raises:
            ConfigurationError: they have none.
        """
        if self._card.task == "detect" and not self._scores.by_class:
            raise ConfigurationError(
                f"{self._labeled.name} has no box that is no crowd in any of the {self._count} images that could be "
                "measured, so there is no mAP."
            )

    async def _answer(self, read: Read) -> list[tuple[str, Outcome]]:
        outcomes = await self._predictor.outcomes(read)
        return [(name, outcome) for (name, _), outcome in zip(read, outcomes, strict=True)]

    def _add(self, name: str, image: LabeledImage | None, outcome: Outcome) -> None:
        if not isinstance(outcome, JobResult):
            self._leave_out(name, outcome.code, str(outcome))
            return
        if image is None:
            self._leave_out(name, "no_label", "There is no known answer for it.")
            return
        answer, size = _answer_of(self._scorer, outcome.value)
        stated = mask_size(image) if image.mask is not None else image.size
        if size is not None and stated is not None and size != stated:
            self._leave_out(
                name,
                "other_size",
                f"It has {size[0]}×{size[1]} pixels as displayed, its annotations are for {stated[0]}×{stated[1]}.",
            )
            return
        self._scorer.add(answer, image)
        self._count += 1

    def _leave_out(self, name: str, code: str, detail: str) -> None:
        self._left_out.append({"image": name, "code": code, "detail": detail})

    @cached_property
    def _scores(self) -> Scores:
        """The scores once all images were answered; mAP of many takes seconds."""
        scores: Scores = self._scorer.scores()
        return scores

    def report(self) -> dict[str, Any]:
        """Return what was measured, as JSON."""
        scores = self._scores
        model, labels = self._predictor.call.model, self._card.labels
        by_label = {
            (labels[kind] if labels.count(labels[kind]) == 1 else f"{labels[kind]} ({kind})"): (
                _rounded(each)
            )
            for kind, each in scores.by_class.items()
        }
        return {
            "task": self._card.task,
            "model": model.name,
            "version": model.version,
            "labels": self._labeled.name,
            "options": self._predictor.options.model_dump(mode="json"),
            "images": self._count,
            "labels_without_column": list(without_column(self._labeled, labels))
            if self._card.multi_label
            else [],
            "labels_without_image": max(0, len(self._labeled.images) - self._answered),
            "scores": _rounded(scores.total),
            "by_label": by_label,
            "left_out": self._left_out,
        }


def _scorer(card: Card) -> AnyScorer:
    names = ClassNames(card.labels, several=card.multi_label)
    if card.task == "detect":
        return BoxScorer(card.labels, names)
    if card.task == "segment":
        return MaskScorer(card.labels)
    kind = LabelScorer if card.multi_label else ClassScorer
    return kind(card.labels, names)


def _answer_of(scorer: AnyScorer, value: Any) -> tuple[Any, tuple[int, int] | None]:  # noqa: ANN401
    """Return what a scorer takes of an answer of the service, and the image's width and height where it has them."""
    if isinstance(scorer, MaskScorer):
        with Image.open(BytesIO(value.content)) as mask:
            return np.asarray(mask), mask.size
    if isinstance(scorer, BoxScorer):
        found = value["detections"]
        corners = [one["box"] for one in found]
        boxes = boxes_of(
            [(one["x_min"], one["y_min"], one["x_max"], one["y_max"]) for one in corners],
            [one["class_id"] for one in found],
            scores=[one["score"] for one in found],
        )
        return boxes, (value["width"], value["height"])
    predictions = value["predictions"]
    if isinstance(scorer, LabelScorer):
        return [one["class_id"] for one in predictions if one["probability"] >= DECISION], None
    return [one["class_id"] for one in predictions[: scorer.top]], None


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in scores.items()}


def _print(console: Console, report: dict[str, Any]) -> None:
    scores = ", ".join(f"{name} {value:.2%}" for name, value in report["scores"].items())
    console.print(
        f"{report['model']} version {report['version']}: {escape(scores)} of {report['images']} images",
        highlight=False,
    )
    by_label = sorted(report["by_label"].items(), key=lambda one: next(iter(one[1].values())))
    if len(by_label) > 1:
        table = Table(box=None)
        names = list(by_label[0][1])
        table.add_column("the least accurate classes" if len(by_label) > SHOWN else "class")
        for name in names:
            table.add_column(name, justify="right")
        for label, each in by_label[:SHOWN]:
            table.add_row(escape(label), *(f"{each[name]:.2%}" for name in names))
        console.print(table)
    for one in report["left_out"][:SHOWN]:
        console.print(f"left out: {escape(one['image'])}: {escape(one['detail'])}", highlight=False)
    if report["labels_without_column"]:
        words = lacking(report["labels_without_column"])
        console.print(
            f"{escape(report['labels'])} has {escape(words)}: it was measured as if no image had them",
            highlight=False,
            soft_wrap=True,
        )
    if report["labels_without_image"]:
        console.print(f"{report['labels_without_image']} labels belong to no image of the source")
    if (more := len(report["left_out"]) - SHOWN) > 0:
        console.print(f"and {more} more were left out", highlight=False)
