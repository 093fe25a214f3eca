"""A network's head, settled by what the source computes for real images, before the graph is made and proved."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.detector_evidence import Changes, RawValues
from exporter.heads.detector_steps import settle_changes, settle_rows_of
from exporter.heads.map_shift import refuse_unmoved_maps
from exporter.heads.score_refusal import refuse_no_class_scores
from exporter.heads.segment import SegmentHead
from exporter.heads.segment_rest import require_background
from exporter.heads.settle import settle_head
from exporter.network import Array
from exporter.subject import ImageSubject, require_finite
from exporter.threads import half_of_the_cores

SETTLING_IMAGES = 16
"""The number of images on whose raw outputs the activation is settled, at most."""


@half_of_the_cores()
def settled(subject: ImageSubject, labels: Sequence[str]) -> ImageSubject:
    """Return the subject with its head's activation settled by the source's raw outputs for some of the images.

    Raises:
        RecipeError: the recipe contradicts the outputs, or the outputs do not show what they are.
        ProofError: an output is NaN or infinite.
    """
    network = subject.network
    reference = network.reference

    def run(frames: NDArray[np.uint8]) -> Sequence[Array]:
        return reference.run(reference.pixels_of_frames(frames))

    outputs = [run(frame[None]) for frame in subject.inputs[:SETTLING_IMAGES]]
    for index, raw in enumerate(outputs):
        # Infinity may be right in raw outputs: the sigmoid of it is one.
        require_finite(subject, index, [np.nan_to_num(one, nan=np.nan) for one in raw])
    if isinstance(network.head, DetectHead):
        values = RawValues(
            network.head, network.image_input, network.graph, network.raw, outputs, labels
        )
        network = replace(network, head=settle_rows_of(values))
    if isinstance(network.head, ClassifyHead):
        scores = [one[0].reshape(len(one[0]), -1) for one in outputs]
        refuse_no_class_scores(network.graph, network.raw[0], scores)
    if isinstance(network.head, SegmentHead) and network.head.channels > 1:
        refuse_no_class_scores(network.graph, network.raw[0], [one[0] for one in outputs])
    head = settle_head(
        network.head, network.graph, network.raw, outputs, network.image_input, labels=labels
    )
    if isinstance(head, ClassifyHead | SegmentHead) and "softmax" not in network.silent:
        head = replace(head, assumes_softmax=False)
    if isinstance(head, SegmentHead):
        maps = [one[0] for one in outputs]
        require_background(head, maps, labels, network.background_id)
        refuse_unmoved_maps(subject.inputs, maps, lambda frames: run(frames)[0])
    if isinstance(head, DetectHead):
        is_stated = isinstance(network.head, DetectHead) and "format" not in network.head.assumed
        head = settle_changes(
            Changes(head, network.image_input, subject.inputs, outputs, run, is_stated=is_stated)
        )
    return replace(subject, network=replace(network, head=head))
