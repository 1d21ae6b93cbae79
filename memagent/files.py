"""Files and folders written whole or not at all.

The data goes into a file beside the one that is meant, onto the disk, and then takes its name: whatever interrupts the
writing, the name holds the old file or the new one.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

if os.name != "nt":
    import fcntl

UNFINISHED = ".part"
"""What the names of unfinished files and folders end in."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write in; where the block ends well it replaces the file `path`, atomically, else nothing is left.

    A link is replaced, not followed.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> Path:
    """Replace the file `path`, atomically. Returns the path."""
    with replacing(path) as file:
        file.write(data)
    return path


def write_text(path: Path, text: str) -> Path:
    """Replace the file `path` by UTF-8 text, atomically. Returns the path."""
    return write_bytes(path, text.encode())


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which takes the name `path` when the block ends, with all its files on the disk.

    An error in the block leaves nothing. There must be nothing at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    unfinished.mkdir()
    try:
        yield unfinished
        for file in unfinished.iterdir():
            _sync(file)
        _sync_folder(unfinished)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder; whatever interrupts that, what is left does not have its name."""
    leaving = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    path.rename(leaving)
    shutil.rmtree(leaving)


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed have left unfinished in a folder in which none is writing."""
    for path in folder.glob(f".*{UNFINISHED}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, which no other process can hold meanwhile; a process that ends lets go. Not on Windows.

    Raises:
        BlockingIOError: another process holds it.
    """
    if os.name == "nt":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _sync(file: Path) -> None:
    """Bring a file onto the disk."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    """Bring the folder's new name onto the disk; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
