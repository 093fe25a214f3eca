"""Labels in lines of text or in the rows of a table, with or without their class ids."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.errors import RecipeError
from exporter.label_tables import labels_in

_ID_FIRST = re.compile(r"(\d+)(?P<by>\s*[:,;=)|\t]\s*|\.\s+|\s+-\s+|\s+)(\S.*)")
_ID_LAST = re.compile(r"(.*[^\s:,;=|])(?P<by>\s*[:,;=|\t]\s*|\s+)(\d+)")
_WORDNET = re.compile(r"n\d{8}[\s,:]+(\S.*)")
_QUOTED = re.compile(r"([\"'])(.*)\1,?")
_CELLS = re.compile(r"[,;\t]")

NAME_HEADINGS = {
    *("display_name", "name", "names", "label", "labels", "label_name", "class", "class_name"),
    *("category", "title"),
}
"""What the column of the labels is called, in lower case."""

_ID_HEADINGS = {
    *("id", "index", "idx", "class_id", "class_index", "label_id", "category_id", "train_id"),
    *("number", "code"),
}
_SHOWN_NAME = "display_name"
"""Where a table has it, the other name is a code, such as Freebase's /m/01g317."""

_AS_LIST = "If the numbers are parts of the labels, give a JSON list of labels"


@dataclass(frozen=True, slots=True)
class _Numbered:
    """Lines that all have a number before or after their words.

    `is_split` is whether more than a space lies between in each of them.
    """

    ids: list[int]
    words: list[str]
    is_split: bool

    @property
    def is_complete(self) -> bool:
        """Whether the numbers are 0, 1, 2, … in any order."""
        return sorted(self.ids) == list(range(len(self.ids)))

    @property
    def is_from_one(self) -> bool:
        return sorted(self.ids) == list(range(1, len(self.ids) + 1))

    @property
    def is_distinct(self) -> bool:
        """Whether the words tell the lines apart without the numbers: "20 km/h" and "30 km/h" are labels."""
        return len(set(self.words)) == len(self.words)


def labels_in_lines(lines: Sequence[str], file: str) -> tuple[str, ...]:
    """Return the labels in lines of text, none of them empty, in the order of the class ids.

    Args:
        lines: without blanks around them.
        file: its name, for messages.

    Raises:
        RecipeError: they have class ids, and their order is not clear.
    """
    heading = [cell.strip().lower() for cell in _CELLS.split(lines[0])]
    if len(heading) > 1 and set(heading) <= NAME_HEADINGS | _ID_HEADINGS:
        return labels_in_rows([_CELLS.split(line) for line in lines], file)
    return _unquoted(_without_ids(_without_wordnet(lines), file))


def labels_in_rows(rows: Sequence[Sequence[str]], file: str) -> tuple[str, ...]:
    """Return the labels in the rows of a table, in the order of the class ids, or of the rows without these.

    Raises:
        RecipeError: which column has the labels, or which one their order, is not clear.
    """
    cells = [[cell.strip() for cell in row] for row in rows]
    if any(len(row) != len(cells[0]) for row in cells):
        raise _unclear(file)
    heading = [cell.lower() for cell in cells[0]]
    if not NAME_HEADINGS.isdisjoint(heading) and not any(map(_is_number, heading)):
        columns = zip(*cells[1:], strict=True)
        return _below_heading(heading, [list(column) for column in columns], file)
    if len(cells[0]) != 2:
        raise _unclear(file)
    lines = [",".join(row) for row in cells]
    labels = _without_ids(_without_wordnet(lines), file)
    if list(labels) == lines:
        raise _unclear(file)
    return labels


def _below_heading(
    heading: Sequence[str], columns: Sequence[Sequence[str]], file: str
) -> tuple[str, ...]:
    named = list(zip(heading, columns, strict=False))
    numbers = [(name, column) for name, column in named if all(map(_is_number, column))]
    ids = [column for name, column in numbers if name in _ID_HEADINGS | NAME_HEADINGS]
    names = {
        name: column
        for name, column in named
        if name in NAME_HEADINGS and (name, column) not in numbers
    }
    labels = names.get(_SHOWN_NAME) or next(iter(names.values()), [])
    is_clear = len(names) == 1 or _SHOWN_NAME in names
    if not labels or not is_clear or len(ids) > 1:
        raise _unclear(file)
    if ids:
        return _by_id(_Numbered([int(one) for one in ids[0]], list(labels), is_split=True), file)
    if any(len(set(column)) == len(column) > 1 for _, column in numbers):
        raise _unclear(file)
    return tuple(labels)


def _unclear(file: str) -> RecipeError:
    return RecipeError(
        f"labels: {file} has several columns, and which has the labels and which the class ids is not clear. Give "
        "a text file with one label per line"
    )


def _without_wordnet(lines: Sequence[str]) -> Sequence[str]:
    """Return the first synonym of each line that begins with a WordNet id, where all do, with or without a class id."""
    found = [_WORDNET.fullmatch(line) for line in lines]
    if all(found):
        return [_first_synonym(match[1]) for match in found if match]
    numbered = _numbered(lines, _ID_FIRST, 1, 3)
    after = [_WORDNET.fullmatch(words) for words in numbered.words] if numbered else []
    if numbered and all(after):
        names = (_first_synonym(match[1]) for match in after if match)
        return [f"{number}\t{name}" for number, name in zip(numbered.ids, names, strict=True)]
    return lines


def _first_synonym(words: str) -> str:
    return words.split(",", maxsplit=1)[0].strip()


def _without_ids(lines: Sequence[str], file: str) -> tuple[str, ...]:
    """Return the labels in the order of the numbers beside them, or the lines where the numbers are no class ids."""
    sides = (_numbered(lines, _ID_FIRST, 1, 3), _numbered(lines, _ID_LAST, 3, 1))
    first, last = sides
    if first and first.is_complete:
        return _by_id(first, file)
    if last and last.is_complete and last.is_distinct and (len(lines) > 1 or last.is_split):
        return _by_id(last, file)
    for side in sides:
        if side and side.is_from_one and (side is first or side.is_distinct) and len(lines) > 1:
            raise RecipeError(
                f"labels: the lines of {file} are numbered from 1, the network's outputs from 0. Remove the numbers, "
                f"and give one label for each output. {_AS_LIST}"
            )
    for side in sides:
        if side and side.is_distinct and (side.is_split or (side is first and 0 in side.ids)):
            return _by_id(side, file)
    return tuple(lines)


def _numbered(
    lines: Sequence[str], pattern: re.Pattern[str], number: int, words: int
) -> _Numbered | None:
    found = [match for match in map(pattern.fullmatch, lines) if match]
    if len(found) != len(lines):
        return None
    return _Numbered(
        [int(match[number]) for match in found],
        [match[words].strip() for match in found],
        all(match["by"].strip(" ") for match in found),
    )


def _by_id(numbered: _Numbered, file: str) -> tuple[str, ...]:
    by_id: dict[int, str] = {}
    for number, words in zip(numbered.ids, numbered.words, strict=True):
        if number in by_id:
            raise RecipeError(
                f"labels: {file} gives the class id {number} to {by_id[number]!r} and to {words!r}. {_AS_LIST}"
            )
        by_id[number] = words
    ids: Mapping[int, str] = by_id
    return labels_in(ids, file)


def _unquoted(labels: Sequence[str]) -> tuple[str, ...]:
    found = [_QUOTED.fullmatch(label) for label in labels]
    return tuple(match[2] for match in found if match) if all(found) else tuple(labels)


def _is_number(cell: str) -> bool:
    return cell.isascii() and cell.isdecimal()
