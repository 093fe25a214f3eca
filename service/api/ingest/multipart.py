"""A multipart form, read piece by piece: the contents of its files, whatever their fields are called."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MalformedMultipartError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


def is_form(content_type: str) -> bool:
    """Return whether a body of this content type is a multipart form."""
    return content_type.lower().startswith("multipart/")


class FormReader:
    """Reads a form while it arrives; fields that are not files are skipped.

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
        self._files = _FileEvents(on_data, on_file_end)
        try:
            self._parser = MultipartParser(boundary, self._files.callbacks())
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

    def end(self) -> None:
        """Check that the form is complete.

        Raises:
            MalformedMultipartError: its closing boundary is missing, or it holds no file.
        """
        if not self._files.ended:
            raise MalformedMultipartError("The form is cut short: its closing boundary is missing.")
        if not self.files:
            raise MalformedMultipartError(
                f"The form holds no file. Send one: curl -F file=@{self._example} …"
            )


def files_of(body: bytes, content_type: str, example: str) -> list[bytes]:
    """Return the contents of a whole form's files, in order.

    Raises:
        MalformedMultipartError: the form can not be parsed, is cut short or holds no file.
    """
    files = _Files()
    form = FormReader(content_type, on_data=files.add, on_file_end=files.end, example=example)
    form.write(body)
    form.end()
    return files.contents


class _Files:
    """Collects the files of a form. It does not refer to the form: in a cycle the files would outlive their request."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def end(self) -> None:
        self.contents.append(b"".join(self._pieces))
        self._pieces = []


class _FileEvents:
    """Turns the parser's events into those of the files. It does not refer to the parser, which refers to it."""

    def __init__(self, on_data: Callable[[bytes], None], on_file_end: Callable[[], None]) -> None:
        self.count = 0
        self.ended = False
        self._on_file_data = on_data
        self._on_file_end = on_file_end
        self._name = b""
        self._value = b""
        self._disposition = b""
        self._is_file = False

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
        self._disposition = b""

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._is_file = b"filename" in options
        self.count += self._is_file

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._on_file_data(data[start:end])

    def _on_part_end(self) -> None:
        if self._is_file:
            self._on_file_end()

    def _on_end(self) -> None:
        self.ended = True


def _unparsable(error: FormParserError) -> MalformedMultipartError:
    return MalformedMultipartError(f"The form can not be parsed: {error}")
