"""The outputs that the exporter writes are those that the service reads."""

from tests.exporter.exporting import OUTPUTS


def test_every_head_declares_the_outputs_of_its_task_in_order() -> None:
    assert OUTPUTS == {
        "classify": ("logits", "probabilities", "features"),
        "segment": ("mask", "confidence", "features"),
        "detect": ("boxes", "scores", "classes", "features"),
        "embed": ("features",),
        "temporal": ("logits", "probabilities"),
    }
