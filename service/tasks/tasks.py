"""Every task that the service knows, by name."""

from collections.abc import Mapping

from service.tasks.classify import CLASSIFY
from service.tasks.detect import DETECT
from service.tasks.embed import EMBED
from service.tasks.segment import SEGMENT
from service.tasks.task import Task
from service.tasks.temporal import TEMPORAL

TASKS: Mapping[str, Task] = {
    task.name: task for task in (CLASSIFY, SEGMENT, DETECT, EMBED, TEMPORAL)
}
