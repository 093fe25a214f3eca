"""`foveal predict`: sources through a model into a file of results."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from service.bulk.answers import Answer, Answering, open_answers
from service.bulk.chunks import Chunks
from service.bulk.cluster import Cluster
from service.bulk.coco import Ids, check_coco, read_ids, write_coco
from service.bulk.done import Done
from service.bulk.drawings import Drawings, check_folder
from service.bulk.ending import FAILED, GOOD, signal_status, signals
from service.bulk.passages import Passages
from service.bulk.predictor import Wanted, options_of, task_of
from service.bulk.progress import Pace, Show, shown
from service.bulk.ray_actor import open_cluster
from service.bulk.remote import Places
from service.bulk.results import (
    Mode,
    Results,
    check_out,
    files_of,
    passages_path,
    read_results,
)
from service.bulk.rows import Served, is_failure
from service.bulk.run import Run
from service.bulk.sources import Sources
from service.bulk.whole_file import check_new
from service.errors import ConfigurationError, StorageError
from service.runtime.daemon_call import daemon_call
from service.runtime.host import spared_collector
from service.settings import Settings
from service.tasks.task import Task

SHOWN_NOTES = 5


@dataclass(frozen=True, slots=True)
class Output:
    """Where the results go: `out` as rows; on request `coco` in COCO's form, and `images` drawn."""

    out: Path
    mode: Mode = "new"
    coco: Path | None = None
    annotations: Path | None = None
    images: Path | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """Where the images come from; see `Sources`. All its sources share what places elsewhere have listed."""

    names: tuple[str, ...]
    listed: BinaryIO
    separator: bytes = b"\n"
    column: str | None = None
    places: Places = field(default_factory=Places)

    def sources(self, settings: Settings, out: Path | None = None) -> Sources:
        return Sources(
            self.names,
            settings.max_body_bytes,
            self.listed,
            self.separator,
            self.column,
            frozenset() if out is None else files_of(out),
            self.places,
        )


async def predict(
    settings: Settings,
    wanted: Wanted,
    given: Input,
    output: Output,
    cluster: Cluster | None = None,
) -> int:
    """Predict all images that have no row yet, here or on a Ray cluster, and return the exit status.

    Raises:
        ConfigurationError: what is wanted is not possible, or the results can not be written. What was written stays.
    """
    ids = _check(wanted, given, output)
    # A place elsewhere may keep its reader waiting; that must not keep the process from ending.
    await daemon_call(given.sources(settings, output.out).check, "foveal-sources")
    task = task_of(wanted)
    with ExitStack() as stack:
        show = stack.enter_context(shown())
        async with _answering(settings, wanted, output, cluster, show) as answering:
            results = stack.enter_context(
                Results(output.out, answering.record, output.mode, task.result)
            )
            with spared_collector():
                job = _Job(answering, results, output, show)
                status = await job.run(
                    given.sources(settings, output.out), given.sources(settings, output.out)
                )
        if status in {GOOD, FAILED} and output.coco is not None:
            await asyncio.to_thread(_write_coco, output, task, ids, show)
    return status


def _answering(
    settings: Settings, wanted: Wanted, output: Output, cluster: Cluster | None, show: Show
) -> AbstractAsyncContextManager[Answering]:
    draws = output.images is not None
    if cluster is None:
        return open_answers(settings, wanted, draws=draws)
    return open_cluster(cluster, settings, wanted, draws=draws, note=show.note)


def _check(wanted: Wanted, given: Input, output: Output) -> Ids:
    """Refuse what can not be, before a model is loaded."""
    task = task_of(wanted)
    options = options_of(task, wanted.options)
    check_out(output.out, output.mode)
    ids = Ids()
    if output.annotations is not None:
        if output.coco is None:
            raise ConfigurationError("--coco-annotations is for --coco FILE.")
        ids = read_ids(output.annotations)
    if output.coco is not None:
        check_coco(task, options)
        check_new("--coco", output.coco, replaces=output.mode != "new")
    if output.images is not None:
        check_folder(output.images, task, given.names, output.mode)
    return ids


def _write_coco(output: Output, task: Task, ids: Ids, show: Show) -> None:
    assert output.coco is not None
    count = write_coco(output.coco, task, read_results(output.out), ids)
    show.note(f"{count} entries in {output.coco}")
    if ids.unknown_images or ids.unknown_boxes:
        show.note(
            f"Left out of it: {ids.unknown_images} images and {ids.unknown_boxes} entries, whose file names and "
            f"classes {output.annotations} does not have."
        )


class _Job:
    """One run of `foveal predict`."""

    def __init__(self, answering: Answering, results: Results, output: Output, show: Show) -> None:
        served = Served(answering.record.model, answering.record.version)
        self._answering = answering
        self._results = results
        self._output = output
        self._show = show
        self._done = Done(results.earlier(), served, str(output.out))
        self._passages = Passages(passages_path(output.out), self._done.has_rows_of)
        self._pace = Pace()
        self._codes: Counter[str] = Counter()
        self._drawings = None if output.images is None else Drawings(output.images)

    async def run(self, sources: Sources, counted: Sources) -> int:
        """Return the exit status, that of the signal where one ended the run."""
        sources.passages = self._passages
        items = self._passages.counted(sources.images(self._done.has))
        chunks = Chunks(items, self._answering.chunk)
        run = Run(
            chunks,
            answer=self._answering.answers,
            write=self._write,
            in_flight=self._answering.in_flight,
            failed=self._answering.failed,
        )
        async with _counting(counted, self._pace), signals(run.stop, self._show) as came:
            try:
                ended = await run.complete()
            except StorageError as error:
                raise StorageError(
                    f"{error} The rows of the images before are whole; go on with --resume.",
                    error.reason,
                ) from error
        if not ended:
            self._say(f"Stopped. Go on with --resume; {self._output.out} has")
            return signal_status(came[0])
        self._passages.written(self._pace.new)
        left_over = await asyncio.to_thread(self._done.left_over)
        await asyncio.to_thread(self._results.complete)
        self._say(f"{self._output.out} has")
        if sources.others:
            self._show.note(f"{sources.others} other files were left out: they are no images.")
        if left_over:
            self._show.note(f"Rows of images that the sources do not have any more: {left_over}.")
        drawn = self._drawings is None or not self._drawings.failed
        return GOOD if drawn and not self._failed else FAILED

    def _write(self, answers: Sequence[Answer]) -> None:
        if self._drawings is not None:
            self._drawings.add(answers)
        rows = [answer.row for answer in answers]
        try:
            self._results.add(rows)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{error} Its rows are whole; make room or mend it, and go on with --resume."
            ) from error
        failed = [row["error"]["code"] for row in rows if is_failure(row)]
        self._codes.update(failed)
        self._pace.advance(len(rows), len(failed), done_before=self._done.count)
        self._passages.written(self._pace.new)
        self._show.update(self._pace)

    @property
    def _failed(self) -> int:
        return self._done.codes.total() + self._pace.failed

    def _say(self, begin: str) -> None:
        counted = (self._done.codes + self._codes).most_common()
        codes = ", ".join(f"{count} {code}" for code, count in counted)
        new = self._pace.new
        before = f", {self._done.count} of them from before" if self._done.count else ""
        rate = f" {self._pace.overall:.1f} images/s." if new else ""
        self._show.note(
            f"{begin} {new + self._done.count} images{before}; {self._failed} failed"
            f"{f' ({codes})' if codes else ''}.{rate}"
        )
        if self._drawings is not None:
            for note in self._drawings.failed[:SHOWN_NOTES]:
                self._show.note(note)


@asynccontextmanager
async def _counting(sources: Sources, pace: Pace) -> AsyncIterator[None]:
    """Find out beside the block how many images there are."""

    async def count() -> None:
        with suppress(ConfigurationError, OSError):
            pace.total = await daemon_call(sources.count, "foveal-count")

    counting = asyncio.create_task(count())
    try:
        yield
    finally:
        counting.cancel()
