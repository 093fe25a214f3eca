"""What an operator may set, by `FOVEAL_…` in the environment or by an option of `foveal serve`."""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from service.errors import ConfigurationError
from service.faults import words_of
from service.runtime.device import DeviceName
from service.storage.url import StorageUrl, parse_place, redacted

MOST_WORKERS = 256
PREFIX = "FOVEAL_"
Dialect = Literal["deepstack", "kserve-v1", "label-studio", "x-anylabeling"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

_HOST = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*|\[[0-9A-Fa-f:.]+\]")
_FETCH_HOST = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*|[\w-]+(\.[\w-]+)*:[0-9]+")
_SERVER = re.compile(r"https?://[\w.-]+(:[0-9]{1,5})?|")
_ORIGIN = re.compile(r"\*|https?://[^/\s]+")


def _host(value: str) -> str:
    """One with a port would match no request."""
    if not _HOST.fullmatch(value):
        raise PydanticCustomError(
            "host", "Write a name or an address without a port, or *. before a name"
        )
    return value


def _fetch_host(value: str) -> str:
    """One with a scheme or a path would match no URL."""
    if not _FETCH_HOST.fullmatch(value):
        raise PydanticCustomError(
            "fetch_host", "Write a name, a name with a port, or *. before a name"
        )
    return value


def _server(value: str) -> str:
    """The server of another program: a path or a password in it would not be used."""
    if not _SERVER.fullmatch(value):
        raise PydanticCustomError(
            "server", "Write scheme, host and port without a slash at the end"
        )
    return value


def _origin(value: str) -> str:
    """As browsers send it, or it would match no request."""
    if not _ORIGIN.fullmatch(value):
        raise PydanticCustomError(
            "origin", "Write scheme, host and port without a slash at the end, or * for all sites"
        )
    return value


def _count_or_auto(value: object) -> object:
    text = str(value).strip().lower()
    if text == "auto":
        return text
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise PydanticCustomError("workers", "Write a number from 1 to 256, or auto")
    return int(text)


def _place(value: object) -> object:
    """A URL must stay as it is written: a path would lose a slash."""
    if not isinstance(value, str):
        return value
    try:
        return parse_place(value)
    except ConfigurationError as error:
        raise PydanticCustomError("place", "{reason}", {"reason": str(error)}) from error


class Settings(BaseSettings):
    """All settings, with their defaults; read once at the top and passed down as plain values."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on; 0.0.0.0 for all of IPv4, `::` for all of both",
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 for any free one")
    models: Annotated[Path | StorageUrl, BeforeValidator(_place)] = Field(
        Path("models"),
        description="Folder of the model repository: `<name>/<version>/model.onnx`; or its place elsewhere: "
        "`s3://bucket/prefix`, `gs://…`, `hf://owner/repository`, `https://host/folder`",
    )
    models_lock: Path | None = Field(
        None,
        description="Lock file, as `foveal lock` writes it: only the versions in it are served, and only with the "
        "digests in it; none: what lies there is served",
    )
    models_cache: Path | None = Field(
        None,
        description="Folder for models that are fetched; several services may share one. None: `models` in "
        "`FOVEAL_CACHE`",
    )
    models_cache_bytes: int = Field(
        20 * 2**30,
        ge=1,
        description="Bytes that it may hold; the least recently used versions go, and never what is served",
    )
    models_fetch_seconds: float = Field(
        3600, gt=0, description="How long fetching a version may take"
    )
    models_min_bytes_per_second: int = Field(
        50_000,
        ge=0,
        description="Least rate at which it must come, over 30 s; a slower connection is tried once more and given up",
    )
    device: Literal["auto", DeviceName] = Field(
        "auto",
        description="Where networks run; `auto` takes CUDA where it works, else the CPU",
    )
    device_id: int = Field(0, ge=0, description="Index of the GPU")
    device_ids: list[Annotated[int, Field(ge=0)]] = Field(
        [],
        description="Indices of several GPUs, as JSON: `[0, 1]`; each worker has one, in turn, so `FOVEAL_WORKERS` is "
        "at least their number. Empty: all workers have `FOVEAL_DEVICE_ID`",
    )
    precision: Literal["exact", "fast"] = Field(
        "exact",
        description="`exact`: each model as its file says. `fast`: the fastest of its variants and providers that is "
        "proved to agree on this machine; measured at the first start, kept in `FOVEAL_CACHE`",
    )
    defaults: dict[str, str] = Field(
        {},
        description='Default model of a task, as JSON: `{"classify": "lenet5"}`, `"lenet5:2"` or `"lenet5@stable"`; '
        "goes before `foveal.toml`",
    )
    admin: bool = Field(
        default=False,
        description="Whether calls with a key of the scope `admin` may change what is served: versions, aliases, "
        "shares, shadows; needs `FOVEAL_KEYS`",
    )
    max_model_bytes: int = Field(
        2**31,
        ge=1024,
        description="Largest model that such a call may send; above it 413 `body_too_large`",
    )
    max_uploads: int = Field(
        2,
        ge=1,
        le=1024,
        description="Models that such calls may send to each worker at once; above it 503 `overloaded`. Those of a "
        "worker take at most so many times `FOVEAL_MAX_MODEL_BYTES` of the disk",
    )
    max_upload_seconds: float = Field(
        3600,
        gt=0,
        le=604_800,
        description="How long such a model may take to arrive; then 504 `deadline_exceeded`, and nothing of it stays",
    )
    watch: bool = Field(
        default=False,
        description="Watch the folder of the models, and serve what changes in it; needs the package watchfiles. A "
        "place elsewhere is looked at every `FOVEAL_WATCH_SECONDS`",
    )
    watch_seconds: float = Field(
        60, ge=1, description="How often a place elsewhere is looked at with `FOVEAL_WATCH`"
    )
    models_memory_bytes: int = Field(
        0,
        ge=0,
        description="Memory that the models of all processes may hold together; the least recently used are unloaded "
        "until a request comes for them. 0: any",
    )
    models_stay_seconds: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="How long a model that was loaded for a request stays, and no less than its loading took, before "
        "another one may take its room in `FOVEAL_MODELS_MEMORY_BYTES`. 0: it makes room at once",
    )
    workers: Annotated[int | Literal["auto"], BeforeValidator(_count_or_auto)] = Field(
        1,
        description="Processes that serve, 1 to 256; more than 1 pays for tiny networks only. `auto`: by the share of "
        "Python in a request, measured at the first start",
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads that run batches, shared by the workers; 0: the cores of the cgroup quota",
    )
    instances: int = Field(
        0,
        ge=0,
        le=256,
        description="Batches of one model that may run at once; 0: measured at start on a CPU, 2 on a GPU",
    )
    max_batch: int = Field(
        0, ge=0, le=1024, description="Largest batch; 0: measured at start on a CPU, 32 on a GPU"
    )
    cuda_graphs: bool = Field(
        default=True,
        description="On a GPU, launch batches of warmed sizes as CUDA graphs where a network allows it",
    )
    max_delay_ms: float = Field(
        0, ge=0, le=10_000, description="How long a batch may wait to fill; 0 is fastest"
    )
    queue_size: int = Field(
        256,
        ge=1,
        le=1_000_000,
        description="Images that may wait for a model, and large bodies to be received; above it 503 `overloaded`",
    )
    timeout_ms: float = Field(
        30_000, gt=0, le=3_600_000, description="A request's deadline without `X-Timeout-Ms`"
    )
    max_timeout_ms: float = Field(
        300_000,
        gt=0,
        le=3_600_000,
        description="The longest deadline that a client gets with `X-Timeout-Ms`; at least `FOVEAL_TIMEOUT_MS`",
    )
    max_head_bytes: int = Field(
        65_536,
        ge=1024,
        le=16 * 1024 * 1024,
        description="Request line and headers, or what frames a chunked body; above it 431 `head_too_large`",
    )
    head_timeout_ms: float = Field(
        10_000,
        gt=0,
        le=3_600_000,
        description="From the first byte of a request's head to its last; above it 408 `head_timeout`",
    )
    idle_timeout_ms: float = Field(
        75_000,
        gt=0,
        le=3_600_000,
        description="How long a connection may wait for its next request",
    )
    write_timeout_ms: float = Field(
        30_000,
        gt=0,
        le=3_600_000,
        description="How long a client may read nothing of its answer; then its connection is closed",
    )
    max_connections: int = Field(
        0,
        ge=0,
        description="Open connections of a process; above it an idle one is closed, or the new one gets 503. "
        "0: what the limit of open files allows, less 128 and one for each isolated decoder",
    )
    max_body_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="Largest request body; above it 413 `body_too_large`"
    )
    max_held_bytes: int = Field(
        0,
        ge=0,
        description="Bytes of bodies over 256 KiB that wait for their answer; above it further bodies wait to be "
        "received. 0: 8 MiB for each thread that runs batches",
    )
    max_unfinished_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1024,
        description="Bytes of all request bodies with images that have begun to arrive and are not complete; above it "
        "the slowest large ones get 503 `overloaded`. At least `FOVEAL_MAX_BODY_BYTES`; fewer where memory is short. "
        "Images that are fetched by URL count too; requests wait before theirs take more than half of it",
    )
    max_answer_bytes: int = Field(
        0,
        ge=0,
        description="Bytes of the outputs of V2 and KServe V1 requests, above which further ones get 503 "
        "`overloaded`; and, apart from them, of answers that clients have not read, above which the slowest are "
        "disconnected. 0: an eighth of the memory",
    )
    min_bytes_per_second: int = Field(
        1000,
        ge=0,
        description="Least rate of the body of a video or a model over a time of `FOVEAL_TIMEOUT_MS`; a slower video "
        "ends where it is, a slower model gets 504 `deadline_exceeded`",
    )
    image_formats: list[Literal["jpeg", "png", "webp", "gif", "bmp", "tiff", "avif"]] = Field(
        [],
        description='Image formats that are read, as JSON: `["jpeg", "png"]`, of `jpeg`, `png`, `webp`, `gif`, `bmp`, '
        "`tiff`, `avif`; others get 415 `unsupported_image`, and "
        "no decoder of theirs is tried. Empty: all",
    )
    max_metadata_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        description="Metadata that the reader of an image may hold: EXIF, XMP, color profile, comments, tags; above it "
        "413 `too_much_metadata`",
    )
    video_formats: list[Literal["mp4", "webm", "avi", "gif", "png", "webp"]] = Field(
        [],
        description='Video formats that are read, as JSON: `["mp4", "webm"]`, of `mp4` (with MOV and animated AVIF), '
        "`webm` (with Matroska), `avi`, `gif`, `png`, `webp`; others get 415 `unsupported_video`. "
        "Empty: all",
    )
    video_codecs: list[str] = Field(
        [],
        description='Codecs of videos that are decoded, by FFmpeg\'s names, as JSON: `["h264", "hevc", "vp9", "av1"]`; '
        "others get 415 `unsupported_video`. Empty: the usual ones, which docs/video.md names",
    )
    max_pixels: int = Field(
        64_000_000,
        ge=1,
        description="Largest image in pixels; above it 413 `too_many_pixels`. Where it is not set and a process has "
        "less than about 2 GiB of memory, fewer if fewer fit: the log says how many",
    )
    max_request_pixels: int = Field(
        256_000_000,
        ge=1,
        description="Pixels of all images of a request together; above it 413 `too_many_pixels`",
    )
    max_decoding_pixels: int = Field(
        0,
        ge=0,
        description="Pixels of large images that are decoded or drawn on at once; further ones wait. "
        "0: `FOVEAL_MAX_PIXELS`, or as many as fit into a quarter of the memory; fewer if fewer fit beside the models",
    )
    decode: Literal["threads", "isolated"] = Field(
        "threads",
        description="Where images and videos are decoded: `threads` of the service, or `isolated` processes with "
        "limits, which a hostile file may crash",
    )
    decode_memory_bytes: int = Field(
        0,
        ge=0,
        description="Memory that an isolated decoder may take for an image or a video. 0: for an image 256 MiB and 20 "
        "bytes for each of FOVEAL_MAX_PIXELS; for a video 128 MiB, FOVEAL_MAX_VIDEO_BYTES and 40 bytes for each pixel, "
        "and less where the memory has room for less",
    )
    decode_seconds: float = Field(
        20.0,
        gt=0,
        le=50,
        description="Longest time that an isolated decoder may work on an image, or on a video without a frame of it "
        "or further bytes",
    )
    max_images: int = Field(64, ge=1, description="Most images in one request")
    max_form_fields: int = Field(
        1000, ge=0, description="Most parts without a filename in a multipart form with images"
    )
    max_json_depth: int = Field(
        200,
        ge=2,
        le=200,
        description='Levels of lists and objects in JSON; `{"images": []}` has two. Above it 400 `malformed_json`',
    )
    max_fan_outs: int = Field(
        4,
        ge=1,
        le=1024,
        description="Videos, explanations and chains that run at once; above it 503 `overloaded`",
    )
    explainers: int = Field(
        2,
        ge=1,
        le=64,
        description="Models that may be loaded for explanations at once; each needs memory for its weights again",
    )
    max_video_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1024,
        description="Largest video; above it 413 `body_too_large`. Smaller where memory is short",
    )
    max_video_seconds: float = Field(
        3600, gt=0, description="Longest video; above it 413 `video_too_long`"
    )
    max_video_frames: int = Field(
        3600, ge=1, description="Most frames sampled from a video; above it 413 `too_many_frames`"
    )
    max_animation_frames: int = Field(
        36_000,
        ge=1,
        description="Most frames that an animated GIF, PNG or WebP stores, whatever is sampled of them; above it 413 "
        "`too_many_frames`",
    )
    guide: Path = Field(
        Path("build/site"),
        description="Folder of the documentation as `make docs` builds it; `/docs/guide/` serves it where it is there",
    )
    cache: Path = Field(
        Path("~/.cache/foveal"),
        description="Folder for what a device compiles, and what `FOVEAL_PRECISION=fast` and `FOVEAL_WORKERS=auto` "
        "measured; made when needed",
    )
    response_cache_bytes: int = Field(
        0,
        ge=0,
        description="Bytes of answers that are kept for identical images, of all workers together; 0: none",
    )
    grace_seconds: float = Field(
        5,
        ge=0,
        description="Seconds between SIGTERM and closing; the service still answers, and is not ready",
    )
    health_check_seconds: float = Field(
        30,
        gt=0,
        description="Seconds between health checks: a model that has not answered since the last one gets a blank "
        "image, or noise where its answer for that is not finite; the checks of a model take at most a thousandth of "
        "the time",
    )
    keys: Path | None = Field(
        None,
        description="File of API keys, as `foveal key new` prints its entries; none: everyone may use the service",
    )
    rate_limit_per_key: str = Field(
        "", description="Requests a time with one key: `10/second; 5000/hour`; empty: any number"
    )
    rate_limit_per_address: str = Field(
        "",
        description="Requests a time from one IPv4 address or IPv6 /64 network, counted before the key is checked; "
        "empty: any number",
    )
    queue_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Part of a model's queue, and of `FOVEAL_MAX_FAN_OUTS`, that one key (or an address without one) "
        "may have; above it 429 `queue_share`",
    )
    allowed_hosts: list[Annotated[str, AfterValidator(_host)]] = Field(
        [],
        description='Names that a request may have as its host, as JSON: `["vision.example.org", "*.lan"]`; '
        "empty: any",
    )
    cors_origins: list[Annotated[str, AfterValidator(_origin)]] = Field(
        [],
        description='Sites whose pages may read answers, as JSON: `["https://app.example.org"]`; empty: none',
    )
    dialects: list[Dialect] = Field(
        list(DIALECTS),
        description='Protocols of other programs that are spoken, as JSON: `["deepstack"]`; see docs/clients.md',
    )
    deepstack_labels: dict[str, str] = Field(
        {},
        description='Other names of classes for clients of DeepStack, as JSON: `{"tvmonitor": "tv", "book": ""}`; '
        "boxes with an empty name are left out, and `*` stands for every other class",
    )
    fetch_hosts: list[Annotated[str, AfterValidator(_fetch_host)]] = Field(
        [],
        description="Hosts from which images are fetched that a task of Label Studio names by URL, as JSON: "
        '`["images.example.org", "*.example.net", "s3.example.com:8443"]`; none in a private network. Empty: none',
    )
    label_studio_url: Annotated[str, AfterValidator(_server)] = Field(
        "",
        description="Your Label Studio, `http://labels.lan:8080`: files that were uploaded to it are fetched, also "
        "in a private network; empty: they are not",
    )
    label_studio_token: SecretStr = Field(
        SecretStr(""), description="Access token of a user of Label Studio, for its files"
    )
    trusted_proxies: list[IPvAnyNetwork] = Field(
        [],
        description="Addresses or networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed, as JSON: "
        '`["10.0.0.7"]`; empty: none',
    )
    ssl_certfile: Path | None = Field(
        None, description="Certificate chain in PEM; with it the service speaks HTTPS only"
    )
    ssl_keyfile: Path | None = Field(
        None, description="Private key of the certificate in PEM; none: it is in the same file"
    )
    ssl_keyfile_password: SecretStr = Field(
        SecretStr(""), description="Password of the private key"
    )
    ssl_ca_certs: Path | None = Field(
        None,
        description="Authorities in PEM that sign the certificates of clients; with it only such clients may connect",
    )
    load_seconds: float = Field(
        30.0,
        gt=0,
        description="How long the loading of a model may keep the others waiting; it goes on beside them. Changes of "
        "the models wait for as long, then 503 `overloaded`",
    )
    max_load_seconds: float = Field(
        600.0,
        gt=0,
        description="How long a model that a change brings, or that wakes for a request, may take to load; then it is "
        "refused",
    )
    stuck_seconds: float = Field(
        10.0,
        gt=0,
        description="After so long without an end a run is given up with 503 `run_stuck`; a heavy model's later",
    )
    max_tensor_bytes: int = Field(
        2**30,
        ge=1,
        description="A tensor that a model's graph makes out of a few constants, such as a shape; a model that asks "
        "for more is not loaded",
    )
    trial: bool = Field(
        default=False,
        description="Run each model in a process of its own, with limits, before the service loads it; a file that has "
        "passed is not tried again while `FOVEAL_CACHE` keeps that",
    )
    trial_seconds: float = Field(60.0, gt=0, description="How long the trial of a model may take")
    trial_bytes: int = Field(
        0,
        ge=0,
        description="Memory that the trial of a model may take; 0: half of the memory of the machine or container",
    )
    deterministic: bool = Field(
        default=False,
        description="Run each image alone and on one thread, so that its answer is the same, bit by bit, whatever else "
        "arrives; `FOVEAL_MAX_BATCH` has no effect then",
    )
    tracing: bool = Field(
        default=False,
        description="Send traces of requests by OpenTelemetry; needs `foveal[otel]`. The variables `OTEL_…` say where "
        "to, and of which requests",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="`debug`, `info` (a line per request), `warning`, `error`"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`json`, `text`; `auto` is text on a terminal"
    )

    @property
    def processes(self) -> int:
        """The number of processes; 1 where it is still to be measured."""
        return 1 if self.workers == "auto" else self.workers

    def of_worker(self, index: int) -> "Settings":
        """Return the settings of one of several workers: its own GPU, where there are several.

        A worker that takes the place of one that died has its index, and so its GPU.
        """
        if not self.device_ids:
            return self
        own = self.device_ids[index % len(self.device_ids)]
        return self.model_copy(update={"device_id": own})

    def require_worker_for_each_device(self) -> None:
        """Check that every GPU that is named has a worker.

        Raises:
            ConfigurationError: there are fewer workers, or a GPU is named twice, or the device is none.
        """
        ids = self.device_ids
        if len(set(ids)) < len(ids):
            raise ConfigurationError(f"FOVEAL_DEVICE_IDS: {ids} names a GPU twice.")
        if ids and self.device in {"cpu", "openvino"}:
            raise ConfigurationError(f"FOVEAL_DEVICE_IDS: {self.device} has no GPUs.")
        if len(ids) > self.processes:
            raise ConfigurationError(
                f"FOVEAL_DEVICE_IDS: {len(ids)} GPUs need as many workers or more, and FOVEAL_WORKERS is "
                f"{self.processes}. A worker serves on one GPU."
            )

    def as_environment(self, names: Iterable[str]) -> dict[str, str]:
        """Return some settings as the environment of another service."""
        return {PREFIX + name.upper(): str(getattr(self, name)) for name in names}


def read_settings(environment: Mapping[str, str], options: Mapping[str, object]) -> Settings:
    """Return the settings: `options` first, then the environment, then the defaults.

    Raises:
        ConfigurationError: a value is not valid, or a `FOVEAL_…` variable is not a setting.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for variable in environment:
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            near = difflib.get_close_matches(variable.upper(), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigurationError(
                f"{variable} is not a setting{hint}{_service_link_hint(environment)}"
            )
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except SettingsError as error:  # a value that is no JSON where JSON is expected
        raise ConfigurationError(f"{error}: write it as JSON, see docs/settings.md.") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise ConfigurationError(
            f"{PREFIX}{name.upper()}={redacted(str(first['input']))}: {words_of(first)}"
            f"{_service_link_hint(environment)}"
        ) from error


def _service_link_hint(environment: Mapping[str, str]) -> str:
    """Kubernetes puts FOVEAL_PORT=tcp://… and more into pods beside a Service called `foveal`."""
    if f"{PREFIX}SERVICE_HOST" not in environment:
        return ""
    return (
        ". Kubernetes sets it for a Service of this name: set enableServiceLinks: false in the pod"
    )
