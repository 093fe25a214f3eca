"""What a file is, by its first bytes. Files are written by Pillow and FFmpeg, or stand in a format's specification."""

import struct
import subprocess
from io import BytesIO

import pytest
from PIL import Image

from service.video.signature import (
    READ_BYTES,
    image_kind,
    is_animated_webp,
    is_gif,
    is_mp4,
    is_png,
    is_video,
    other_kind,
)
from tests.clips import counting

ALL = (is_mp4, is_video, is_gif, is_png, is_animated_webp)


def head_of(body: bytes) -> bytes:
    return body[:READ_BYTES]


def saved(form: str, *, frames: int = 1) -> bytes:
    images = [Image.new("RGB", (64, 48), color) for color in ("red", "lime", "blue")]
    body = BytesIO()
    images[0].save(body, form, save_all=frames > 1, append_images=images[1:frames])
    return body.getvalue()


def answers(head: bytes) -> dict[str, object]:
    """Return what is said of a file, without what is not."""
    said: dict[str, object] = {function.__name__: function(head) for function in ALL}
    said |= {"image": image_kind(head), "other": other_kind(head)}
    return {name: answer for name, answer in said.items() if answer}


@pytest.mark.parametrize(
    ("form", "codec", "said"),
    [
        ("mp4", "libx264", {"is_mp4": True, "is_video": True}),
        ("mov", "libx264", {"is_mp4": True, "is_video": True}),
        ("webm", "libvpx", {"is_video": True}),
        ("matroska", "libx264", {"is_video": True}),
        ("avi", "mpeg4", {"is_video": True}),
        ("gif", "gif", {"is_video": True, "is_gif": True}),
    ],
)
def test_a_container_that_is_read_is_a_video_and_nothing_else(
    form: str, codec: str, said: dict[str, object]
) -> None:
    assert answers(head_of(counting(12, form, codec))) == said


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("JPEG", "a JPEG image"), ("BMP", "a BMP image"), ("TIFF", "a TIFF image"), ("AVIF", "an AVIF image"),
    ],
)  # fmt: skip
def test_an_image_is_an_image_and_nothing_else(form: str, kind: str) -> None:
    found = answers(head_of(saved(form)))
    assert found.pop("image") == kind
    # The boxes of an AVIF are those of an MP4.
    assert found == ({"is_mp4": True, "is_video": True} if form == "AVIF" else {})


@pytest.mark.parametrize("frames", [1, 3])
def test_a_png_may_be_animated(frames: int) -> None:
    assert answers(head_of(saved("PNG", frames=frames))) == {"image": "a PNG image", "is_png": True}


def test_a_webp_says_itself_whether_it_is_animated() -> None:
    still = {"image": "a WebP image", "other": "a WebP image"}
    assert answers(head_of(saved("WEBP"))) == still
    assert answers(head_of(saved("WEBP", frames=3))) == still | {"is_animated_webp": True}


def test_the_flag_of_an_animated_webp_is_the_second_bit() -> None:
    # RFC 9649, 2.7.1.1: two reserved bits, ICC profile, alpha, Exif, XMP, animation, reserved.
    head = b"RIFF\x28\0\0\0WEBPVP8X\x0a\0\0\0"
    found = [
        number for number in range(8) if is_animated_webp(head + bytes([1 << number]) + bytes(9))
    ]
    assert found == [1]
    assert is_animated_webp(head + b"\xff")
    assert not is_animated_webp(head), "the flags are not there"
    assert not is_animated_webp(b"RIFX" + head[4:] + b"\x02")
    assert not is_animated_webp(head.replace(b"VP8X", b"VP8L") + b"\x02")


@pytest.mark.parametrize("frames", [1, 3])
def test_the_sequence_of_an_avif_is_no_image(frames: int) -> None:
    assert image_kind(head_of(saved("AVIF", frames=frames))) == (
        "an AVIF image" if frames == 1 else None
    )


@pytest.mark.parametrize(
    "kind", [b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"moof", b"styp"]
)
def test_an_mp4_starts_with_any_of_its_boxes(kind: bytes) -> None:
    # ISO/IEC 14496-12 (`wide` is QuickTime's): 32 bits of size, then the type.
    head = struct.pack(">I4s", 16, kind) + bytes(8)
    assert answers(head) == {"is_mp4": True, "is_video": True}
    assert answers(head[:7]) == {}, "the type is cut"
    assert not is_video(b"\0" + head)


@pytest.mark.parametrize(
    ("brand", "kind"),
    [
        (b"avif", "an AVIF image"), (b"heic", "a HEIC image"), (b"heix", "a HEIC image"), (b"heim", "a HEIC image"),
        (b"heis", "a HEIC image"), (b"mif1", "a HEIF image"), (b"avis", None), (b"hevc", None), (b"msf1", None),
        (b"isom", None), (b"qt  ", None), (b"M4V ", None),
    ],
)  # fmt: skip
def test_the_major_brand_says_whether_it_is_an_image(brand: bytes, kind: str | None) -> None:
    assert image_kind(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic") == kind
    assert image_kind(b"\0\0\0\x18moov" + brand) is None


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"II*\0\x08\0\0\0", "a TIFF image"),
        (b"MM\0*\0\0\0\x08", "a TIFF image"),
        (b"BM\x36\0\0\0", "a BMP image"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a", "a JPEG XL image"),
        (b"\xff\xd8\xff\xe0", "a JPEG image"),
        (b"\xff\xd8", None),
        (b"\x89PNG\r\n\x1a", None),
        (b"RIFF\x24\0\0\0WAVE", None),
        (b"", None),
    ],
)  # fmt: skip
def test_an_image_is_known_by_its_whole_signature(head: bytes, kind: str | None) -> None:
    assert image_kind(head) == kind


@pytest.mark.parametrize("version", [b"GIF87a", b"GIF89a"])
def test_both_versions_of_gif_are_videos(version: bytes) -> None:
    assert answers(version) == {"is_gif": True, "is_video": True}
    assert answers(version[:5]) == {}
    assert answers(version[:4] + b"8a") == {}


@pytest.mark.parametrize("head", [b"RIFF\0\0\0\0AVI LIST", b"\x1aE\xdf\xa3\x01\0\0\0"])
def test_avi_and_matroska_are_known_by_their_whole_signature(head: bytes) -> None:
    assert answers(head) == {"is_video": True}
    assert answers(b"X" + head[1:]) == {}


def test_a_riff_file_is_what_its_form_says() -> None:
    assert other_kind(b"RIFF\x24\0\0\0WAVEfmt ") == "a WAV sound file"
    assert other_kind(b"RIFF\x24\0\0\0RMIDdata") is None
    assert not is_video(b"RIFF\x24\0\0\0AVIX")


def test_a_transport_stream_repeats_its_mark_after_188_bytes() -> None:
    # ISO/IEC 13818-1, 2.4.3.2: packets of 188 bytes, each begins with 0x47.
    stream = (b"\x47" + bytes(187)) * 2
    assert len(stream[:READ_BYTES]) >= 189, "what is read of a file decides it"
    assert other_kind(stream[:READ_BYTES]) == "an MPEG transport stream"
    assert other_kind(stream[:188]) is None
    assert other_kind(b"\x47" + bytes(191)) is None
    assert other_kind(b"\x48" + stream[1:]) is None


@pytest.mark.parametrize(
    ("form", "codec", "kind"),
    [
        ("mp3", "libmp3lame", "an MP3 sound file"),
        ("flac", "flac", "a FLAC sound file"),
        ("ogg", "flac", "an Ogg file"),
        ("adts", "aac", "an AAC sound file"),
        ("asf", "wmav2", "a Windows Media file"),
        ("wav", "pcm_s16le", "a WAV sound file"),
        ("mpegts", "aac", "an MPEG transport stream"),
    ],
)
def test_sound_of_ffmpeg_is_named(form: str, codec: str, kind: str) -> None:
    source = ["-f", "lavfi", "-i", "anullsrc=r=44100:cl=mono", "-t", "0.1"]
    command = ["ffmpeg", "-v", "error", *source, "-c:a", codec, "-f", form, "-"]
    body = subprocess.run(command, capture_output=True, check=True).stdout
    assert answers(head_of(body)) == {"other": kind}


@pytest.mark.parametrize(
    ("form", "codec", "kind"),
    [
        ("flv", "flv", "an FLV video"),
        ("vob", "mpeg2video", "an MPEG program stream"),
        ("mpeg2video", "mpeg2video", "an MPEG video without a container"),
        ("h264", "libx264", "a video without a container"),
    ],
)
def test_a_video_that_is_not_read_is_named(form: str, codec: str, kind: str) -> None:
    source = ["-f", "lavfi", "-i", "color=s=64x48:r=25:d=0.2"]
    command = ["ffmpeg", "-v", "error", *source, "-c:v", codec, "-f", form, "-"]
    body = subprocess.run(command, capture_output=True, check=True).stdout
    assert answers(head_of(body)) == {"other": kind}


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xfb\x90\x64", "an MP3 sound file"),
        (b"#EXTM3U\n#EXTINF:1,\n", "a playlist"),
        (b"\x1f\x8b\x08\0", "gzip data"),
        (b"PK\x03\x04\x14\0", "a ZIP archive"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"hello", None),
        (b"", None),
    ],
)
def test_another_file_is_named_by_its_signature(head: bytes, kind: str | None) -> None:
    assert answers(head) == ({} if kind is None else {"other": kind})
