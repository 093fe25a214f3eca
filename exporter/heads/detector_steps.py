"""What a detector's outputs mean: every reading that is tried and every refusal, in their order.

The lists are in the order in which a detector becomes known: its shapes, its labels, and what it gives for real images.
A step looks at what is known and gives a reading, nothing, or a refusal in words; see `detector_evidence`. Above each
step is why it stands before the next ones.

To add a layout, write one function with the signature of a list in the module of its kind, and its line here. What a
new decoder needs besides is in docs/extending.md.
"""

from collections.abc import Callable, Sequence

from exporter.heads.background import leaves_background_out, refuse_background_alone
from exporter.heads.box_check import refuse_best_boxes
from exporter.heads.box_form import (
    refuse_odd_order,
    refuse_offsets,
    refuse_other_form,
    refuse_other_scale,
    settle_by_grid,
    settle_open_rows,
    settle_unit,
)
from exporter.heads.box_order import judge_order
from exporter.heads.box_shift import judge_changed
from exporter.heads.boxes import Candidates
from exporter.heads.class_ids import check_classes
from exporter.heads.detect import DetectHead
from exporter.heads.detector_evidence import (
    Boxes,
    Changes,
    RawValues,
    ShapeReading,
    Shapes,
    ShapeStep,
    Step,
    settled_by,
)
from exporter.heads.detector_scores import (
    refuse_activation_of_named,
    refuse_column_of_objectness,
    refuse_contradicted_activation,
    refuse_no_probabilities,
    refuse_softmax_over_anchors,
    refuse_unit,
    refuse_unlike_objectness,
    settle_background_column,
    settle_fifth_value,
    settle_known,
    with_activation,
)
from exporter.heads.extra_column import refuse_one_more
from exporter.heads.filler import settle_filler
from exporter.heads.other_decoders import refuse_wrong_axis
from exporter.heads.own_duplicates import judge_suppression
from exporter.heads.raw_levels import (
    refuse_levels_of_boxes,
    refuse_levels_though_stated,
    refuse_maps,
    refuse_unlike_levels,
)
from exporter.heads.relative_boxes import (
    refuse_decoded,
    refuse_relative,
    refuse_sides,
    settle_relative,
)
from exporter.heads.row_check import check_rows
from exporter.heads.row_order import settle_row_order
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
from exporter.network import Array
from service.card import ImageInput

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

BY_LABELS: tuple[Callable[[DetectHead, Sequence[str]], None], ...] = (
    # One column too many is rather an objectness or the background than a sign of another decoder.
    lambda head, labels: refuse_one_more(head, len(labels)),
    # Labels without the background's are one fewer than columns. Another decoder may read more columns.
    lambda head, labels: (
        None if leaves_background_out(head, labels) else refuse_wrong_axis(head, len(labels))
    ),
    lambda head, _labels: refuse_background_alone(head),
)
"""By the number of the labels that are known, before the network has run."""

BY_ROWS: tuple[Step[RawValues], ...] = (
    # All others need the columns of score and class.
    lambda known: settle_row_order(known.head, known.outputs),
    # The -1 of rows that fill up a list is no class id.
    lambda known: settle_filler(known.head, known.outputs),
    # Numbers that are no class ids at all must not be judged as ids.
    lambda known: check_rows(known.head, known.parts),
    lambda known: check_classes(known.head, known.outputs, known.labels),
)
"""By the rows on real images: which columns are the score and the class, and whether labels have these classes."""

BY_SCORES: tuple[Step[RawValues], ...] = (
    # All others need to know which columns are scores.
    settle_fifth_value,
    # A unit that is stated wrongly is named before what it makes of the scores.
    refuse_unit,
    # Values show nothing better than what the source knows.
    settle_known,
    # From here on scores and objectness are looked at as one.
    refuse_unlike_objectness,
    # These have no axis that a softmax could be over.
    refuse_activation_of_named,
    # A wrong statement is refused before it is used, ...
    refuse_contradicted_activation,
    # ... and so is a missing one.
    refuse_no_probabilities,
    # The sum over the classes, which shows a background, means nothing after a softmax over the boxes.
    refuse_softmax_over_anchors,
    settle_background_column,
    # It judges the column that is the background now.
    refuse_column_of_objectness,
    # The form of boxes is judged by the best of them, which needs the probabilities.
    with_activation,
    lambda known: judge_form(known.head, known.parts, known.image_input),
    refuse_best_boxes,
)
"""By the scores on real images, and then by the boxes."""

BY_BOXES: tuple[Step[Boxes], ...] = (
    # All others need to know whether boxes are relative to cells.
    settle_open_rows,
    refuse_decoded,
    # Distances to the sides are relative to cells too, and in no unit.
    refuse_sides,
    # What is behind judges boxes in the frame.
    settle_relative,
    # They are offsets too, but of those that a decoder reads.
    refuse_relative,
    # Offsets in any form would be read as boxes in the corner of the frame.
    refuse_offsets,
    # What the grid shows and no option states is refused before an option is named.
    refuse_odd_order,
    refuse_other_scale,
    # Whether boxes leave the frame depends on their unit.
    settle_unit,
    # The cells of a grid show the form surer than the edges of the frame.
    settle_by_grid,
    refuse_other_form,
)
"""By the boxes on real images."""

BY_CHANGES: tuple[Step[Changes], ...] = (
    # Where x and y are exchanged, boxes do not follow moved images.
    lambda known: judge_order(
        known.head, known.frames, known.outputs, known.image_input, known.run
    ),
    lambda known: judge_changed(
        known.head,
        known.frames,
        known.outputs,
        known.image_input,
        known.run,
        is_stated=known.is_stated,
    ),
    # How much boxes overlap depends on their form.
    lambda known: judge_suppression(known.head, known.outputs, known.image_input),
)
"""By what is found in changed images, and by how often an object is found."""


def read_shapes(shown: Shapes) -> ShapeReading:
    """Return the decoder that names and shapes of the outputs show, and these in its order.

    Raises:
        RecipeError: the shapes show a network of another task, outputs that no decoder reads, or several decoders.
    """
    reading = next(found for step in BY_SHAPES if (found := step(shown)) is not None)
    for refuse in OF_A_READING:
        refuse(shown, reading)
    return reading


def check_labels_of(head: DetectHead, labels: Sequence[str]) -> None:
    """Refuse a head that does not suit the labels, where another decoder or option would.

    Args:
        head: of any decoder.
        labels: those that are known, none where there are none.

    Raises:
        RecipeError: the message names the decoder, the option, or how to export the network.
    """
    for refuse in BY_LABELS:
        refuse(head, labels)


def settle_rows_of(known: RawValues) -> DetectHead:
    """Return the head with the order of columns that its rows show.

    Raises:
        RecipeError: rows are not those of the decoder, or class ids are not the places of the labels.
    """
    return settled_by(BY_ROWS, known)


def settle_scores(known: RawValues) -> DetectHead:
    """Return the head with the activation that suits the network, and the form that its boxes have.

    Raises:
        RecipeError: the recipe contradicts the network, or what scores or boxes are can not be known; the message names
            the option that states it.
    """
    return settled_by(BY_SCORES, known)


def judge_form(
    head: DetectHead, parts: Sequence[Candidates[Array]], image_input: ImageInput
) -> DetectHead:
    """Return the head with the form that the boxes have on real images, and without what need not be assumed.

    Args:
        head: with its activation settled.
        parts: the candidates on real images.
        image_input: the network's.

    Raises:
        RecipeError: what is stated, or usual for this form of output, can not be; the message names the option.
    """
    return settled_by(BY_BOXES, Boxes.of(head, parts, image_input))


def settle_changes(known: Changes) -> DetectHead:
    """Return the head with the order of x and y, and the suppression, that changed images show.

    Raises:
        RecipeError: what is found does not follow the images; the message says what the boxes seem to be.
    """
    return settled_by(BY_CHANGES, known)
