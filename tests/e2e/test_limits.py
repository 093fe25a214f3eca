"""Each limit of what a client may send, over HTTP: what has just that much is answered, and one more is refused."""

import base64
import gzip
import json
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.clips import counting
from tests.images import encode, plain
from tests.live import Live, problem, serve
from tests.servables import write_servable

IMAGE = plain("red")
BODY_BYTES, PIXELS, TOGETHER, IMAGES, FIELDS, DEPTH, METADATA, FRAMES = (
    20_000, 400, 700, 3, 2, 3, 3_000, 5,
)  # fmt: skip


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    models = tmp_path_factory.mktemp("models")
    write_servable(models)
    with serve(
        models=models,
        max_body_bytes=BODY_BYTES,
        max_pixels=PIXELS,
        max_request_pixels=TOGETHER,
        max_images=IMAGES,
        max_form_fields=FIELDS,
        max_json_depth=DEPTH,
        max_metadata_bytes=METADATA,
    ) as live:
        yield live


def body_of(size: int) -> httpx.Request:
    return _post(IMAGE + bytes(size - len(IMAGE)))


def inflated(size: int) -> httpx.Request:
    sent = gzip.compress(IMAGE + bytes(size - len(IMAGE)))
    return _post(sent, headers={"Content-Encoding": "gzip"})


def pixels(count: int) -> httpx.Request:
    return _post(encode(Image.new("L", (count, 1)), "PNG"))


def pixels_together(count: int) -> httpx.Request:
    return _form([encode(Image.new("L", (size, 1)), "PNG") for size in (count - 350, 350)])


def pixels_of_large_frames(count: int) -> httpx.Request:
    """GIFs whose canvas has one pixel, and their first frame all others."""
    images = [bytearray(encode(Image.new("P", (size, 1)), "GIF")) for size in (count - 350, 350)]
    for image in images:
        image[6:10] = struct.pack("<HH", 1, 1)
    return _form([bytes(image) for image in images])


def images_in_a_form(count: int) -> httpx.Request:
    return _form([IMAGE] * count)


def images_in_json(count: int) -> httpx.Request:
    return _json({"images": [base64.b64encode(IMAGE).decode()] * count})


def fields(count: int) -> httpx.Request:
    return _form([IMAGE], data={f"field-{number}": "x" for number in range(count)})


def metadata(size: int) -> httpx.Request:
    body = encode(Image.new("RGB", (8, 8)), "JPEG")
    for name, length in ((b"\xff\xe1", (size - 18) // 2), (b"\xff\xfe", (size - 18 + 1) // 2)):
        body = body[:20] + name + struct.pack(">H", length - 2) + bytes(length - 4) + body[20:]
    return _post(body)


def _post(body: bytes, **options: object) -> httpx.Request:
    return httpx.Request("POST", "http://x/v1/classify", content=body, **options)  # type: ignore[arg-type]


def _json(value: object) -> httpx.Request:
    return _post(json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def _form(files: list[bytes], data: dict[str, str] | None = None) -> httpx.Request:
    parts = [("file", (str(number), one)) for number, one in enumerate(files)]
    return httpx.Request("POST", "http://x/v1/classify", files=parts, data=data)


LIMITS: dict[str, tuple[Callable[[int], httpx.Request], int, int, str]] = {
    "bytes": (body_of, BODY_BYTES, 413, "body_too_large"),
    "inflated bytes": (inflated, BODY_BYTES, 413, "body_too_large"),
    "pixels": (pixels, PIXELS, 413, "too_many_pixels"),
    "pixels together": (pixels_together, TOGETHER, 413, "too_many_pixels"),
    "pixels of large frames": (pixels_of_large_frames, TOGETHER, 413, "too_many_pixels"),
    "images in a form": (images_in_a_form, IMAGES, 413, "too_many_images"),
    "images in JSON": (images_in_json, IMAGES, 413, "too_many_images"),
    "fields of a form": (fields, FIELDS, 400, "malformed_multipart"),
    "metadata": (metadata, METADATA, 413, "too_much_metadata"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_has_just_the_limit_is_answered_and_one_more_is_refused(live: Live, name: str) -> None:
    make, limit, status, code = LIMITS[name]
    with httpx.Client() as http:

        def send(amount: int) -> httpx.Response:
            request = make(amount)
            request.url = httpx.URL(f"{live.url}/v1/classify")
            request.headers["Host"] = f"{live.address[0]}:{live.address[1]}"
            return http.send(request)

        allowed = send(limit)
        assert allowed.status_code == 200, allowed.text
        if name == "pixels":
            assert len(allowed.json()["results"]) == 1
        problem(send(limit + 1), status, code)


def test_json_has_so_many_levels_and_the_next_is_refused_before_it_is_parsed(live: Live) -> None:
    url = f"{live.url}/v1/classify"
    allowed = problem(httpx.post(url, json={"images": [["x"]]}), 400, "malformed_json")
    assert allowed.startswith("images.0: Input should be a valid string")
    above = problem(httpx.post(url, json={"images": [[["x"]]]}), 400, "malformed_json")
    assert above.startswith("The JSON is nested more than 3 levels deep.")


def test_a_video_has_so_many_frames_bytes_and_seconds(tmp_path: Path) -> None:
    write_servable(tmp_path)
    five, six = counting(FRAMES), counting(FRAMES + 1)
    for settings, code in (
        ({"max_video_frames": FRAMES}, "too_many_frames"),
        ({"max_video_bytes": len(five)}, "body_too_large"),
        ({"max_video_seconds": FRAMES / 10}, "video_too_long"),
    ):
        with serve(models=tmp_path, **settings) as live:
            url = f"{live.url}/v1/video?task=classify&every_n=1"
            allowed = httpx.post(url, content=five)
            assert allowed.status_code == 200, allowed.text
            assert len(allowed.json()["frames"]) == FRAMES
            problem(httpx.post(url, content=six), 413, code)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_an_animation_stores_so_many_frames_whatever_is_sampled(tmp_path: Path, form: str) -> None:
    write_servable(tmp_path)
    with serve(models=tmp_path, max_animation_frames=FRAMES) as live:
        url = f"{live.url}/v1/video?task=classify&max_frames=1"
        allowed = httpx.post(url, content=animated(form, FRAMES))
        assert allowed.status_code == 200, allowed.text
        assert len(allowed.json()["frames"]) == 1
        problem(httpx.post(url, content=animated(form, FRAMES + 1)), 413, "too_many_frames")


def animated(form: str, frames: int) -> bytes:
    first, *others = (Image.new("RGB", (8, 8), (40 * number, 0, 0)) for number in range(frames))
    body = BytesIO()
    first.save(body, form, save_all=True, append_images=others, duration=100)
    return body.getvalue()


def test_only_formats_and_codecs_that_are_allowed_are_read(tmp_path: Path) -> None:
    write_servable(tmp_path)
    gif = BytesIO()
    Image.new("P", (8, 8)).save(
        gif, "GIF", save_all=True, append_images=[Image.new("P", (8, 8), 1)], duration=100
    )
    with serve(
        models=tmp_path,
        image_formats=["png", "jpeg"],
        video_formats=["mp4", "webm"],
        video_codecs=["h264"],
    ) as live:
        image, video = f"{live.url}/v1/classify", f"{live.url}/v1/video?task=classify"
        for form in ("PNG", "JPEG"):
            assert httpx.post(image, content=plain("red", form=form)).status_code == 200
        for form in ("WEBP", "GIF", "BMP", "TIFF", "AVIF"):
            answer = httpx.post(image, content=plain("red", form=form))
            assert problem(answer, 415, "unsupported_image").endswith("Send JPEG or PNG.")
        both = [("file", plain("red")), ("file", plain("red", form="BMP"))]
        first, second = httpx.post(image, files=both).json()["results"]
        assert "predictions" in first
        assert second["error"]["code"] == "unsupported_image"
        assert httpx.post(video, content=counting(3)).status_code == 200
        for body, allowed in (
            (counting(3, "avi", "mpeg4"), "Send MP4, MOV, WebM or Matroska."),
            (gif.getvalue(), "Send MP4, MOV, WebM or Matroska."),
            (counting(3, "webm", "libvpx"), "Encode it as h264."),
        ):
            answer = httpx.post(video, content=body)
            assert problem(answer, 415, "unsupported_video").endswith(allowed)
