"""A multipart form, read piece by piece: the contents of its files, whatever their fields are called."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.api.ingest.part import PartHeaders, TransferDecoder
from service.errors import MalformedMultipartError, TooManyImagesError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MOST_PARTS = 1000
"""Beyond the files that are allowed: a form of small parts only would keep a thread busy for seconds."""
MOST_HEADERS = 32
PREAMBLE_BYTES = 64 * 1024
"""Text before the first boundary is skipped (RFC 2046, 5.1.1); a body without one is refused after so much."""
SHOWN_FIELDS = 3
SHOWN_NAME = 40


def is_form(content_type: str) -> bool:
    """Return whether a body of this content type is a multipart form."""
    return content_type.lower().startswith("multipart/")


class FormReader:
    """Reads a form while it arrives; fields that are not files are skipped.

    A part is a file by its filename, or by the content type of a file. A file without a name and without a byte is the
    field of a web page in which nothing was chosen; it is skipped.

    Args:
        content_type: the header's value, which names the boundary.
        on_data: called with each piece of a file.
        on_file_end: called where a file ends.
        example: the file name in the hint of an error message.

    Raises:
        MalformedMultipartError: the content type names no boundary, or one that is too long.
    """

    def __init__(
        self,
        content_type: str,
        *,
        on_data: Callable[[bytes], None],
        on_file_end: Callable[[], None] = lambda: None,
        example: str,
    ) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise MalformedMultipartError(
                "The content type names no boundary. Let your HTTP client build the form."
            )
        self._example = example
        self._boundary = boundary
        self._files = _FileEvents(on_data, on_file_end)
        try:
            self._parser = MultipartParser(
                boundary, self._files.callbacks(), max_header_count=MOST_HEADERS
            )
            # The parser knows no preamble: it gets a first part without headers, and the preamble as its content.
            self._parser.write(b"--" + boundary + b"\r\n\r\n\r\n")
        except FormParserError as error:
            raise _unparsable(error) from error

    @property
    def files(self) -> int:
        """How many files have begun."""
        return self._files.count

    def write(self, chunk: bytes) -> None:
        """Read the next piece of the form.

        Raises:
            MalformedMultipartError: it can not be parsed.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _unparsable(error) from error
        if self._files.parts == 1 and self._files.skipped > PREAMBLE_BYTES:
            raise self._no_boundary()

    def end(self) -> None:
        """Check that the form is complete.

        Raises:
            MalformedMultipartError: its closing boundary is missing, or it holds no file.
        """
        if not self._files.ended:
            if self._files.parts == 1:
                raise self._no_boundary()
            raise MalformedMultipartError("The form is cut short: its closing boundary is missing.")
        if not self.files:
            raise MalformedMultipartError(
                f"{self._what_it_holds()} Send one: curl -F file=@{self._example} …"
            )

    def _no_boundary(self) -> MalformedMultipartError:
        shown = self._boundary[:SHOWN_NAME].decode("latin-1")
        return MalformedMultipartError(
            f"The form can not be parsed: no line of the body is the boundary --{shown} that its content type names. "
            "Let your HTTP client build both, and end lines with CR LF."
        )

    def _what_it_holds(self) -> str:
        events = self._files
        if events.parts == 1:
            return "The form is empty: it holds no part, and so no file."
        if events.unnamed_empty:
            return "The form holds no file: its file field is empty."
        names = ", ".join(repr(name[:SHOWN_NAME]) for name in events.fields)
        return (
            f"The form holds no file: its parts ({names}) have neither a filename nor the content type of a file. "
            'A file\'s part has Content-Disposition: form-data; name="file"; filename="…".'
        )


def files_of(body: bytes, content_type: str, example: str, most: int) -> list[bytes]:
    """Return the contents of a whole form's files, in order.

    Raises:
        MalformedMultipartError: the form can not be parsed, is cut short or holds no file.
        TooManyImagesError: it holds more than `most`.
    """
    files = _Files(most)
    form = FormReader(content_type, on_data=files.add, on_file_end=files.end, example=example)
    form.write(body)
    form.end()
    return files.contents


class _Files:
    """Collects the files of a form. It does not refer to the form: in a cycle the files would outlive their request."""

    def __init__(self, most: int) -> None:
        self.contents: list[bytes] = []
        self._pieces: list[bytes] = []
        self._most = most

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def end(self) -> None:
        if len(self.contents) == self._most:
            raise too_many_images(self._most)
        self.contents.append(b"".join(self._pieces))
        self._pieces = []


def too_many_images(most: int) -> TooManyImagesError:
    """Return the error for a request with more than so many images."""
    return TooManyImagesError(
        f"The request holds more than {most} images, the most that are allowed. Send them in several requests."
    )


class _FileEvents:
    """Turns the parser's events into those of the files. It does not refer to the parser, which refers to it."""

    def __init__(self, on_data: Callable[[bytes], None], on_file_end: Callable[[], None]) -> None:
        self.count = 0
        self.parts = 0
        self.skipped = 0
        self.fields: list[str] = []
        self.unnamed_empty = False
        self.ended = False
        self._on_file_data = on_data
        self._on_file_end = on_file_end
        self._name = b""
        self._value = b""
        self._headers = PartHeaders()
        self._decoder: TransferDecoder | None = None
        self._begun = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_name,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._headers = PartHeaders()
        self.parts += 1
        if self.parts - self.count > MOST_PARTS:
            raise MalformedMultipartError(
                f"The form has more than {MOST_PARTS} parts that are no files. Send the files alone."
            )

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers.set(self._name, self._value)
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        """A file begins here, or with its first byte where it has no name."""
        headers = self._headers
        filename = headers.filename()
        self._decoder, self._begun = None, False
        if filename is not None or headers.has_file_type():
            self._decoder = TransferDecoder(headers.transfer_encoding)
            if filename:
                self._begin_file()
        elif self.parts > 1 and len(self.fields) < SHOWN_FIELDS:
            self.fields.append(headers.field)

    def _begin_file(self) -> None:
        self._begun = True
        self.count += 1

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._decoder is None:
            self.skipped += end - start
            return
        if not self._begun:
            self._begin_file()
        self._on_file_data(self._decoder.decode(data[start:end]))

    def _on_part_end(self) -> None:
        if self._decoder is None:
            return
        if self._begun:
            self._decoder.end()
            self._on_file_end()
        else:
            self.unnamed_empty = True

    def _on_end(self) -> None:
        self.ended = True


def _unparsable(error: FormParserError) -> MalformedMultipartError:
    return MalformedMultipartError(f"The form can not be parsed: {error}")
