from service.reference.tasks import reference
from service.tasks.tasks import TASKS
from tests.service.tasks.mean_color import MEAN_COLOR


def test_a_task_is_described_by_its_options_and_formats() -> None:
    text = reference({"mean_color": MEAN_COLOR})
    assert "## mean_color\n\nThe mean color of each image.\n" in text
    assert "| `scale` | `byte` | `byte`, `unit` | 0–255, or 0–1 |" in text
    assert "| `swatch` | `image/png` | a square of the color |" in text
    assert "`POST /v1/video?task=mean_color`\n\nIt has no options of its own.\n" in text


def test_ranges_and_defaults_are_written_out() -> None:
    text = reference(TASKS)
    assert "| `score_threshold` | `0.3` | 0 to 1 | Least score |" in text
    assert "| `polygons` | `false` | `true`, `false` |" in text
    assert "| `top_k` |  | from 1 |" in text
    assert "Networks for classify, detect, segment can do it too." in text
    assert "`POST /v1/temporal`" not in text
