"""CSV files that grow by whole rows, and are taken up again at the row that a checkpoint names."""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from memagent.files import write_text


class Table:
    """A CSV file with a header; whatever ends the process, all rows that were added are in it but the last.

    Args:
        path: the file.
        columns: its first columns; a row that has others adds them.
        rows: how many rows of the file that is there are kept, the first ones; 0: the file begins anew.

    Attributes:
        rows: how many rows it has.

    Raises:
        ValueError: the file that is there has fewer rows, or is no CSV file.
    """

    def __init__(self, path: Path, columns: Iterable[str] = (), rows: int = 0) -> None:
        self.path = path
        self.columns = list(columns)
        kept: list[list[str]] = []
        if rows:
            self.columns, kept = read_rows(path)
            if len(kept) < rows:
                raise ValueError(
                    f"{path} has {len(kept)} rows, expected the {rows} of the checkpoint or more."
                )
        self._write(kept[:rows])

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; a column that it has not is left empty."""
        if more := [name for name in row if name not in self.columns]:
            self._file.close()
            kept = read_rows(self.path)[1]
            self.columns += more
            self._write(kept)
        csv.writer(self._file).writerow([row.get(name, "") for name in self.columns])
        self.rows += 1

    def sync(self) -> None:
        """Bring the rows onto the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, rows: list[list[str]]) -> None:
        """Replace the file by these rows, as a whole, and stand behind them."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        if self.columns:
            writer.writerow(self.columns)
        writer.writerows([*row, *[""] * (len(self.columns) - len(row))] for row in rows)
        write_text(self.path, text.getvalue())
        self._file = self.path.open("a", newline="", buffering=1, encoding="utf-8")
        self.rows = len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """The columns of a CSV file and its rows; none of either where the file is empty.

    Raises:
        ValueError: it is no CSV file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (csv.Error, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table of CSV: {error}") from error
    return header, rows
