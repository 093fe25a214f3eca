"""A head over time, trained in PyTorch → a servable that reads another's features: `features` (N, T, F) → classes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from pydantic import ValidationError
from torch import nn

from exporter.cost import count_cost
from exporter.errors import ProofError, RecipeError
from exporter.graph import BATCH, Graph
from exporter.heads.classify import ClassifyHead
from exporter.network import Facts, Outputs
from exporter.progress import Steps
from exporter.proof import BATCHES, tool_versions
from exporter.recipe import Recipe
from exporter.sessions import optimized
from exporter.sources.python import find
from exporter.tracing import capture, torch_name
from exporter.writing import graph_digest, write_servable
from service.card import OUTPUTS, TEMPORAL_INPUT_NAME, Card, Certificate, Window, read_card


@dataclass(frozen=True, slots=True)
class TemporalModel:
    """A module (N, T, F) → logits (N, K), what is known about it, and held-out windows to prove it on."""

    module: nn.Module
    facts: Facts
    proof: NDArray[np.float32]


TrainHead = Callable[[Steps, Path], TemporalModel]
"""It trains on the features of the servable at the path."""


def export_temporal(recipe: Recipe, path: Path, steps: Steps) -> Card:
    """Train a head on its backbone's features, prove it on held-out windows and write it.

    Raises:
        ExportError: the recipe lacks what a head over time needs, or the graph is not the network.
    """
    if recipe.window is None or recipe.backbone is None:
        raise RecipeError("task temporal: say [window] frames, stride and fps, and the backbone")
    window = Window.model_validate(recipe.window.model_dump())
    kind, _, where = recipe.source.partition(":")
    if kind != "train":
        raise RecipeError("task temporal: its source is train:package.module:callable")
    backbone = recipe.locate(recipe.backbone)
    seen_by = read_card(backbone)
    train: TrainHead = find(where, recipe)
    steps.begin("Train the head")
    model = train(steps, backbone)
    if model.proof.shape[1] != window.frames:
        raise RecipeError(
            f"window.frames: {window.frames}, and the head was trained on {model.proof.shape[1]}"
        )
    steps.begin("Trace the head")
    graph = temporal_graph(model)
    steps.begin("Prove it on held-out clips")
    certificate = _prove(graph, model, recipe, steps)
    try:
        card = Card(
            name=recipe.name,
            task="temporal",
            title=recipe.title or model.facts.title,
            description=" ".join(filter(None, [recipe.description, model.facts.description])),
            labels=model.facts.labels or (),
            license=recipe.license or model.facts.license or "not stated",
            source=recipe.origin or model.facts.origin,
            backbone=seen_by.name,
            backbone_sha256=seen_by.certificate.graph_sha256,
            window=window,
            cost=count_cost(graph),
            scores=recipe.scores or model.facts.scores or {},
            certificate=certificate,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    steps.begin("Write the servable")
    write_servable(path, graph, card)
    return card


def temporal_graph(model: TemporalModel) -> onnx.ModelProto:
    """Return the head's graph with its softmax grafted on; the batch is free, the window is not."""
    _, frames, width = model.proof.shape
    example = torch.from_numpy(model.proof[:2])
    graph = Graph(capture(model.module.eval(), example, ("raw_logits",)))
    read = graph.inputs[0].name
    if read != TEMPORAL_INPUT_NAME:
        graph.free(OUTPUTS["temporal"])
        graph.rename(read, TEMPORAL_INPUT_NAME)
    graph.set_input(TEMPORAL_INPUT_NAME, TensorProto.FLOAT, [BATCH, frames, width])
    _head(model).graft_classes(graph, "raw_logits")
    return graph.finish()


def _head(model: TemporalModel) -> ClassifyHead:
    return ClassifyHead(len(model.facts.labels or ()))


def _prove(
    graph: onnx.ModelProto, model: TemporalModel, recipe: Recipe, steps: Steps
) -> Certificate:
    session, bounds = optimized(graph), recipe.proof
    head, names = _head(model), list(OUTPUTS["temporal"])

    def run(windows: NDArray[np.float32]) -> Outputs:
        found = session.run(names, {TEMPORAL_INPUT_NAME: windows})
        return dict(zip(names, found, strict=True))

    def reference(windows: NDArray[np.float32]) -> Outputs:
        with torch.inference_mode():
            return head.expected_of(model.module(torch.from_numpy(windows)).numpy())

    sizes = tuple(sorted({*(size for size in BATCHES if size < bounds.largest), bounds.largest}))
    worst = 0.0
    for size in sizes:
        windows = np.stack(list(islice(cycle(model.proof), size)))
        worst = max(worst, head.difference(run(windows), reference(windows)))
        steps.advance(0.9, f"batch {size}: {worst:.1e}")
        if not worst <= bounds.tolerance:
            raise ProofError(
                f"The graph differs from {torch_name()} by {worst:.2g} at batch {size}, "
                f"{bounds.tolerance:.2g} is allowed"
            )
    agreement = float(np.mean(head.agreement(run(model.proof), reference(model.proof))))
    if agreement < bounds.agreement:
        raise ProofError(
            f"Only {agreement:.1%} of {len(model.proof)} held-out windows get the same class"
        )
    steps.advance(1, f"top1 {agreement:.1%} of {len(model.proof)} held-out windows")
    return Certificate(
        reference=torch_name(),
        batches=sizes,
        max_difference=worst,
        tolerance=bounds.tolerance,
        metric=head.metric,
        agreement=agreement,
        images=len(model.proof),
        tools=tool_versions(),
        date=datetime.now(UTC).date(),
        graph_sha256=graph_digest(graph),
    )
