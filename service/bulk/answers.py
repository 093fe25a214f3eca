"""Images → their rows, with drawings on request, by this process's engine."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from service.bulk.chunks import Read
from service.bulk.predictor import Outcome, Predictor, Wanted, open_predictor
from service.bulk.record import Record
from service.bulk.rows import Row, Served
from service.calls import TaskCall
from service.engine import Engine
from service.imaging.overlay import RenderedImage
from service.runtime.job import JobResult
from service.settings import Settings

RENDERING = "overlay"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of an image: its row, and on request its result drawn on it, or why it is not drawn."""

    row: Row
    drawing: RenderedImage | None = None
    undrawn: str = ""


class Answering(Protocol):
    """What takes images to their rows. `record` says with what; `in_flight` chunks of `chunk` images keep it busy."""

    @property
    def record(self) -> Record: ...

    @property
    def chunk(self) -> int: ...

    @property
    def in_flight(self) -> int: ...

    async def answers(self, read: Read) -> Sequence[Answer]:
        """Return the answer of each image, in order.

        Raises:
            ConfigurationError: nothing answers any more.
        """
        ...

    async def failed(self) -> Exception:
        """Return why nothing answers any more, once that is so."""
        ...


class Answers:
    """The answers of this process's engine.

    Args:
        engine: which has the model.
        predictor: takes images through it.
        draws: whether each result is drawn on its image; the network runs a second time for it.
    """

    def __init__(self, engine: Engine, predictor: Predictor, *, draws: bool) -> None:
        model = predictor.call.model
        self.chunk, self.in_flight = predictor.chunk, predictor.in_flight
        self.record = Record(
            task=predictor.call.task.name,
            model=model.name,
            version=model.version,
            graph_sha256=model.card.certificate.graph_sha256,
            options=predictor.options.model_dump(mode="json"),
            foveal=engine.version,
        )
        self._served = Served(model.name, model.version)
        self._predictor = predictor
        self._drawing: TaskCall | None = None
        if draws:
            self._drawing = engine.dispatch.call(
                predictor.call.task,
                predictor.options,
                model=model.name,
                version=model.version,
                rendering=RENDERING,
            )

    async def answers(self, read: Read) -> list[Answer]:
        """Return the answer of each image; see `Answering`."""
        outcomes = await self._predictor.outcomes(read)
        rows = [
            self._served.row(name, outcome)
            for (name, _), outcome in zip(read, outcomes, strict=True)
        ]
        if self._drawing is None:
            return [Answer(row) for row in rows]
        return await self._drawn(self._drawing, read, outcomes, rows)

    async def failed(self) -> Exception:
        """Never return: what fails in this process is found when an image is answered."""
        never: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        return await never

    async def _drawn(
        self, call: TaskCall, read: Read, outcomes: Sequence[Outcome], rows: Sequence[Row]
    ) -> list[Answer]:
        able = [
            one for one, found in zip(read, outcomes, strict=True) if isinstance(found, JobResult)
        ]
        drawn = iter(await self._predictor.outcomes(able, call))
        answers = []
        for row, outcome in zip(rows, outcomes, strict=True):
            if not isinstance(outcome, JobResult):
                answers.append(Answer(row))
                continue
            found = next(drawn)
            if isinstance(found, JobResult):
                answers.append(Answer(row, found.value))
            else:
                answers.append(Answer(row, undrawn=f"{row['image']} is not drawn: {found}"))
        return answers


@asynccontextmanager
async def open_answers(
    settings: Settings, wanted: Wanted, *, draws: bool = False
) -> AsyncIterator[Answers]:
    """Give the answers of an engine with the wanted model alone, for the length of the block.

    Raises:
        ConfigurationError: there is no such task, model or option, or the model can not be loaded.
    """
    async with open_predictor(settings, wanted) as (engine, predictor):
        yield Answers(engine, predictor, draws=draws)
