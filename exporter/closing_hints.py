"""The hints at the end of an export, in their order: what the proof can not show but is probably wrong, or assumed."""

from exporter.counted_labels import counted_hints
from exporter.hints import assumption_hints, box_hints, frame_hints, input_hints, score_hints
from exporter.labeled.findings import Findings
from exporter.network import Head, Unstated
from exporter.recipe import Recipe
from exporter.subject import ImageSubject
from exporter.unstated import unstated_hints
from exporter.witness import Witness
from service.card import Card


def closing_hints(
    recipe: Recipe,
    subject: ImageSubject,
    card: Card,
    witness: Witness,
    findings: Findings | None,
    *,
    loaded: Head,
    unstated: tuple[Unstated, ...],
) -> tuple[str, ...]:
    """Return what to say of a servable that is proved.

    Args:
        recipe: of the servable.
        subject: what was proved.
        card: of the servable.
        witness: saw the runs of the proof.
        findings: on labeled images; None where there are none.
        loaded: the head before values settled what was open.
        unstated: what neither the source nor the recipe states.
    """
    network, labels = subject.network, card.labels
    measured = findings is not None
    assumed = () if measured else unstated_hints(unstated, network)
    return (
        *input_hints(subject.inputs, network.pixels, network.own_factor),
        *witness.hints(),
        *(findings.hints if findings is not None else ()),
        *assumption_hints(network.normalization, measured=measured),
        *assumed,
        *(counted_hints(labels) if isinstance(recipe.labels, str) else ()),
        *score_hints(network.head, labels, measured=measured),
        *frame_hints(network.borrowed, network.image_input),
        *box_hints(
            loaded, network.head, card.boxes, nms_free=bool(card.nms_free), measured=measured
        ),
    )
