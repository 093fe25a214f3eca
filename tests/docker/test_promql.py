import pytest

from tests.docker.promql import Matcher, Selector, faults, known_series, read_names


def test_a_query_is_taken_apart_into_selectors_and_groupings() -> None:
    names = read_names(
        "histogram_quantile(0.99, sum by (stage, le) "
        '(rate(foveal_stage_seconds_bucket{model=~"a{2}, b", stage!="head"}[5m]))) '
        "> 1e-9 and on (instance) up"
    )

    assert names.selectors == (
        Selector(
            "foveal_stage_seconds_bucket",
            (Matcher("model", "=~", "a{2}, b"), Matcher("stage", "!=", "head")),
        ),
        Selector("up", ()),
    )
    assert names.grouped == {"stage", "le", "instance"}


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(foveal_requests)", "no series is called foveal_requests"),
        ("foveal_request_seconds", "no series is called foveal_request_seconds"),
        ("rate(fovea_requests_total[5m])", "no series is called fovea_requests_total"),
        ('foveal_requests_total{task="x"}', "foveal_requests_total has no label task"),
        ("sum by (stage) (foveal_queue_depth)", "no series here has the label stage"),
        ("sum by (le) (foveal_batch_size_sum)", "no series here has the label le"),
        ('foveal_stage_seconds_sum{stage="resize"}', "stage is never 'resize'"),
        ('foveal_errors_total{code="over"}', "code is never 'over'"),
        ("vector(0)", "it selects no series"),
    ],
)
def test_a_wrong_name_in_a_query_is_found(expression: str, fault: str) -> None:
    assert faults(expression, known_series()) == [fault]


def test_a_right_query_has_no_fault() -> None:
    right = (
        'sum by (model, instance) (rate(foveal_images_total{outcome="answered", job="foveal"}[1m]))'
    )

    assert faults(right, known_series()) == []


def test_a_matcher_that_can_not_be_read_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="not a matcher"):
        read_names("foveal_queue_depth{model=unquoted}")
