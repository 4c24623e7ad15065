"""A CSV file from outside, read line by line in bounded memory; what is wrong with it is said with its line."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

from owmesos.errors import InvalidInput, os_errors_as_invalid_input, os_reason

LONGEST_LINE = 200_000
"""Bytes. The longest line of Azure's files has 1,440 counts."""
OnRead = Callable[[int], None]
"""Told, now and then, how many more bytes have been read."""


class CsvFile:
    """The header has been read when it is made, and it is closed at the end of `with`. `position` is where each
    column is."""

    def __init__(self, path: Path, on_read: OnRead = lambda size: None) -> None:
        """Raises InvalidInput."""
        self.path = path
        self.line = 1
        self._on_read = on_read
        if path.exists() and not path.is_file():
            raise InvalidInput(f"{path} is not a regular file")
        with os_errors_as_invalid_input(f"{path} cannot be read"):
            self._file: BinaryIO = path.open("rb")
        self._rows = csv.reader(self._lines(), strict=True)
        try:
            self.header = self._header()
        except InvalidInput:
            self._file.close()
            raise
        self.position = {name: number for number, name in enumerate(self.header)}

    def __enter__(self) -> CsvFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _header(self) -> list[str]:
        try:
            header = next(self._rows, [])
        except csv.Error as error:
            self.fail(f"it is not valid CSV: {error}")
        if not header:
            self.fail("the first line must have the names of the columns")
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            self.fail(f"the column {shown(twice)} is there twice")
        return header

    def require(self, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        """Raises InvalidInput for a column that is missing, and for one that is not known."""
        known = ", ".join([*required, *(f"[{each}]" for each in optional)])
        for name in self.header:
            if name not in required and name not in optional:
                self.fail(f"unknown column {shown(name)}: the columns are {known}")
        for name in required:
            if name not in self.position:
                self.fail(f"the column {name} is missing: the columns are {known}")

    def rows(self) -> Iterator[list[str]]:
        """The cells of each line after the header; `line` is its number. Empty lines are left out."""
        try:
            for row in self._rows:
                if not row:
                    continue
                if len(row) != len(self.header):
                    self.fail(f"{len(row)} cells, but the header has {len(self.header)}")
                yield row
        except csv.Error as error:
            self.fail(f"it is not valid CSV: {error}")

    def number(self, row: Sequence[str], column: str, most: float, *, least: float = 0.0, unit: str = "") -> float:
        """`unit` is in the error. Raises InvalidInput."""
        text = row[self.position[column]]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        of = f" of {unit}" if unit else ""
        if not least <= value <= most:  # nor if it is not a number
            self.fail(f"{column} is {shown(text)}: write a number{of} from {least:,.0f} to {most:,.0f}")
        return value

    def fail(self, what: str) -> NoReturn:
        raise InvalidInput(f"{self.path}:{self.line}: {what}")

    def _lines(self) -> Iterator[str]:
        encoding, number, unsaid = "utf-8-sig", 0, 0  # a spreadsheet writes a mark before the first line
        while line := self._next():
            number += 1
            self.line = number
            unsaid += len(line)
            if len(line) > LONGEST_LINE:
                self.fail(f"it is longer than {LONGEST_LINE:,} bytes")
            if number % 1_000 == 0:
                self._on_read(unsaid)
                unsaid = 0
            try:
                yield line.decode(encoding)
            except UnicodeDecodeError:
                self.fail("it is not valid UTF-8")
            encoding = "utf-8"
        self._on_read(unsaid)

    def _next(self) -> bytes:
        try:  # `os_errors_as_invalid_input` would take a microsecond for each line
            return self._file.readline(LONGEST_LINE + 1)
        except OSError as error:
            raise InvalidInput(f"{self.path} cannot be read: {os_reason(error)}") from None


def with_path(error: InvalidInput, path: Path) -> InvalidInput:
    """`error` with the file that it is about, unless it says it already."""
    return error if str(error).startswith(str(path)) else InvalidInput(f"{path}: {error}")


def shown(text: str) -> str:
    """At most 60 characters of it, quoted."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
