"""The API keys of a soak: a file whose keys change while the service runs."""

from pathlib import Path

from service.keys import SCOPES, as_entry, new_key


class RotatingKeys:
    """A file with three keys; each rotation adds one and removes the oldest. The client uses the middle one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._keys = [new_key() for _ in range(3)]
        self._first = 0
        self._write()

    @property
    def current(self) -> str:
        return self._keys[1]

    def rotate(self) -> None:
        self._keys = [*self._keys[1:], new_key()]
        self._first += 1
        self._write()

    def _write(self) -> None:
        entries = [
            as_entry(f"soak-{self._first + number}", key, SCOPES)
            for number, key in enumerate(self._keys)
        ]
        new = self._file.with_suffix(".new")
        new.write_text("\n".join(entries))
        new.replace(self._file)
