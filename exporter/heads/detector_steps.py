"""What a detector's outputs mean: every reading that is tried and every refusal, in their order.

A step looks at what is known and gives a reading, nothing, or a refusal in words (see `detector_evidence`). A new
layout is one function in one module and one line here. Above each line is why it stands before the next ones.
"""

from collections.abc import Callable

from exporter.heads.detector_evidence import ShapeReading, Shapes, ShapeStep
from exporter.heads.raw_levels import (
    refuse_levels_of_boxes,
    refuse_levels_though_stated,
    refuse_maps,
    refuse_unlike_levels,
)
from exporter.heads.shape_readings import (
    read_as_stated,
    read_detection_output,
    read_one_output,
    read_pair,
    read_pair_of_one_class,
    read_scored_boxes,
    read_triple,
    refuse_columns,
    refuse_dropped_objectness,
    refuse_prototypes,
)

BY_SHAPES: tuple[ShapeStep, ...] = (
    # A stated decoder would read the first of several levels and leave out the others.
    refuse_levels_though_stated,
    # Shapes do not overrule what is stated.
    read_as_stated,
    # A pair would be the boxes and scores of one level, without the others.
    refuse_levels_of_boxes,
    # Beside a triple there may be the scores of all classes, which would make a pair of its boxes.
    read_triple,
    # A tensor of boxes alone is surer than the number of columns of a wider one.
    read_pair,
    # Five columns beside classes: alone, they would be a box and the score of one class.
    read_scored_boxes,
    # The four axes of this layer's list could be those of a map.
    read_detection_output,
    # It is behind the triple, whose scores have this shape too.
    read_pair_of_one_class,
    # From here on one output is read: it must not be one of several levels, ...
    refuse_maps,
    # ... also where their sizes are on no known grid, ...
    refuse_unlike_levels,
    # ... nor boxes that masks belong to, ...
    refuse_prototypes,
    # ... nor boxes without their scores.
    refuse_columns,
    read_one_output,
)
"""By the names and shapes of the outputs, before the network has run. The first reading ends the search."""

OF_A_READING: tuple[Callable[[Shapes, ShapeReading], None], ...] = (refuse_dropped_objectness,)
"""What a reading by shapes must not leave out."""


def read_shapes(shown: Shapes) -> ShapeReading:
    """Return the decoder that names and shapes of the outputs show, and these in its order.

    Raises:
        RecipeError: the shapes show a network of another task, outputs that no decoder reads, or several decoders.
    """
    reading = next(found for step in BY_SHAPES if (found := step(shown)) is not None)
    for refuse in OF_A_READING:
        refuse(shown, reading)
    return reading
