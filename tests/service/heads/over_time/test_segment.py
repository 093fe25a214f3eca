"""Areas over time, by hand-made masks."""

import numpy as np

from service.heads.over_time.segment import SegmentCombiner
from service.heads.segment import SegmentClasses
from tests.source_images import source_of

CLASSES = SegmentClasses(("nothing", "cat", "dog"), background_id=0)


def test_each_class_has_its_area_at_each_time_it_was_seen() -> None:
    combiner = SegmentCombiner(CLASSES, with_polygons=False)
    for second, (cats, dogs) in enumerate([(25, 0), (50, 25), (0, 50)]):
        mask = np.zeros((100, 100), np.uint8)
        mask[:cats], mask[100 - dogs :] = 1, 2
        outputs = {"mask": mask, "confidence": np.full_like(mask, 255)}
        result = combiner.add(second, combiner.keep(outputs, source_of(100, 100)))
        assert {one["label"]: one["area"] for one in result["segments"]} == {
            name: rows * 100 for name, rows in (("cat", cats), ("dog", dogs)) if rows
        }
    cat, dog = combiner.summary()["areas"]
    assert [(one["time"], one["area"]) for one in cat["over_time"]] == [(0, 2500), (1, 5000)]
    assert [(one["time"], one["fraction"]) for one in dog["over_time"]] == [(1, 0.25), (2, 0.5)]
    assert (cat["frames"], cat["mean_fraction"]) == (2, 0.25)
