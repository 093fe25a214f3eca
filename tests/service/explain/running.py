"""A service without HTTP whose models tests explain."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.engine import Engine, open_engine
from service.explain.options import ExplainOptions, explain_request
from service.explain.probe import find_segmenter
from service.explain.request import Form
from service.imaging.overlay import RenderedImage
from service.settings import Settings


@dataclass(frozen=True)
class Bench:
    """Explains the models of a repository."""

    engine: Engine

    async def explain(
        self, model: str, image: bytes | None, *, form: Form = "json", **options: Any
    ) -> Any:
        """Return the JSON or the image of an explanation."""
        found = self.engine.registry.find(tuple(self.engine.tasks), model, None)
        request = explain_request(ExplainOptions.model_validate(options), found.card, form)
        outcome = await self.engine.runner.explain(
            found,
            image,
            request,
            task=self.engine.task(found.card.task),
            segmenter=find_segmenter(self.engine.registry.models),
            timeout_seconds=60,
        )
        return outcome.value

    async def draw(
        self, model: str, image: bytes | None, *, form: Form, **options: Any
    ) -> RenderedImage:
        """Return the image of an explanation."""
        drawn = await self.explain(model, image, form=form, **options)
        assert isinstance(drawn, RenderedImage)
        return drawn


@asynccontextmanager
async def running(models: Path, **settings: Any) -> AsyncIterator[Bench]:
    """Serve the models of a folder, on one thread, for the length of the block."""
    async with open_engine(Settings(models=models, threads=1, **settings)) as engine:
        yield Bench(engine)
