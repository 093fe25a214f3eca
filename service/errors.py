"""Everything that can go wrong, as one tree; each leaf has an HTTP status, a stable code and a message safe to show.

FovealError
├── ConfigurationError            the service can not start with this configuration
│   ├── DeviceError               the device that the settings name does not work
│   ├── LabelsError               labels of images can not be read, or do not fit the network
│   ├── ServableError             a file in the model repository can not be served
│   └── StorageError              the place of the models can not be read
├── RequestError                  the client can correct it
│   ├── ImageError                one image among several may fail alone
│   │   ├── EmptyImageError  UnsupportedImageError  BrokenImageError  TooManyPixelsError
│   │   └── TooMuchMetadataError  MalformedBase64Error  RemoteImageError  UnreadableSourceError
│   ├── VideoError                the video can not be read
│   │   ├── UnsupportedVideoError  BrokenVideoError  NoVideoStreamError  NoFramesError
│   │   └── VideoTooLongError  TooManyFramesError
│   ├── EmptyBodyError  BodyTooLargeError  TooManyImagesError
│   ├── MalformedMultipartError  MalformedJsonError  InvalidParameterError
│   ├── MalformedHttpError  UnsupportedTransferCodingError  HeadTooLargeError  HeadTimeoutError
│   ├── UnsupportedEncodingError  MalformedEncodingError
│   ├── NotFoundError  MethodNotAllowedError
│   ├── UnauthorizedError  MissingScopeError  UnknownHostError  RefusedPreflightError
│   ├── RateLimitedError  QueueShareError
│   ├── UnknownModelError  UnknownVersionError  WrongTaskError  NoDefaultModelError
│   └── AdminOffError  RefusedModelError  VersionExistsError  ModelInUseError
├── UnavailableError              the client may try again
│   ├── OverloadedError  ShuttingDownError  NotReadyError  StuckError  StorageUnavailableError
│   └── ModelsMemoryError  DeadlineError
├── ClientLeftError               the client closed its connection before the answer
├── ReplicaDiedError              on a cluster: each replica that had the request died
└── InferenceError                a fault of the service: the network failed on this image
"""

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal
from weakref import WeakMethod

from service.bounded_thread import NO_THREAD

StorageFailure = Literal[
    "unreachable",
    "denied",
    "slow",
    "gone",
    "changed",
    "digest",
    "invalid",
    "cache_full",
    "disk_full",
    "disk",
]
"""Why models do not come from their place, for the metrics."""


class FovealError(Exception):
    """An error of the service; the log has the request id."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    retry_after_seconds: int | None = None


class ConfigurationError(FovealError):
    code = "configuration_error"
    title = "Wrong configuration"


class DeviceError(ConfigurationError):
    code = "device_unavailable"
    title = "Device unavailable"


class LabelsError(ConfigurationError):
    code = "bad_labels"
    title = "Labels not usable"


class ServableError(ConfigurationError):
    code = "not_servable"
    title = "File not servable"


class StorageError(ConfigurationError):
    code = "storage_error"
    title = "Model storage not readable"

    def __init__(self, message: str, reason: StorageFailure = "unreachable") -> None:
        super().__init__(message)
        self.reason = reason


class RequestError(FovealError):
    """Anything else that is wrong with a request."""

    status = 400
    code = "bad_request"
    title = "Bad request"


class ImageError(RequestError):
    """Anything else that is wrong with an image: it needs more memory or time than an isolated decoder may use."""

    status = 422
    code = "bad_image"
    title = "Unreadable image"


class EmptyImageError(ImageError):
    """An image among several has no bytes."""

    status = 400
    code = "empty_image"
    title = "Empty image"


class UnsupportedImageError(ImageError):
    """The bytes are not an image of a supported format, or of one that is not in `FOVEAL_IMAGE_FORMATS`."""

    status = 415
    code = "unsupported_image"
    title = "Unknown image format"


class BrokenImageError(ImageError):
    """The image is damaged or cut short, or made its isolated decoder crash."""

    code = "broken_image"
    title = "Damaged image"


class TooManyPixelsError(ImageError):
    """The image has more than `FOVEAL_MAX_PIXELS` by its header, or a side of more than 1,000,000; no pixel is decoded.

    Or it has more than the memory of the service has room for, where that is less and `FOVEAL_MAX_PIXELS` is not set.
    Or all images of the request have more than `FOVEAL_MAX_REQUEST_PIXELS` together, or a PNG that is drawn in colors
    would have more than 24,000,000.
    """

    status = 413
    code = "too_many_pixels"
    title = "Too many pixels"


class TooMuchMetadataError(ImageError):
    """The image has more metadata than `FOVEAL_MAX_METADATA_BYTES`.

    These are EXIF, XMP, color profile, comments and tags, as far as a reader would hold them.
    """

    status = 413
    code = "too_much_metadata"
    title = "Too much metadata"


class MalformedBase64Error(ImageError):
    """An image in the JSON is not valid base64."""

    status = 400
    code = "malformed_base64"
    title = "Malformed base64"


class RemoteImageError(ImageError):
    """An image that is named by URL may not be fetched, is not there, or did not come in time."""

    code = "remote_image"
    title = "Image not fetched"


class UnreadableSourceError(ImageError):
    """A file, a tar shard or a Parquet file of `foveal predict` is not there, may not be read, or is damaged.

    It stands in a row of the results; the service never sends it.
    """

    code = "unreadable_source"
    title = "Source not readable"


class VideoError(RequestError):
    """Anything else that is wrong with a video: it needs more memory or time than an isolated decoder may use."""

    status = 422
    code = "bad_video"
    title = "Unreadable video"


class UnsupportedVideoError(VideoError):
    """The bytes are not a video of a supported format, or there is no decoder for its codec.

    Or one of them is not in `FOVEAL_VIDEO_FORMATS` or `FOVEAL_VIDEO_CODECS`.
    """

    status = 415
    code = "unsupported_video"
    title = "Unknown video format"


class BrokenVideoError(VideoError):
    """No frame of the video can be read, or it made its isolated decoder crash.

    A video that is cut short is answered up to its cut.
    """

    code = "broken_video"
    title = "Damaged video"


class NoVideoStreamError(VideoError):
    """The file has no video stream."""

    code = "no_video_stream"
    title = "No video stream"


class NoFramesError(VideoError):
    """The video stream has no frames."""

    code = "no_frames"
    title = "Video without frames"


class VideoTooLongError(VideoError):
    """The video is longer than `FOVEAL_MAX_VIDEO_SECONDS` by its header."""

    status = 413
    code = "video_too_long"
    title = "Video too long"


class TooManyFramesError(VideoError):
    """More frames than `FOVEAL_MAX_VIDEO_FRAMES` would be sampled, or are stored than `FOVEAL_MAX_ANIMATION_FRAMES`."""

    status = 413
    code = "too_many_frames"
    title = "Too many frames"


class EmptyBodyError(RequestError):
    """The request has no body."""

    code = "empty_body"
    title = "Empty body"


class BodyTooLargeError(RequestError):
    """The body is larger than `FOVEAL_MAX_BODY_BYTES`; it is refused as soon as that is known.

    Or it, or an image that it names by URL, is larger than the memory of the service has room for, with the copies that
    reading it makes.
    """

    status = 413
    code = "body_too_large"
    title = "Body too large"


class TooManyImagesError(RequestError):
    """The request holds more than `FOVEAL_MAX_IMAGES` images."""

    status = 413
    code = "too_many_images"
    title = "Too many images"


class MalformedMultipartError(RequestError):
    """The form can not be parsed, is cut short or holds no file."""

    code = "malformed_multipart"
    title = "Malformed form"


class MalformedJsonError(RequestError):
    """Not `{"images": ["<base64>", …]}`, a key twice in one object, or deeper than `FOVEAL_MAX_JSON_DEPTH`."""

    code = "malformed_json"
    title = "Malformed JSON"


class UnsupportedEncodingError(RequestError):
    """The body's `Content-Encoding` is neither gzip nor deflate."""

    status = 415
    code = "unsupported_encoding"
    title = "Unknown content encoding"


class MalformedEncodingError(RequestError):
    """The compressed body is damaged or cut short."""

    code = "malformed_encoding"
    title = "Malformed content encoding"


class InvalidParameterError(RequestError):
    """A parameter is not valid; the detail names it and its range."""

    status = 422
    code = "invalid_parameter"
    title = "Invalid parameter"


class MalformedHttpError(RequestError):
    """The bytes are not an HTTP/1.1 request, or name no host or several; the connection is closed."""

    code = "malformed_http"
    title = "Malformed HTTP"


class UnsupportedTransferCodingError(RequestError):
    """The body's `Transfer-Encoding` is another one than `chunked`; the connection is closed."""

    status = 501
    code = "unsupported_transfer_coding"
    title = "Unknown transfer coding"


class HeadTooLargeError(RequestError):
    """The head, or what frames a chunked body, has more than `FOVEAL_MAX_HEAD_BYTES`."""

    status = 431
    code = "head_too_large"
    title = "Request head too large"


class HeadTimeoutError(RequestError):
    """The request line and headers did not end within `FOVEAL_HEAD_TIMEOUT_MS` of their first byte."""

    status = 408
    code = "head_timeout"
    title = "Request head too slow"


class NotFoundError(RequestError):
    """There is nothing at this path."""

    status = 404
    code = "not_found"
    title = "Unknown path"


class MethodNotAllowedError(RequestError):
    """The path does not allow this method."""

    status = 405
    code = "method_not_allowed"
    title = "Method not allowed"


class UnauthorizedError(RequestError):
    """The service has keys, and the request has none, one that is not valid, or two different ones."""

    status = 401
    code = "unauthorized"
    title = "API key needed"


class MissingScopeError(RequestError):
    """The key does not have the scope that the request needs."""

    status = 403
    code = "missing_scope"
    title = "Scope missing"


class UnknownHostError(RequestError):
    """The request names a host that is not in `FOVEAL_ALLOWED_HOSTS`."""

    status = 421
    code = "unknown_host"
    title = "Unknown host"


class RefusedPreflightError(RequestError):
    """A browser asks for a page whether it may send a request, and it may not: see `FOVEAL_CORS_ORIGINS`."""

    code = "cors_refused"
    title = "Page not allowed"


class RateLimitedError(RequestError):
    """More requests than `FOVEAL_RATE_LIMIT_PER_KEY` or `FOVEAL_RATE_LIMIT_PER_ADDRESS` allows.

    `Retry-After` says when to try again.
    """

    status = 429
    code = "rate_limited"
    title = "Too many requests"


class QueueShareError(RequestError):
    """The client has its share of the queue by `FOVEAL_QUEUE_SHARE`; wait for an answer."""

    status = 429
    code = "queue_share"
    title = "Queue share in use"
    retry_after_seconds = 1


class UnknownModelError(RequestError):
    """There is no model of this name; the detail lists those that exist."""

    status = 404
    code = "unknown_model"
    title = "Unknown model"


class UnknownVersionError(RequestError):
    """The model has no such version; the detail lists those that exist."""

    status = 404
    code = "unknown_version"
    title = "Unknown version"


class WrongTaskError(RequestError):
    """The model does another task."""

    status = 422
    code = "wrong_task"
    title = "Wrong task"


class NoDefaultModelError(RequestError):
    """The request names no model, several do the task, and none is its default; the detail lists them."""

    status = 422
    code = "no_default_model"
    title = "No default model"


class AdminOffError(RequestError):
    """The call changes the models, and `FOVEAL_ADMIN` is not set."""

    status = 403
    code = "admin_off"
    title = "Admin calls off"


class RefusedModelError(RequestError):
    """The file of the model, or `foveal.toml`, is not valid; what was served goes on."""

    status = 422
    code = "refused_model"
    title = "Model refused"


class VersionExistsError(RequestError):
    """The folder has this version already; the file of a version is never replaced by a call."""

    status = 409
    code = "version_exists"
    title = "Version exists"


class ModelInUseError(RequestError):
    """An alias, a share, a default or another model needs the version that the call takes away, or a chain its name."""

    status = 409
    code = "model_in_use"
    title = "Model in use"


class UnavailableError(FovealError):
    """Any other temporary error."""

    status = 503
    code = "unavailable"
    title = "Temporarily unavailable"
    retry_after_seconds: int | None = 1


class OverloadedError(UnavailableError):
    """The queue is full, or another limit on what the service holds is reached. `Retry-After` says when to retry.

    `FOVEAL_QUEUE_SIZE` large bodies wait to be received, `FOVEAL_MAX_FAN_OUTS` videos, explanations and chains run,
    unfinished bodies hold `FOVEAL_MAX_UNFINISHED_BYTES`, no memory for a video or for images by URL was free in time,
    `FOVEAL_MAX_UPLOADS` models arrive, or `FOVEAL_MAX_CONNECTIONS` are open.
    """

    code = "overloaded"
    title = "Overloaded"
    # Where it is set, it says how many more images the queue that was full would take now.
    room: "WeakMethod[Callable[[], int]] | None" = None


class ShuttingDownError(UnavailableError):
    """The process received the signal to end."""

    code = "shutting_down"
    title = "Shutting down"


class NotReadyError(UnavailableError):
    """The model is loading, failed to load, or is not run for some time because runs of it did not end."""

    code = "model_not_ready"
    title = "Model not ready"


class StuckError(UnavailableError):
    """The network did not end its run, and the run was given up.

    There is no `Retry-After`, because the same image is likely to do it again.
    """

    code = "run_stuck"
    title = "Run stuck"
    retry_after_seconds = None


class StorageUnavailableError(UnavailableError):
    """The place that the models come from could not be read, so that nothing was changed; what was served goes on."""

    code = "storage_unavailable"
    title = "Model storage unavailable"
    retry_after_seconds = 30


class ModelsMemoryError(UnavailableError):
    """The model is not in memory, and others leave no room for it before the deadline.

    They were loaded shortly before (`FOVEAL_MODELS_STAY_SECONDS`), and do not fit beside it into
    `FOVEAL_MODELS_MEMORY_BYTES`. `Retry-After` says when it has room.
    """

    code = "models_memory"
    title = "No room for the model"

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeadlineError(UnavailableError):
    """The deadline passed before the body or the answer was complete.

    Work that had not run was dropped.
    """

    status = 504
    code = "deadline_exceeded"
    title = "Deadline exceeded"
    retry_after_seconds = None


class ClientLeftError(FovealError):
    """The client closed its connection. This is counted and never sent; the status is the one that nginx uses."""

    status = 499
    code = "client_left"
    title = "Client left"


class ReplicaDiedError(FovealError):
    """On a Ray cluster, the replica that had the request died, and so did those that it was sent to again.

    There is no `Retry-After`: the request may be what ends them.
    """

    code = "replica_died"
    title = "Given up"


class InferenceError(FovealError):
    """The network failed on this image, or gave what is not a finite number or no class of its card."""

    code = "inference_failed"
    title = "Inference failed"


def error_types() -> tuple[type[FovealError], ...]:
    """Return every class of the tree, root first."""
    found: list[type[FovealError]] = [FovealError]
    for kind in found:
        found.extend(kind.__subclasses__())
    return tuple(found)


BY_CODE = {kind.code: kind for kind in error_types()}
"""The classes, for an error that comes from another process."""


_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def shortage_of(error: BaseException) -> UnavailableError | None:
    """Return the error for a client where the system had no memory, no thread or no file descriptor for its request.

    None for any other: it is none of these.
    """
    is_short = (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno in _SHORTAGES)
        or (isinstance(error, RuntimeError) and str(error) == NO_THREAD)
    )
    if not is_short:
        return None
    return UnavailableError(
        "There is not enough memory for this request now, or the system gives the service no further thread or file. "
        "Try again in a moment."
    )


@contextmanager
def told_shortages() -> Iterator[None]:
    """Raise what the system has too little of within the block as the error for a client; see `shortage_of`.

    Raises:
        UnavailableError
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        shortage = shortage_of(error)
        if shortage is None:
            raise
        raise shortage from error


def forget_frames(error: BaseException) -> None:
    """Let go of the frames that an error and those behind it have passed.

    A frame that refers to an error that has passed it, in a local variable, a task or a list, is a cycle: Python's
    garbage collector, which runs rarely, would free it and the body, image or video that it holds.
    """
    waiting, seen = [error], {id(error)}
    while waiting:
        one = waiting.pop()
        one.__traceback__ = None
        for behind in (one.__cause__, one.__context__):
            if behind is not None and id(behind) not in seen:
                seen.add(id(behind))
                waiting.append(behind)


_RUNTIME = "[ONNXRuntimeError]"
_PLACES = re.compile(r"\b(?:s3|gs|hf|https?)://[^\s'\"()]*[^\s'\"().,:;]")
_FOLDERS = re.compile(r"(?<![\w.>])/(?:[^\s/:'\"]+/)+")
_SOURCE_LINE = re.compile(r"\s*\S+\.(?:cc|cpp|cu|h|py):\d+\S*")


def for_clients(message: str, path: Path | None = None) -> str:
    """Return a message about a file or from a library without folders, places of models and a library's source lines.

    The log has the whole message.

    Args:
        message: what an exception says.
        path: the file that it may name; its last three parts stay: `<name>/<version>/model.onnx`.
    """
    reason, found, _ = message.partition(_RUNTIME)
    if found:
        message = f"{reason.rstrip(' :')}: ONNX Runtime refuses it, and the log has its reason"
    if path is not None:
        message = message.replace(str(path), "/".join(path.parts[-3:]))
    message = _PLACES.sub("the model storage", message)
    return _SOURCE_LINE.sub("", _FOLDERS.sub("", message))
