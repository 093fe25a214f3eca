"""What the first bytes are where they are not what a route takes: it makes the message of the refusal."""

HEAD_BYTES = 64
"""So many first bytes are looked at."""

URLENCODED = "application/x-www-form-urlencoded"

IMAGE_BRANDS = {
    *(b"avif", b"avis", b"mif1", b"mif2", b"msf1", b"miaf"),
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
}
"""The brands of images in the container of MP4 (ISO/IEC 23000-22, 23008-12)."""
SOUND_BRANDS = {b"M4A ", b"M4B ", b"M4P "}
"""The brands of sound in it. Such a file may have a cover, which is an image of its own."""
BRAND_END = 12
"""Where the brand of an MP4 ends."""
MOVIE_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}
"""How an MP4 or MOV file may begin, after a length of four bytes."""

VIDEOS = {b"\x1aE\xdf\xa3": "WebM or Matroska", b"FLV\x01": "FLV", b"\0\0\x01\xba": "MPEG"}
IMAGES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
OTHERS = {
    b"PK\x03\x04": "a ZIP archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\0": "compressed with xz",
    b"(\xb5/\xfd": "compressed with zstd",
    b"%PDF": "a PDF document",
}
TEXTS = {b"<": "HTML, XML or SVG text", b"{": "JSON text", b"[": "JSON text"}
BLANKS = b"\xef\xbb\xbf \t\r\n"
"""A byte-order mark, and what may stand before text."""

BASE64 = "base64 text"
BASE64_STARTS = (b"data:", b"/9j/", b"iVBORw0KGgo", b"R0lGOD", b"UklGR", b"AAAA")
"""How images and videos begin as base64: a `data:` URL, JPEG, PNG, GIF, RIFF, and the zeros of MP4 and AVIF."""
FORM = "a multipart form"

STRANGE = frozenset(
    b'\x00\x1a\x1f<{["-d/iUAFPB7%(\xfd\xef\xfeR \t\r\n',
)
"""The first bytes of what is described here. No JPEG, PNG, GIF or TIFF begins with one of them."""


def not_an_image(body: bytes) -> str | None:
    """Return why the bytes are refused as an image and what to send instead; None where they may be one."""
    if body[0] not in STRANGE:
        return None
    head = body[:HEAD_BYTES]
    if head[4:8] == b"ftyp" and len(head) < BRAND_END:
        return None  # whoever reads it says that it is cut short
    if _sound(head):
        return "The bytes are sound (M4A). Send an image."
    video = _video(head)
    if video:
        return f"The bytes are a video ({video}). Send it to /v1/video, or send an image."
    return _neither(head, "image")


def not_a_video(head: bytes) -> str | None:
    """Return why bytes that begin so can not be read as a video; None where nothing is known of them."""
    image = _image(head)
    if image:
        return f"The bytes are an image ({image}), not a video. Send it to the path of a task, such as /v1/classify."
    return _neither(head, "video")


def stripped_by_curl(body: bytes, content_type: str) -> str | None:
    """Return the message for a file that `curl -d @file` sent, which removes line ends and zeros; else None.

    The content type alone says too little: `curl --data-binary` sends the same one. But no image or video is without a
    zero byte.
    """
    if b"\0" in body:
        return None
    return (
        f"The body has the content type {content_type[:80]} and holds no file as it was: curl -d removes line ends and "
        "zero bytes. Send it with curl --data-binary @FILE, or -F file=@FILE."
    )


def begins_as_stripped_box(body: bytes) -> bool:
    """Return whether an AVIF or MP4 begins without the zeros of its first length, whose last byte may be a blank."""
    return body[:HEAD_BYTES].lstrip(BLANKS).startswith(b"ftyp")


def _video(head: bytes) -> str | None:
    if head[4:8] in MOVIE_BOXES:
        return None if _has_image_brand(head) else "MP4 or MOV"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "AVI"
    return _named(head, VIDEOS)


def _has_image_brand(head: bytes) -> bool:
    """Return whether the first box names an image, as its own brand or as one that it is compatible with."""
    end = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:BRAND_END], *(head[at : at + 4] for at in range(16, end, 4))}
    return head[4:8] == b"ftyp" and bool(brands & IMAGE_BRANDS)


def _sound(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:BRAND_END] in SOUND_BRANDS


def _image(head: bytes) -> str | None:
    if _has_image_brand(head):
        return "AVIF or HEIC"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    return _named(head, IMAGES)


def _neither(head: bytes, wanted: str) -> str | None:
    """Return what the bytes are where they are neither an image nor a video."""
    if head.startswith(b"\x1f\x8b"):
        return (
            f"The bytes are compressed with gzip, and no header says so. Send the {wanted} itself, or add "
            "Content-Encoding: gzip."
        )
    what = _named(head, OTHERS) or _text(head.lstrip(BLANKS))
    return None if what is None else f"The bytes are {what}. Send the {wanted} itself{_or(what)}."


def _text(head: bytes) -> str | None:
    if head.startswith(b"--") and b"\n" in head:
        return FORM
    return BASE64 if head.startswith(BASE64_STARTS) else _named(head, TEXTS)


def _or(what: str) -> str:
    if what == FORM:
        return ", or with the content type multipart/form-data and the form's boundary"
    if what == BASE64:
        return ', or to an image route JSON: {"images": ["<base64>", …]}'
    return ""


def _named(head: bytes, signatures: dict[bytes, str]) -> str | None:
    return next((name for start, name in signatures.items() if head.startswith(start)), None)
