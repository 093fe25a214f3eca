"""Whether a detector gives an object several boxes, as labeled images show: they have what it was trained for."""

from dataclasses import replace

from exporter.heads.detect import DetectHead
from exporter.heads.own_duplicates import is_open, judge_again
from exporter.labeled.measure import read_images
from exporter.network import Network
from exporter.threads import half_of_the_cores
from service.labeled.truth import LabeledImages

IMAGES = 32
"""So many of the labeled images are looked at, at most, from all over the set."""


@half_of_the_cores()
def judged_on_labeled(network: Network, labeled: LabeledImages) -> Network:
    """Return the network with suppression in each request, where it is assumed to need none and labeled images differ.

    mAP hardly falls by boxes that repeat a better one, so that the accuracy alone does not show them.
    """
    head = network.head
    if not isinstance(head, DetectHead) or not is_open(head):
        return network
    step = -(-len(labeled.images) // IMAGES)
    reference = network.reference
    outputs = [
        reference.run(reference.pixels_of_frames(one.frame[None]))
        for one in read_images(labeled.images[::step], network, [])
    ]
    return replace(network, head=judge_again(head, outputs, network.image_input))
