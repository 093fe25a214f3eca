"""A multipart form, read piece by piece: the contents of its files, whatever their fields are called."""

from collections.abc import Callable, Collection

from service.api.ingest.framing import Headers, PartReader
from service.api.ingest.part import PartHeaders, TransferDecoder, boundary_of
from service.errors import MalformedMultipartError, TooManyImagesError
from service.value import value

BOUNDARY_BYTES = 256
"""RFC 2046 allows 70."""
MOST_FIELDS = 1000
"""Parts without a filename. A form of small parts only would keep a thread busy for seconds."""
SLICE_BYTES = 4 * 2**20
"""So much of a whole form is read at once: one step over 32 MiB keeps other threads waiting for a tenth of a second."""
FIELD_BYTES = 1024
"""Of a field that is read."""
SHOWN_FIELDS = 3
SHOWN_NAME = 40


def is_form(content_type: str) -> bool:
    """Return whether a body of this content type is a multipart form."""
    return content_type.lower().startswith("multipart/")


class FormReader:
    """Reads a form while it arrives; fields that are not files are skipped, but for those that are wanted.

    A part is a file by its filename, or by the content type of a file. A file without a name and without a byte is the
    field of a web page in which nothing was chosen; it is skipped.

    Args:
        content_type: the header's value, which names the boundary.
        on_data: called with each piece of a file.
        on_file_end: called where a file ends.
        example: the file name in the hint of an error message.
        most_fields: how many parts without a filename are allowed.
        wanted: the names of the fields that `values` gets.

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
        most_fields: int = MOST_FIELDS,
        wanted: Collection[str] = (),
    ) -> None:
        boundary = boundary_of(content_type)
        if not boundary:
            raise MalformedMultipartError(
                "The content type names no boundary. Let your HTTP client build the form."
            )
        if len(boundary) > BOUNDARY_BYTES:
            raise MalformedMultipartError(
                f"The form can not be parsed: its boundary has {len(boundary)} bytes; at most {BOUNDARY_BYTES} are "
                "allowed."
            )
        self._example = example
        self._files = _FileEvents(on_data, on_file_end, most_fields, wanted)
        self._parts = PartReader(boundary, self._files)

    @property
    def files(self) -> int:
        """How many files have begun."""
        return self._files.count

    @property
    def values(self) -> dict[str, bytes]:
        """The wanted fields that have come, by name."""
        return self._files.values

    def write(self, chunk: bytes) -> None:
        """Read the next piece of the form.

        Raises:
            MalformedMultipartError: it can not be parsed.
        """
        self._parts.write(chunk)

    def end(self) -> None:
        """Check that the form is complete.

        Raises:
            MalformedMultipartError: its closing boundary is missing, or it holds no file.
        """
        if not self._parts.ended:
            if not self._parts.parts:
                raise self._parts.no_boundary()
            raise MalformedMultipartError("The form is cut short: its closing boundary is missing.")
        if not self.files:
            raise MalformedMultipartError(
                f"{self._what_it_holds()} Send one: curl -F file=@{self._example} …"
            )

    def _what_it_holds(self) -> str:
        events = self._files
        if not self._parts.parts:
            return "The form is empty: it holds no part, and so no file."
        if events.unnamed_empty:
            return "The form holds no file: its file field is empty."
        names = ", ".join(repr(name[:SHOWN_NAME]) for name in events.fields)
        return (
            f"The form holds no file: its parts ({names}) have neither a filename nor the content type of a file. "
            'A file\'s part has Content-Disposition: form-data; name="file"; filename="…".'
        )


@value
class Form:
    """The files of a form, in order, and its fields that were wanted, by name."""

    files: list[bytes]
    values: dict[str, bytes]


def files_of(
    body: bytes, content_type: str, example: str, most: int, most_fields: int = MOST_FIELDS
) -> list[bytes]:
    """Return the contents of a whole form's files, in order.

    Raises:
        MalformedMultipartError: the form can not be parsed, is cut short or holds no file.
        TooManyImagesError: it holds more than `most`.
    """
    return form_of(body, content_type, example, most, most_fields).files


def form_of(
    body: bytes,
    content_type: str,
    example: str,
    most: int,
    most_fields: int = MOST_FIELDS,
    *,
    wanted: Collection[str] = (),
) -> Form:
    """Return the contents of a whole form's files, and its wanted fields.

    Raises:
        MalformedMultipartError: the form can not be parsed, is cut short or holds no file.
        TooManyImagesError: it holds more files than `most`.
    """
    files = _Files(most)
    form = FormReader(
        content_type,
        on_data=files.add,
        on_file_end=files.end,
        example=example,
        most_fields=most_fields,
        wanted=wanted,
    )
    for start in range(0, len(body), SLICE_BYTES):
        form.write(body[start : start + SLICE_BYTES])
    form.end()
    return Form(files.contents, form.values)


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
    """Turns the events of parts into those of files. It does not refer to the reader, which refers to it."""

    def __init__(
        self,
        on_data: Callable[[bytes], None],
        on_file_end: Callable[[], None],
        most_fields: int,
        wanted: Collection[str],
    ) -> None:
        self.count = 0
        self.values: dict[str, bytes] = {}
        self.fields: list[str] = []
        self.unnamed_empty = False
        self._fields = 0
        self._most_fields = most_fields
        self._on_file_data = on_data
        self._on_file_end = on_file_end
        self._decoder: TransferDecoder | None = None
        self._begun = False
        self._wanted = wanted
        self._field: str | None = None

    def begin(self, headers: Headers) -> None:
        """A file begins here, or with its first byte where it has no name."""
        part = PartHeaders(headers)
        filename = part.filename()
        self._decoder, self._begun, self._field = None, False, None
        if not filename:
            self._count_field()
        if filename is not None or part.has_file_type():
            self._decoder = TransferDecoder(part.transfer_encoding)
        elif self._wanted or len(self.fields) < SHOWN_FIELDS:
            self._begin_field(part.field)
        if filename:
            self._begin_file()

    def content(self, piece: bytes) -> None:
        if self._decoder is None:
            self._add_to_field(piece)
            return
        if not self._begun:
            self._begin_file()
        self._on_file_data(self._decoder.decode(piece))

    def end(self) -> None:
        if self._decoder is None:
            return
        if self._begun:
            self._decoder.end()
            self._on_file_end()
        else:
            self.unnamed_empty = True

    def _begin_field(self, name: str) -> None:
        if len(self.fields) < SHOWN_FIELDS:
            self.fields.append(name)
        if name in self.values:
            raise MalformedMultipartError(
                f"The form has the field {name} more than once. Send it once."
            )
        if name in self._wanted:
            self._field, self.values[name] = name, b""

    def _add_to_field(self, piece: bytes) -> None:
        if self._field is None:
            return
        self.values[self._field] += piece
        if len(self.values[self._field]) > FIELD_BYTES:
            raise MalformedMultipartError(
                f"The field {self._field} of the form has more than {FIELD_BYTES} bytes."
            )

    def _begin_file(self) -> None:
        self._begun = True
        self.count += 1

    def _count_field(self) -> None:
        self._fields += 1
        if self._fields > self._most_fields:
            raise MalformedMultipartError(
                f"The form has more than {self._most_fields} parts without a filename. Send the files alone."
            )
