import pytest

from service.errors import ConfigurationError
from service.metrics import Metrics
from service.tracing.opening import open_tracer
from tests.samples import total


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_SAMPLER": "nonsense"},
    ],
)
def test_the_standard_switches_turn_it_off(environment: dict[str, str]) -> None:
    metrics = Metrics()
    assert open_tracer(environment, metrics, "1") is None
    assert total(metrics.registry, "foveal_spans_total") is None


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
        {"OTEL_TRACES_SAMPLER": "Always_Off"},
        {"OTEL_TRACES_SAMPLER": "", "OTEL_TRACES_EXPORTER": "", "OTEL_SDK_DISABLED": ""},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://[::1]:4318/prefix/"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "", "OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    ],
)  # fmt: skip
def test_what_the_standard_allows_starts(environment: dict[str, str]) -> None:
    metrics = Metrics()
    assert open_tracer(environment, metrics, "1") is not None
    assert total(metrics.registry, "foveal_spans_total", outcome="dropped") == 0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_TRACES_EXPORTER", "otlp,jaeger"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_SAMPLER", "always"),
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:port"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "nan"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/at/all.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/nowhere/at/all.pem"),
    ],
)
def test_what_can_not_be_done_is_an_error_that_names_its_variable(
    variable: str, value: str
) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        open_tracer({variable: value}, Metrics(), "1")


@pytest.mark.parametrize("ratio", ["half", "1.5", "-0.1", "nan"])
def test_a_ratio_is_a_number_from_0_to_1(ratio: str) -> None:
    environment = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio}
    with pytest.raises(ConfigurationError, match=r"OTEL_TRACES_SAMPLER_ARG=.*from 0 to 1"):
        open_tracer(environment, Metrics(), "1")


def test_what_opentelemetry_itself_refuses_is_an_error_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "few")
    with pytest.raises(ConfigurationError, match=r"FOVEAL_TRACING: .*OTEL_SPAN_LINK_COUNT_LIMIT"):
        open_tracer({}, Metrics(), "1")


def test_a_password_in_the_address_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_tracer({"OTEL_EXPORTER_OTLP_ENDPOINT": "user:SECRET@collector"}, Metrics(), "1")
    assert "SECRET" not in str(caught.value)
