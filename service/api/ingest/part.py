"""One part of a multipart form: what its headers say of it, and its content, decoded."""

import binascii
import re

from python_multipart.multipart import parse_options_header

from service.api.ingest.framing import Headers
from service.errors import MalformedMultipartError

FILE_TYPES = ("image/", "video/", "audio/", "application/")
"""Without a filename, a part of these types is a file. Clients give the text of a plain field a type, too."""
TEXT_TYPES = {"application/json", "application/x-www-form-urlencoded", "application/xml"}

MOST_PARAMETERS = 100
"""Semicolons in a header of a part: the readers of parameters take time by the square of their number."""

_READ = (b"content-disposition", b"content-type", b"content-transfer-encoding")
"""The headers of a part that are read, in lower case."""
IDENTITIES = {b"", b"binary", b"8bit", b"7bit"}
SPACES = b" \t\r\n"
BASE64_PIECE = 2**18
"""So many characters of base64 are decoded in one step, because other threads wait for each step."""

_PARAMETER = re.compile(rb';\s*+([^=;\s]*+)\s*+=\s*+("(?:[^"\\]|\\.)*+"|[^;]*+)', re.DOTALL)
_EXTENDED_FILENAME = re.compile(rb"filename\*([0-9]+\*?)?", re.IGNORECASE)


def parameters_of(header: bytes | str) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the value of a header in lower case, and its parameters.

    Raises:
        MalformedMultipartError: there are more than `MOST_PARAMETERS`.
    """
    text = header if isinstance(header, str) else header.decode("latin-1")
    found = text.count(";")
    if found > MOST_PARAMETERS:
        raise MalformedMultipartError(
            f"The form can not be parsed: one of its headers has {found} semicolons; at most {MOST_PARAMETERS} are "
            "allowed. Send a shorter filename."
        )
    return parse_options_header(text)


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a form's content type names; empty where it names none.

    Raises:
        MalformedMultipartError: it names several, or has too many parameters.
    """
    boundary = parameters_of(content_type)[1].get(b"boundary", b"")
    if _times(b"boundary", content_type.encode("latin-1")) > 1:
        raise MalformedMultipartError(
            "The content type names several boundaries. Let your HTTP client build the form."
        )
    return boundary


def _times(name: bytes, header: bytes) -> int:
    """Return how often a header has a parameter; its readers take one of several in silence."""
    return [one.lower() for one, _ in _PARAMETER.findall(header)].count(name)


class PartHeaders:
    """The headers of a part that matter.

    Raises:
        MalformedMultipartError: one of them is there more than once.
    """

    def __init__(self, headers: Headers) -> None:
        found = dict(headers)
        if len(found) < len(headers):
            names = [name for name, _ in headers]
            for name in _READ:
                if names.count(name) > 1:
                    raise MalformedMultipartError(
                        f"The form can not be parsed: a part has the header {name.decode()} more than once."
                    )
        self.disposition = found.get(b"content-disposition", b"")
        self.content_type = found.get(b"content-type", b"")
        self.transfer_encoding = found.get(b"content-transfer-encoding", b"").lower()

    @property
    def field(self) -> str:
        """The name of the form's field.

        Raises:
            MalformedMultipartError: it has several, or the header has too many parameters.
        """
        if _times(b"name", self.disposition) > 1:
            raise MalformedMultipartError(
                "The form can not be parsed: a part has several names. Let your HTTP client build the form."
            )
        return parameters_of(self.disposition)[1].get(b"name", b"").decode(errors="replace")

    def filename(self) -> bytes | None:
        """Return the filename, or that of `filename*` (RFC 5987, RFC 2231) as it is sent; None where there is neither.

        The charset of `filename*` is not applied, and its pieces stay in the order in which they come: only whether
        there is a name matters.

        Raises:
            MalformedMultipartError: the header has too many parameters.
        """
        _, options = parameters_of(self.disposition)
        if b"filename" in options:
            return options[b"filename"]
        if b"filename*" not in self.disposition.lower():
            return None
        found = [
            value.strip(b' \t\r\n"').split(b"'", 2)[-1]
            for name, value in _PARAMETER.findall(self.disposition)
            if _EXTENDED_FILENAME.fullmatch(name)
        ]
        return b"".join(found) if found else None

    def has_file_type(self) -> bool:
        """Return whether the content type is one of files."""
        media_type = parameters_of(self.content_type)[0].decode("latin-1")
        return media_type.startswith(FILE_TYPES) and media_type not in TEXT_TYPES


class TransferDecoder:
    """Decodes the content of a part piece by piece.

    Args:
        encoding: the value of `Content-Transfer-Encoding` in lower case, empty where there is none.

    Raises:
        MalformedMultipartError: the encoding is not understood.
    """

    def __init__(self, encoding: bytes) -> None:
        if encoding != b"base64" and encoding not in IDENTITIES:
            shown = encoding[:40].decode("latin-1")
            raise MalformedMultipartError(
                f"The form can not be parsed: Content-Transfer-Encoding: {shown} is not understood. Send the file as "
                "binary or as base64."
            )
        self._is_base64 = encoding == b"base64"
        self._rest = b""
        self._padded = False

    def decode(self, piece: bytes) -> bytes:
        """Return what the next piece stands for.

        Raises:
            MalformedMultipartError: it is not valid base64.
        """
        if not self._is_base64:
            return piece
        starts = range(0, len(piece), BASE64_PIECE)
        return b"".join(self._decode(piece[start : start + BASE64_PIECE]) for start in starts)

    def _decode(self, piece: bytes) -> bytes:
        text = self._rest + piece.translate(None, SPACES)
        whole = len(text) // 4 * 4
        self._rest = text[whole:]
        if text and self._padded:
            raise _not_base64("Excess data after padding")
        decoded = _from_base64(text[:whole])
        self._padded = len(decoded) % 3 != 0
        return decoded

    def end(self) -> None:
        """Check that the content is complete.

        Raises:
            MalformedMultipartError: it is not.
        """
        _from_base64(self._rest)


def _from_base64(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise _not_base64(str(error)) from error


def _not_base64(reason: str) -> MalformedMultipartError:
    return MalformedMultipartError(
        f"A file of the form is not valid base64, as its Content-Transfer-Encoding says: {reason}."
    )
