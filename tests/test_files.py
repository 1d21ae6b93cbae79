"""A file is written whole or not at all."""

from pathlib import Path

import pytest

from memagent.files import write_bytes, write_text


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert write_text(path, "größer") == path
    assert path.read_bytes() == "größer".encode()
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.replace"])
def test_what_interrupts_the_writing_leaves_the_old_file(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_bytes(tmp_path / "a", b"old")

    def fail(*args: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(where, fail)
    with pytest.raises(OSError, match="no space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    outside = write_bytes(tmp_path / "outside", b"mine")
    link = tmp_path / "link"
    link.symlink_to(outside)
    write_bytes(link, b"new")
    assert (outside.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"mine", b"new", False)
