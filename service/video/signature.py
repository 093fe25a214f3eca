"""A file's first bytes → what the file is, for messages about files that are no video or no readable one."""

READ_BYTES = 192
"""So many first bytes decide; an MPEG transport stream repeats its mark after 188."""

TOO_SHORT_BYTES = 12
"""A file that is shorter holds less than any container's first header."""

EBML_START, RIFF_START = b"\x1aE\xdf\xa3", b"RIFF"
"""How Matroska and WebM begin; and how AVI does."""

_VIDEO_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"moof", b"styp"})
_STILL_BRANDS = {
    b"avif": "an AVIF image",
    b"heic": "a HEIC image",
    b"heix": "a HEIC image",
    b"heim": "a HEIC image",
    b"heis": "a HEIC image",
    b"mif1": "a HEIF image",
}
"""Major brands of ISO/IEC 23008-12 that mean a still image; `avis`, `hevc` and `msf1` mean a sequence."""
_IMAGES = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"BM", "a BMP image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
)
_OTHERS = (
    (b"ID3", "an MP3 sound file"),
    (b"\xff\xfb", "an MP3 sound file"),
    (b"fLaC", "a FLAC sound file"),
    (b"OggS", "an Ogg file"),
    (b"\xff\xf1", "an AAC sound file"),
    (b"FLV\x01", "an FLV video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (b"\0\0\x01\xba", "an MPEG program stream"),
    (b"\0\0\x01\xb3", "an MPEG video without a container"),
    (b"\0\0\0\x01", "a video without a container"),
    (b"#EXTM3U", "a playlist"),
    (b"\x1f\x8b", "gzip data"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"%PDF", "a PDF document"),
)
_RIFF = {b"WEBP": "a WebP image", b"WAVE": "a WAV sound file"}


def is_mp4(head: bytes) -> bool:
    """Return whether a file with these first bytes is an MP4 or MOV, damaged or not."""
    return head[4:8] in _VIDEO_BOXES


def is_video(head: bytes) -> bool:
    """Return whether a file with these first bytes is one of the containers that are read, damaged or not."""
    return (
        is_mp4(head)
        or head.startswith((EBML_START, b"GIF87a", b"GIF89a"))
        or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
    )


def image_kind(head: bytes) -> str | None:
    """Return which image the file is, with its article; None for any other file. A GIF counts as a video."""
    if head[4:8] == b"ftyp":
        return _STILL_BRANDS.get(head[8:12])
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP image"
    return next((name for mark, name in _IMAGES if head.startswith(mark)), None)


def is_gif(head: bytes) -> bool:
    """Return whether a file with these first bytes is a GIF."""
    return head.startswith((b"GIF87a", b"GIF89a"))


def is_png(head: bytes) -> bool:
    """Return whether a file with these first bytes is a PNG, still or animated."""
    return head.startswith(b"\x89PNG\r\n\x1a\n")


def is_animated_webp(head: bytes) -> bool:
    """Return whether a file with these first bytes is a WebP with the flag of an animation (RFC 9649, section 2.7)."""
    return (
        head[:4] == b"RIFF"
        and head[8:16] == b"WEBPVP8X"
        and bool(head[20:21])
        and bool(head[20] & 2)
    )


def other_kind(head: bytes) -> str | None:
    """Return which known file that is neither image nor readable video the file is, with its article."""
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head[:1] == b"G" and head[188:189] == b"G":
        return "an MPEG transport stream"
    return next((name for mark, name in _OTHERS if head.startswith(mark)), None)
