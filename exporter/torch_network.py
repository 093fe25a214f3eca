"""Any PyTorch module, with what its source knows about it → a network ready to be finished."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from exporter.errors import GraphError
from exporter.heads.select_head import choose_head
from exporter.network import Facts, Network, Outputs
from exporter.progress import Steps
from exporter.recipe import DetectRecipe, Pixels, Recipe, SegmentRecipe
from exporter.tracing import Exportable, TorchReference, torch_name, trace
from exporter.transforms import plain_transform
from service.card import ImageInput


@dataclass(frozen=True, slots=True)
class TorchModel:
    """A module with its weights, and what its source knows about images for it.

    `transform` is the framework's own way from encoded bytes to pixel values, `answer` its own way
    on to the task's outputs, where it has them. `meaning` and `segment` say what the outputs are.
    `exportable` is what was saved with its code, where that is no plain module.
    """

    module: nn.Module
    facts: Facts
    image: ImageInput | None = None
    pixels: Pixels | None = None
    transform: Callable[[bytes], NDArray[np.float32]] | None = None
    answer: Callable[[bytes], Outputs] | None = None
    meaning: DetectRecipe | None = None
    segment: SegmentRecipe | None = None
    proof: tuple[bytes, ...] = ()
    max_batch: int | None = None
    exportable: Exportable | None = None


def torch_network(model: TorchModel, recipe: Recipe, steps: Steps) -> Network:
    """Trace the module and choose its head.

    Raises:
        ExportError: the recipe and the module do not fit together, or it can not be traced.
    """
    image = recipe.image_input(model.image)
    pixels = recipe.pixels or model.pixels or Pixels()
    module = model.module.eval()
    refuse_own_statistics(module)
    steps.begin("Trace the network")
    traced = trace(module, image, pixels, model.exportable, model.max_batch)
    as_known = recipe.pixels is None and image == model.image
    own = model.transform if as_known else None
    reference = TorchReference(
        torch_name(), module, pixels, own or plain_transform(image, pixels), model.answer
    )
    return Network(
        graph=traced.graph,
        raw=traced.outputs,
        head=choose_head(_with_meaning(recipe, model), traced.dims),
        reference=reference,
        image_input=image,
        pixels=pixels,
        facts=model.facts,
        background_id=_background_id(recipe, model),
        proof=model.proof,
        max_batch=model.max_batch,
    )


def refuse_own_statistics(module: nn.Module) -> None:
    """Refuse batch norms that look at the batch even in evaluation.

    Raises:
        GraphError: there is one; the message names it.
    """
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            raise GraphError(
                f"{name} is a batch norm without running statistics: in training mode for good, its "
                "answer hangs on the batch's other images. Train it with track_running_stats=True"
            )


def _with_meaning(recipe: Recipe, model: TorchModel) -> Recipe:
    """Let the source say what its outputs mean, where it knows."""
    known = {"detect": model.meaning, "segment": model.segment}
    return recipe.model_copy(update={name: said for name, said in known.items() if said})


def _background_id(recipe: Recipe, model: TorchModel) -> int | None:
    """The recipe's word counts before the source's; 0 is a word too."""
    if recipe.segment.background_id is not None or model.segment is None:
        return recipe.segment.background_id
    return model.segment.background_id
