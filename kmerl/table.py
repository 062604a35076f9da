"""CSV files that people make, read with errors that say where."""

import csv
import os

__all__ = ["Table", "inside", "shown", "some"]


class Table:
    """A CSV with a header: its rows as dicts of texts.

    Attributes
    ----------
    name : str
        The file's name, for messages.
    header : list of str
    rows : list of dict
        ``{column: text}``, without surrounding spaces; empty lines are left out.

    Raises
    ------
    ValueError
        Not UTF-8, no CSV, no line below the header, a column twice or without a name, a line of another
        length.
    """

    def __init__(self, path, unnamed=None):
        self.name = os.path.basename(path)
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, strict=True, skipinitialspace=True)
                lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{self.name} is no CSV in UTF-8: {error}") from None
        if len(lines) < 2:
            raise ValueError(
                f"{self.name} has {len(lines)} lines, expected a header and at least one line more"
            )
        self.header = lines[0][1]
        if unnamed and self.header[0] == "":
            self.header[0] = unnamed
        if len(self.header) == 1 and ";" in self.header[0]:
            raise ValueError(
                f"{self.name} looks separated by semicolons, expected commas: {self.header[0][:60]!r}"
            )
        twice = sorted({column for column in self.header if self.header.count(column) > 1})
        if twice:
            raise ValueError(f"{self.name} has the column {twice[0]!r} twice")
        if "" in self.header:
            raise ValueError(f"{self.name} has no name for column {self.header.index('') + 1}")
        self._lines = [number for number, _ in lines[1:]]
        self.rows = []
        for number, row in lines[1:]:
            if len(row) != len(self.header):
                raise ValueError(
                    f"{self.name} line {number} has {len(row)} columns, the header has {len(self.header)}"
                )
            self.rows.append(dict(zip(self.header, row, strict=True)))

    def line(self, i):
        """The line of row i in the file."""
        return self._lines[i]

    def at(self, i):
        """Where row i is, for messages."""
        return f"{self.name} line {self._lines[i]}"

    def need(self, *columns):
        """ValueError where one of the columns is not there."""
        missing = [column for column in columns if column not in self.header]
        if missing:
            raise ValueError(f"{self.name} has no column {missing[0]!r}; it has {', '.join(self.header[:8])}")

    def bit(self, i, column, hint=""):
        """0 or 1."""
        value = self.rows[i][column]
        if value not in ("0", "1", "0.0", "1.0"):
            raise ValueError(f"{self.at(i)}, column {column!r}: got {shown(value)}, expected 0 or 1{hint}")
        return int(value[0])

    def whole(self, i, column):
        """A whole number that may be written as 15709.0, as text."""
        value = self.rows[i][column].removesuffix(".0")
        if not value.isdigit():
            raise ValueError(
                f"{self.at(i)}, column {column!r}: got {shown(self.rows[i][column])}, expected a whole number"
            )
        return value


def shown(value):
    """A cell for a message. What is longer than a number or a word may be a report, which is a patient's."""
    return repr(value) if len(value) <= 8 and " " not in value else f"a text of {len(value):,} characters"


def inside(folder, name, where):
    """The path of the file that a table names; ValueError where that is not in the folder."""
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or parts[0][1:2] == ":":
        raise ValueError(f"{where}: names the file {name!r:.80}, which is not in the folder {str(folder)!r}; refused")
    return folder / name


def some(names, count=5):
    """The first few names, and how many more there are."""
    return ", ".join(map(str, names[:count])) + (
        f" and {len(names) - count:,} more" if len(names) > count else ""
    )
