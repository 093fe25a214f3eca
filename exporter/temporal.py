"""A temporal head, trained in PyTorch → a servable on another's features: `features` (N, T, F) → classes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from pydantic import ValidationError
from torch import nn

from exporter.cards import make_card
from exporter.cost import count_cost
from exporter.errors import RecipeError, invalid_field
from exporter.graph import BATCH, Graph
from exporter.heads.temporal import TemporalHead
from exporter.network import Array, Facts, Outputs
from exporter.progress import Progress
from exporter.proof import prove
from exporter.recipe import Recipe
from exporter.sensitivity import allowed_by_rounding
from exporter.sources.user_code import find
from exporter.tracing import capture, layer_outputs, run_module, torch_name
from exporter.writing import write_servable
from service.card import TEMPORAL_INPUT_NAME, Card, Window
from service.servable_file import read_card

RAW = "raw_logits"


@dataclass(frozen=True, slots=True)
class TemporalModel:
    """A module (N, T, F) → logits (N, K), what is known about it, and held-out windows (N, T, F) to prove it with."""

    module: nn.Module
    facts: Facts
    proof: NDArray[np.float32]

    @property
    def head(self) -> TemporalHead:
        return TemporalHead(len(self.facts.labels or ()))


TrainHead = Callable[[Progress, Path], TemporalModel]
"""Trains a head on the features of the servable at the path."""


@dataclass(frozen=True, slots=True)
class WindowSubject:
    """A temporal head on held-out windows of features: graph and module read the same values."""

    model: TemporalModel
    unit: str = "held-out windows"
    advice: str = "Is the module in evaluation mode, and do its outputs depend on its input alone?"
    max_batch: int | None = None

    @property
    def comparison(self) -> TemporalHead:
        return self.model.head

    @property
    def reference(self) -> str:
        return torch_name()

    @property
    def inputs(self) -> NDArray[np.float32]:
        return self.model.proof

    def expected(self, inputs: Array) -> Outputs:
        return self.model.head.expected_classes(run_module(self.model.module, inputs)[0])

    def expected_of_sample(self, index: int) -> Outputs:
        return self.expected(self.inputs[index : index + 1])

    def allowed_by_rounding(self, inputs: Array) -> float:
        return allowed_by_rounding(self.expected, self.comparison, inputs)

    def layers(self, inputs: Array) -> Iterator[tuple[str, Array]]:
        return layer_outputs(self.model.module, inputs)


def export_temporal(
    recipe: Recipe, path: Path, progress: Progress, recipe_text: str | None = None
) -> Card:
    """Train a head on its backbone's features, prove it on held-out windows and write it.

    Raises:
        ExportError: the recipe lacks what a temporal head needs, or the graph is not the module.
    """
    window, backbone, where = _requirements(recipe)
    backbone_card = read_card(backbone)
    train: TrainHead = find(where, recipe, "train")
    progress.begin("Train the head")
    model = train(progress, backbone)
    trained_frames = model.proof.shape[1]
    if trained_frames != window.frames:
        raise RecipeError(
            f"window.frames: {window.frames}, but the head was trained on {trained_frames}"
        )
    progress.begin("Trace the head")
    graph = temporal_graph(model)
    progress.begin("Prove it on held-out windows")
    certificate = prove(graph, WindowSubject(model), recipe.proof, progress)
    card = make_card(
        recipe,
        model.facts,
        description=" ".join(filter(None, [recipe.description, model.facts.description])),
        labels=model.facts.labels or (),
        backbone=backbone_card.name,
        backbone_sha256=backbone_card.certificate.graph_sha256,
        window=window,
        cost=count_cost(graph),
        certificate=certificate,
    )
    progress.begin("Write the servable")
    write_servable(path, graph, card, recipe_text)
    return card


def temporal_graph(model: TemporalModel) -> onnx.ModelProto:
    """Return the head's graph, completed by its softmax; the batch is free, the window's length is not."""
    _, frames, width = model.proof.shape
    example = torch.from_numpy(model.proof[:2])
    graph = Graph(capture(model.module.eval(), example, (RAW,)))
    read = graph.inputs[0].name
    if read != TEMPORAL_INPUT_NAME:
        graph.free(model.head.outputs)
        graph.rename(read, TEMPORAL_INPUT_NAME)
    graph.set_input(TEMPORAL_INPUT_NAME, TensorProto.FLOAT, [BATCH, frames, width])
    model.head.graft_classes(graph, RAW)
    return graph.finish()


def _requirements(recipe: Recipe) -> tuple[Window, Path, str]:
    """Return the window, the backbone's file and the callable that trains.

    Raises:
        RecipeError: the recipe lacks one of them.
    """
    if recipe.window is None or recipe.backbone is None:
        raise RecipeError("task temporal: state [window] frames, stride and fps, and the backbone")
    kind, _, where = recipe.source.partition(":")
    if kind != "train":
        raise RecipeError("task temporal: the source must be train:package.module:callable")
    try:
        window = Window.model_validate(recipe.window.model_dump())
    except ValidationError as error:
        raise RecipeError(f"window.{invalid_field(error)}") from error
    return window, recipe.locate(recipe.backbone, "backbone"), where
