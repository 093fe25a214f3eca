"""Bytes that no reader takes → the error that says what they are and what to send."""

import re
import struct
from collections.abc import Callable

from service.errors import BrokenImageError, ImageError, UnsupportedImageError

SEND = "Send JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF."
_SEND_WHOLE = "Send the whole file."
_HEAD_BYTES = 1024
_MOST_SEGMENTS = 20_000
"""Of a JPEG, among which its kind is looked for: as many as are read. So many take 7 milliseconds."""

TIFF_STARTS = (
    b"MM\x00\x2a",
    b"II\x2a\x00",
    b"MM\x2a\x00",
    b"II\x00\x2a",
    b"MM\x00\x2b",
    b"II\x2b\x00",
)
"""How a TIFF or BigTIFF starts; the third and fourth mix the byte orders, and are read as they begin."""

_VIDEO = "a video ({}). Send it to /v1/video, or one of its frames as JPEG or PNG."
_OTHER_FORMATS: tuple[tuple[bytes, int, str], ...] = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", 0, "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", 0, "a JPEG 2000 image"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", 0, "a JPEG XL image"),
    (b"\xff\x0a", 0, "a JPEG XL image"),
    (b"II\xbc", 0, "a JPEG XR image"),
    (b"8BPS", 0, "a Photoshop document"),
    (b"\0\0\1\0", 0, "an icon (ICO)"),
    (b"\0\0\2\0", 0, "a cursor (CUR)"),
    (b"\x76\x2f\x31\x01", 0, "an OpenEXR image"),
    (b"#?RADIANCE", 0, "a Radiance HDR image"),
    (b"qoif", 0, "a QOI image"),
    *(
        (b"P%d%c" % (kind, end), 0, "a Netpbm image (PBM, PGM or PPM)")
        for kind in range(1, 7)
        for end in b" \t\r\n#"
    ),
    (b"P7\n", 0, "a Netpbm image (PAM)"),
    (b"PF\n", 0, "a float map (PFM)"),
    (b"Pf\n", 0, "a float map (PFM)"),
    (b"\x93NUMPY", 0, "a NumPy array (NPY)"),
    (b"SIMPLE  =", 0, "a FITS image"),
    (b"DICM", 128, "a DICOM file"),
    (b"FUJIFILMCCD-RAW", 0, "a camera raw file"),
    (b"IIRO", 0, "a camera raw file"),
    (b"IIU\0", 0, "a camera raw file"),
    (b"%PDF-", 0, "a PDF document"),
    (b"%!PS", 0, "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", 0, "a PostScript document (EPS)"),
    (b"\x1f\x8b", 0, "compressed with gzip. Send the image itself, not compressed."),
    (b"PK\x03\x04", 0, "a ZIP archive. Send the images in it, one part of a form each."),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z archive"),
    (b"Rar!", 0, "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", 0, "compressed with Zstandard. Send the image itself, not compressed."),
    (b"\x1a\x45\xdf\xa3", 0, _VIDEO.format("WebM or Matroska")),
    (b"AVI ", 8, _VIDEO.format("AVI")),
    (b"\0\0\1\xba", 0, _VIDEO.format("MPEG")),
    (b"\0\0\1\xb3", 0, _VIDEO.format("MPEG")),
    (b"FLV\x01", 0, _VIDEO.format("FLV")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, _VIDEO.format("WMV")),
    (b"OggS", 0, "an Ogg file: sound or video. Send an image."),
    (b"ID3", 0, "sound (MP3). Send an image."),
    (b"WAVE", 8, "sound (WAV). Send an image."),
    (b"fLaC", 0, "sound (FLAC). Send an image."),
    (b"data:", 0, "a data: URL. Send the decoded bytes, or the URL as image in JSON."),
)
"""Signature, its place, and what the bytes are; a text with a period already says what to do."""

_HEIF_BRANDS = {
    b"mif2",
    b"heic",
    b"heix",
    b"heim",
    b"heis",
    b"hevc",
    b"hevx",
    b"hevm",
    b"hevs",
    b"mif1",
    b"msf1",
}
_AVIF_BRANDS = {b"avif", b"avis"}
_MOVIE_ATOMS = {b"moov", b"mdat", b"wide", b"free", b"skip"}

_SOF_NAMES = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xCB: "lossless",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical",
    0xF7: "JPEG-LS",
}


def why_unread(body: bytes) -> ImageError:
    """Return the error for bytes that no reader identified."""
    for signature, explain in _OWN_FORMATS.items():
        if body.startswith(signature):
            return explain(body)
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return _damaged("WebP", body)
    if body[4:8] == b"ftyp" or body[4:8] in _MOVIE_ATOMS:
        return _iso_media(body)
    for signature, place, name in _OTHER_FORMATS:
        if body.startswith(signature, place):
            return _other(name)
    if len(body) > 376 and body[0] == body[188] == body[376] == 0x47:  # packets of 188 bytes
        return _other(_VIDEO.format("MPEG transport stream"))
    return _text(body) or UnsupportedImageError(
        f"The bytes are no image that is understood. {SEND}"
    )


def _other(name: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"The bytes are {name}" if "." in name else f"The bytes are {name}. {SEND}"
    )


def _damaged(name: str, body: bytes) -> BrokenImageError:
    return BrokenImageError(
        f"The {name} can not be read: it ends too early, or is damaged, in its {len(body)} bytes. {_SEND_WHOLE}"
    )


def unsupported_jpeg(body: bytes) -> UnsupportedImageError | None:
    """Return the error for a JPEG of a kind that is not read, None for others."""
    found = _start_of_frame(body)
    if found is None:
        return None
    code, bits, components = found
    if code in _SOF_NAMES:
        what = f"is of the {_SOF_NAMES[code]} kind"
    elif bits != 8:  # the depth that is read
        what = f"has {bits} bits per sample, and 8 are read"
    elif components not in {1, 3, 4}:
        what = f"has {components} components, and 1, 3 or 4 are read"
    else:
        return None
    return UnsupportedImageError(
        f"The JPEG {what}. Send a baseline or progressive JPEG of 8 bits, or PNG."
    )


def _start_of_frame(body: bytes) -> tuple[int, int, int] | None:
    """Return the code of the frame's marker, its bits per sample and its components."""
    place = 2
    for _ in range(_MOST_SEGMENTS):
        place = body.find(b"\xff", place)
        if place < 0 or place + 10 > len(body):
            return None
        code, length, bits = struct.unpack_from(">BHB", body, place + 1)
        if code in {0x00, 0xFF}:
            place += 1
        elif (0xC0 <= code <= 0xCF and code not in {0xC4, 0xC8, 0xCC}) or code == 0xF7:
            return code, bits, body[place + 9]
        elif code == 0xDA:  # pixels
            return None
        else:
            place += 2 + length
    return None


def _iso_media(body: bytes) -> ImageError:
    if body[4:8] == b"ftyp" and len(body) < 12:  # the end of its brand
        return BrokenImageError(
            f"The file ends after {len(body)} bytes, before it says whether it is an AVIF or a video. {_SEND_WHOLE}"
        )
    length = int.from_bytes(body[:4])
    brands = {body[8:12], *(body[at : at + 4] for at in range(16, min(length, _HEAD_BYTES), 4))}
    if body[4:8] == b"ftyp" and brands & _AVIF_BRANDS:
        return _damaged("AVIF", body)
    if body[4:8] == b"ftyp" and (body[8:12] in _HEIF_BRANDS):
        return _other(
            "a HEIC image, as phones make. Send JPEG, PNG or AVIF; phones can share photos as JPEG."
        )
    if body[8:12] == b"crx ":
        return _other("a camera raw file (CR3)")
    if body[8:12] in {b"M4A ", b"M4B ", b"M4P "}:
        return _other("sound (M4A). Send an image.")
    return _other(_VIDEO.format("MP4 or MOV"))


def _text(body: bytes) -> UnsupportedImageError | None:
    head = body[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = head.lower()
    if b"<svg" in lower:
        return _other("an SVG drawing, which must be rendered first")
    if lower.startswith((b"<!doctype html", b"<html")):
        return _other(
            "an HTML page. Send the image itself, not the page or a login that leads to it."
        )
    if head[:1] in {b"{", b"["}:
        return _other(
            'JSON. Send it as Content-Type: application/json in the form {"images": ["<base64>"]}, or send the image.'
        )
    if re.match(rb"https?://", head):
        return _other("a URL. Send the image itself: the service does not fetch.")
    if head.startswith((b"/9j/", b"iVBORw0KGgo", b"R0lGOD", b"UklGR")):
        return _other("an image in base64. Send the decoded bytes, or the text in JSON.")
    return None


_OWN_FORMATS: dict[bytes, Callable[[bytes], ImageError]] = {
    b"\xff\xd8\xff": lambda body: unsupported_jpeg(body) or _damaged("JPEG", body),
    b"GIF8": lambda body: _damaged("GIF", body),
    b"BM": lambda body: _damaged("BMP", body),
    **dict.fromkeys(TIFF_STARTS, lambda body: _damaged("TIFF", body)),
}
