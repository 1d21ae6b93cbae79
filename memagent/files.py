"""Files written whole or not at all.

The data goes into a file beside the one that is meant, onto the disk, and then takes its name: whatever interrupts the
writing, the name holds the old file or the new one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write in; where the block ends well it replaces the file `path`, atomically, else nothing is left.

    A link is replaced, not followed.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
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


def _sync_folder(folder: Path) -> None:
    """Bring the folder's new name onto the disk; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
