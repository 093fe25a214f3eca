"""The outputs that the exporter writes are those that the service's tasks read."""

from service.tasks.tasks import TASKS
from tests.exporter.exporting import OUTPUTS


def test_every_head_declares_the_outputs_of_its_task_in_order() -> None:
    assert {name: task.outputs for name, task in TASKS.items()} == OUTPUTS
