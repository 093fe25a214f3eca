"""Everything that can go wrong, as one tree; each leaf has an HTTP status, a stable code and a message safe to show.

FovealError
├── ConfigurationError            the service can not start with this configuration
│   ├── DeviceError               the device that the settings name does not work
│   └── ServableError             a file in the model repository can not be served
├── RequestError                  the client can correct it
│   ├── ImageError                one image among several may fail alone
│   │   ├── EmptyImageError  UnsupportedImageError  BrokenImageError  TooManyPixelsError
│   │   └── TooMuchMetadataError  MalformedBase64Error
│   ├── VideoError                the video can not be read
│   │   ├── UnsupportedVideoError  BrokenVideoError  NoVideoStreamError  NoFramesError
│   │   └── VideoTooLongError  TooManyFramesError
│   ├── EmptyBodyError  BodyTooLargeError  TooManyImagesError
│   ├── MalformedMultipartError  MalformedJsonError  InvalidParameterError
│   ├── MalformedHttpError  HeadTooLargeError  HeadTimeoutError
│   ├── UnsupportedEncodingError  MalformedEncodingError
│   ├── NotFoundError  MethodNotAllowedError
│   ├── UnauthorizedError  MissingScopeError  UnknownHostError
│   ├── RateLimitedError  QueueShareError
│   ├── UnknownModelError  UnknownVersionError  WrongTaskError  NoDefaultModelError
│   └── AdminOffError  RefusedModelError  VersionExistsError  ModelInUseError
├── UnavailableError              the client may try again
│   ├── OverloadedError  ShuttingDownError  NotReadyError  StuckError
│   └── DeadlineError
├── ClientLeftError               the client closed its connection before the answer
└── InferenceError                a fault of the service: the network failed on this image
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar
from weakref import WeakMethod


class FovealError(Exception):
    """The root. `str(error)` is the detail that clients and operators read."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "The service failed"
    retry_after_seconds: ClassVar[int | None] = None


class ConfigurationError(FovealError):
    code = "configuration_error"
    title = "The service can not start with this configuration"


class DeviceError(ConfigurationError):
    code = "device_unavailable"
    title = "The device does not work here"


class ServableError(ConfigurationError):
    code = "not_servable"
    title = "The file can not be served"


class RequestError(FovealError):
    status = 400
    code = "bad_request"
    title = "The request can not be answered"


class ImageError(RequestError):
    status = 422
    code = "bad_image"
    title = "The image can not be read"


class EmptyImageError(ImageError):
    status = 400
    code = "empty_image"
    title = "The image has no bytes"


class UnsupportedImageError(ImageError):
    status = 415
    code = "unsupported_image"
    title = "The bytes are not a known image format"


class BrokenImageError(ImageError):
    code = "broken_image"
    title = "The image is damaged or cut short"


class TooManyPixelsError(ImageError):
    status = 413
    code = "too_many_pixels"
    title = "The image has too many pixels"


class TooMuchMetadataError(ImageError):
    status = 413
    code = "too_much_metadata"
    title = "The image has too much metadata"


class MalformedBase64Error(ImageError):
    status = 400
    code = "malformed_base64"
    title = "The image is not valid base64"


class VideoError(RequestError):
    status = 422
    code = "bad_video"
    title = "The video can not be read"


class UnsupportedVideoError(VideoError):
    status = 415
    code = "unsupported_video"
    title = "The bytes are not a known video format"


class BrokenVideoError(VideoError):
    code = "broken_video"
    title = "The video is damaged or cut short"


class NoVideoStreamError(VideoError):
    code = "no_video_stream"
    title = "The file holds no video"


class NoFramesError(VideoError):
    code = "no_frames"
    title = "The video has no frames"


class VideoTooLongError(VideoError):
    status = 413
    code = "video_too_long"
    title = "The video lasts too long"


class TooManyFramesError(VideoError):
    status = 413
    code = "too_many_frames"
    title = "The request is for too many frames"


class EmptyBodyError(RequestError):
    code = "empty_body"
    title = "The request has no body"


class BodyTooLargeError(RequestError):
    status = 413
    code = "body_too_large"
    title = "The request body is too large"


class TooManyImagesError(RequestError):
    status = 413
    code = "too_many_images"
    title = "The request holds too many images"


class MalformedMultipartError(RequestError):
    code = "malformed_multipart"
    title = "The multipart body can not be parsed"


class MalformedJsonError(RequestError):
    code = "malformed_json"
    title = "The JSON body can not be parsed"


class UnsupportedEncodingError(RequestError):
    status = 415
    code = "unsupported_encoding"
    title = "The body's content encoding is not understood"


class MalformedEncodingError(RequestError):
    code = "malformed_encoding"
    title = "The body is not compressed as its header says"


class InvalidParameterError(RequestError):
    status = 422
    code = "invalid_parameter"
    title = "A parameter is not valid"


class MalformedHttpError(RequestError):
    code = "malformed_http"
    title = "The bytes are not an HTTP/1.1 request"


class HeadTooLargeError(RequestError):
    status = 431
    code = "head_too_large"
    title = "The head of the request is too large"


class HeadTimeoutError(RequestError):
    status = 408
    code = "head_timeout"
    title = "The head of the request did not come in time"


class NotFoundError(RequestError):
    status = 404
    code = "not_found"
    title = "There is nothing at this path"


class MethodNotAllowedError(RequestError):
    status = 405
    code = "method_not_allowed"
    title = "The path does not take this method"


class UnauthorizedError(RequestError):
    status = 401
    code = "unauthorized"
    title = "A valid API key is needed"


class MissingScopeError(RequestError):
    status = 403
    code = "missing_scope"
    title = "The API key may not do this"


class UnknownHostError(RequestError):
    status = 421
    code = "unknown_host"
    title = "The service has another name"


class RateLimitedError(RequestError):
    """Its response says in `Retry-After` when the next request is allowed."""

    status = 429
    code = "rate_limited"
    title = "Too many requests"


class QueueShareError(RequestError):
    status = 429
    code = "queue_share"
    title = "The client has its share of the queue"
    retry_after_seconds = 1


class UnknownModelError(RequestError):
    status = 404
    code = "unknown_model"
    title = "There is no such model"


class UnknownVersionError(RequestError):
    status = 404
    code = "unknown_version"
    title = "The model has no such version"


class WrongTaskError(RequestError):
    status = 422
    code = "wrong_task"
    title = "The model does not do this task"


class NoDefaultModelError(RequestError):
    status = 422
    code = "no_default_model"
    title = "The request must name a model"


class AdminOffError(RequestError):
    status = 403
    code = "admin_off"
    title = "Calls that change the models are switched off"


class RefusedModelError(RequestError):
    status = 422
    code = "refused_model"
    title = "The model can not be served"


class VersionExistsError(RequestError):
    status = 409
    code = "version_exists"
    title = "The version exists"


class ModelInUseError(RequestError):
    status = 409
    code = "model_in_use"
    title = "Something else needs the model"


class UnavailableError(FovealError):
    status = 503
    code = "unavailable"
    title = "The service can not answer now"
    retry_after_seconds: ClassVar[int | None] = 1


class OverloadedError(UnavailableError):
    """Its `room`, where it is set, says how many more images the queue that was full would take now."""

    code = "overloaded"
    title = "The queue is full"
    room: "WeakMethod[Callable[[], int]] | None" = None


class ShuttingDownError(UnavailableError):
    code = "shutting_down"
    title = "The service is shutting down"


class NotReadyError(UnavailableError):
    code = "model_not_ready"
    title = "The model is not ready"


class StuckError(UnavailableError):
    """It has no `Retry-After`: what made a run stick once is likely to do it again."""

    code = "run_stuck"
    title = "The network did not end its run"
    retry_after_seconds = None


class DeadlineError(UnavailableError):
    status = 504
    code = "deadline_exceeded"
    title = "The deadline passed before the answer was ready"
    retry_after_seconds = None


class ClientLeftError(FovealError):
    """It is counted and never sent, because the connection is closed. The status 499 is the one that nginx uses."""

    status = 499
    code = "client_left"
    title = "The client closed its connection"


class InferenceError(FovealError):
    code = "inference_failed"
    title = "The network failed on this image"


def error_types() -> tuple[type[FovealError], ...]:
    """Return every class of the tree, root first."""
    found: list[type[FovealError]] = [FovealError]
    for kind in found:
        found.extend(kind.__subclasses__())
    return tuple(found)


_RUNTIME = "[ONNXRuntimeError]"
_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/:'\"]+/)+")
_SOURCE_LINE = re.compile(r"\s*\S+\.(?:cc|cpp|cu|h|py):\d+\S*")


def for_clients(message: str, path: Path | None = None) -> str:
    """Return a message about a file or from a library without this machine's folders and a library's source lines.

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
    return _SOURCE_LINE.sub("", _FOLDERS.sub("", message))
