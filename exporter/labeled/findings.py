"""All that labeled images show of a network: its accuracy, and what would make it larger."""

from dataclasses import dataclass

import onnx

from exporter.labeled.accuracy_hints import accuracy_hints, better_hints
from exporter.labeled.alternatives import better_pixels
from exporter.labeled.label_order import order_hints
from exporter.labeled.measure import measure_accuracy
from exporter.labeled.other_inputs import better_inputs
from exporter.labeled.turned import turned_hints
from exporter.network import Network
from exporter.progress import Progress
from service.card import Accuracy
from service.labeled.truth import LabeledImages


@dataclass(frozen=True, slots=True)
class Findings:
    """The accuracy for the card, and hints: a low accuracy, and other pixel values, sizes, labels or signs."""

    accuracy: Accuracy
    hints: tuple[str, ...]


def find_on_labeled(
    model: onnx.ModelProto,
    network: Network,
    labels: tuple[str, ...],
    labeled: LabeledImages,
    progress: Progress,
) -> Findings:
    """Measure a graph on labeled images, and try what nothing states in other ways.

    Raises:
        RecipeError: the images can not be measured with; the message names the option and the next step.
    """
    progress.begin("Measure on labeled images")
    measurement = measure_accuracy(model, network, labels, labeled, progress)
    better = better_pixels(network, labels, labeled)
    inputs = better_inputs(
        network, labels, labeled, measurement, progress, values_too=better is None
    )
    explained = max((one.scores[0][1] for one in inputs), default=0.0)
    reordered = order_hints(measurement, labels, labeled, explained=explained)
    hints = (
        *accuracy_hints(measurement),
        *(better_hints(better) if better is not None else ()),
        *(hint for one in inputs for hint in one.hints()),
        *reordered,
        *turned_hints(measurement, is_reordered=bool(reordered)),
    )
    return Findings(measurement.accuracy, hints)
