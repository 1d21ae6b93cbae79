"""CSV files that grow by rows and are taken up again."""

from pathlib import Path

import pytest

from memagent.tables import Table, read_rows


def test_rows_are_there_at_once_and_columns_may_come_later(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with Table(path, ("a",)) as table:
        table.add({"a": 1})
        assert read_rows(path) == (["a"], [["1"]])
        table.add({"b": "x, y", "a": 2})
        table.add({"b": 0.1})
        assert table.rows == 3
    assert read_rows(path) == (["a", "b"], [["1", ""], ["2", "x, y"], ["", "0.1"]])


@pytest.mark.parametrize("columns", [(), ("a", "b")])
@pytest.mark.parametrize("more", ["", "4,5\r\n", "4"])
def test_what_comes_behind_the_rows_that_are_kept_is_removed(
    tmp_path: Path, columns: tuple[str, ...], more: str
) -> None:
    """A row that was cut in the middle too."""
    path = tmp_path / "table.csv"
    path.write_text(f"a,b\r\n1,2\r\n3,4\r\n{more}")
    with Table(path, columns, rows=2) as table:
        table.add({"a": 5, "b": 6})
        table.sync()
        assert table.rows == 3
    assert read_rows(path) == (["a", "b"], [["1", "2"], ["3", "4"], ["5", "6"]])


def test_a_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a\r\n1\r\n")
    Table(path).close()
    assert read_rows(path) == ([], [])


@pytest.mark.parametrize("text", ["", "a\r\n1\r\n"])
def test_rows_that_are_not_there_are_missed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match="expected the 2 of the checkpoint"):
        Table(path, rows=2)
    with pytest.raises(ValueError, match="is no table of CSV"):
        Table(tmp_path / "nothing.csv", rows=2)
    assert path.read_text() == text.replace("\r\n", "\n")
