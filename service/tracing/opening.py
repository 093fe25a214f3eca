"""The environment → a tracer. A wrong value is an error at the start, and not a trace that never arrives."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

from service.errors import ConfigurationError
from service.metrics import Metrics
from service.tracing.span_queue import SpanQueue
from service.tracing.tracer import Tracer

CLOSE_SECONDS = 3.0
"""How long the end of the service waits for the collector. Requests have been answered by then."""
ENDPOINT = "http://localhost:4318"
PROTOCOL = "http/protobuf"
COMPRESSIONS = ("none", "gzip", "deflate")
SAMPLERS = (
    "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
    "parentbased_traceidratio",
)  # fmt: skip

Environment = Mapping[str, str]


def open_tracer(environment: Environment, metrics: Metrics, version: str) -> Tracer | None:
    """Return what traces requests as the variables `OTEL_…` say; None where one of them turns it off.

    Args:
        environment: that of the process, which OpenTelemetry's packages read too.
        metrics: count the spans.
        version: of the service.

    Raises:
        ConfigurationError: OpenTelemetry's packages are not installed, or a variable is not valid or can not be done.
    """
    if _value(environment, "OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    exporter = _value(environment, "OTEL_TRACES_EXPORTER", "otlp").lower()
    if exporter == "none":
        return None
    _require("OTEL_TRACES_EXPORTER", exporter, ("otlp", "none"))
    _require_exporter(environment)
    _require_sampler(environment)
    collector = _collector(environment)
    capacity = _number(environment, "OTEL_BSP_MAX_QUEUE_SIZE", 2048)
    batch = _number(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)
    delay = _number(environment, "OTEL_BSP_SCHEDULE_DELAY", 5000)
    try:
        sdk = import_module("service.tracing.sdk").Sdk(version)
    except ImportError as error:
        raise ConfigurationError(
            f"FOVEAL_TRACING is set, and a package of OpenTelemetry is not installed ({error.name}). In a clone: "
            "pip install -e '.[otel]'."
        ) from error
    except (ValueError, OSError) as error:  # of its own variables
        raise ConfigurationError(
            f"FOVEAL_TRACING: OpenTelemetry does not start: {error}."
        ) from error
    queue = SpanQueue(
        sdk.send,
        sdk.stop,
        metrics,
        collector=collector,
        capacity=int(capacity),
        batch=int(batch),
        delay_seconds=delay / 1e3,
    )
    return Tracer(sdk, queue, close_seconds=CLOSE_SECONDS)


def _require(variable: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigurationError(f"{variable}={value}: Foveal knows {', '.join(allowed)}.")


def _require_exporter(environment: Environment) -> None:
    """Refuse what the exporter would ignore, or would only find when it sends."""
    variable, protocol = _given(environment, "PROTOCOL", PROTOCOL)
    if protocol.lower() != PROTOCOL:
        raise ConfigurationError(
            f"{variable}={protocol}: Foveal sends spans as {PROTOCOL} only, which collectors take at port 4318."
        )
    variable, compression = _given(environment, "COMPRESSION", COMPRESSIONS[0])
    _require(variable, compression.lower(), COMPRESSIONS)
    variable, _ = _given(environment, "TIMEOUT", "10")
    _number(environment, variable, 10, least=0.001)
    for name in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"):
        variable, path = _given(environment, name, "")
        if path and not Path(path).is_file():
            raise ConfigurationError(f"{variable}={path}: there is no such file.")


def _require_sampler(environment: Environment) -> None:
    """Refuse what OpenTelemetry would replace by a sampler that records everything."""
    sampler = _value(environment, "OTEL_TRACES_SAMPLER", SAMPLERS[0]).lower()
    _require("OTEL_TRACES_SAMPLER", sampler, SAMPLERS)
    if not sampler.endswith("traceidratio"):
        return
    given = _value(environment, "OTEL_TRACES_SAMPLER_ARG", "1")
    try:
        ratio = float(given)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ConfigurationError(
            f"OTEL_TRACES_SAMPLER_ARG={given}: it is the part of the requests that is traced, a number from 0 to 1."
        )


def _collector(environment: Environment) -> str:
    """Return where spans are sent, without what may be a password.

    Raises:
        ConfigurationError: it is no URL.
    """
    variable, url = _given(environment, "ENDPOINT", ENDPOINT)
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(
            f"{variable}: it is not a URL that begins with http:// or https://. An example is {ENDPOINT}."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def _value(environment: Environment, variable: str, default: str) -> str:
    """Return the value of a variable; by the specification an empty one counts as none."""
    return environment.get(variable, "").strip() or default


def _given(environment: Environment, name: str, default: str) -> tuple[str, str]:
    """Return which variable of the exporter counts, and its value: that of traces goes before that of all signals."""
    for variable in (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        if value := _value(environment, variable, ""):
            return variable, value
    return f"OTEL_EXPORTER_OTLP_{name}", default


def _number(environment: Environment, variable: str, default: int, *, least: float = 1) -> float:
    given = _value(environment, variable, str(default))
    try:
        number = float(given)
    except ValueError:
        number = 0.0
    if not least <= number <= 1e9:
        raise ConfigurationError(
            f"{variable}={given}: it is a number from {least:g} to 1,000,000,000."
        )
    return number
