"""One file of named tensors and plain data, without pickle: nothing in it is run when it is read.

A ZIP archive of three members, each stored as it is:

    tensors.safetensors  every tensor, by name
    data.json            the rest, as JSON
    manifest.json        format, schema version, size and SHA-256 of the other two, and a digest of this table

The digests find what was altered by accident: a disk, a transfer, an editor. They are no signature; who means to
deceive can compute them anew. What is read is bounded by the file's own size, since nothing is compressed.
"""

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as format_tensors
from torch import Tensor

FORMAT = "memagent"
SCHEMA = 1
TENSORS = "tensors.safetensors"
DATA = "data.json"
MANIFEST = "manifest.json"
MAX_JSON = 16 * 1024**2
"""Bytes of a JSON member; agents have some ten thousand."""
NOT_A_ZIP = (
    zipfile.BadZipFile,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    struct.error,
)
"""What the standard library raises for bytes that are no whole ZIP archive."""
TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the same contents are the same file


class ArchiveError(ValueError):
    """What was given cannot be written or read; the message says why, without the file's name."""


def format_archive(tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> bytes:
    """The file's bytes.

    Raises:
        ArchiveError: a tensor holds NaN or infinity, or the data is not what JSON can say.
    """
    held = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    _check_finite(held, "train with a smaller learning rate")
    try:
        text = json.dumps(data, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ArchiveError(f"only what JSON can say is saved without pickle ({reason(error)}).") from error
    members = {TENSORS: format_tensors(held), DATA: text.encode()}
    table = {name: {"size": len(part), "sha256": _sha256(part)} for name, part in members.items()}
    manifest = {"format": FORMAT, "schema": SCHEMA, "members": table}
    members[MANIFEST] = json.dumps(manifest | {"sha256": digest(manifest)}).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, part in members.items():
            archive.writestr(zipfile.ZipInfo(name, TIMESTAMP), part)
    return buffer.getvalue()


def parse_archive(file: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the data.

    Raises:
        ArchiveError: the file is no such archive, or what it holds is not what was written.
    """
    members = _read_members(file)
    manifest = parse_json(MANIFEST, members[MANIFEST])
    if manifest.get("format") != FORMAT:
        raise ArchiveError(f"its {MANIFEST} is not memagent's; give a file that an agent of memagent saved.")
    if type(schema := manifest.get("schema")) is not int or schema != SCHEMA:
        raise ArchiveError(
            f"it is of schema {shortened(schema)}, and this version of memagent reads schema {SCHEMA}; take the "
            "version that wrote it."
        )
    _check_digests(manifest, members)
    data = parse_json(DATA, members[DATA])
    try:
        tensors = parse_tensors(members[TENSORS])
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError, OverflowError) as error:
        raise ArchiveError(
            f"its {TENSORS} is not of that format ({reason(error)}); take another copy."
        ) from error
    _check_finite(tensors, "take a copy from before the numbers went bad")
    return tensors, data


def member_names(file: bytes) -> list[str]:
    """The names in a ZIP archive's table of contents; [] if it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            return archive.namelist()
    except NOT_A_ZIP:
        return []


def reason(error: Exception) -> str:
    """The first line of what an error says, of printable characters, not endless."""
    return shortened((str(error).splitlines() or [type(error).__name__])[0], quoted=False, limit=600)


def shortened(value: Any, *, quoted: bool = True, limit: int = 120) -> str:
    """A value from a file as a message can show it: on one line, of `limit` printable characters at most."""
    text = repr(value) if quoted else str(value)
    text = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _read_members(file: bytes) -> dict[str, bytes]:
    """The members by name, read only after the table of contents has been found to be ours."""
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            _check_contents(archive.infolist(), len(file))
            return {info.filename: archive.read(info) for info in archive.infolist()}
    except ArchiveError:
        raise
    except NOT_A_ZIP as error:
        raise ArchiveError(f"it is not a whole ZIP archive ({reason(error)}); take another copy.") from error


def _check_contents(found: list[zipfile.ZipInfo], size: int) -> None:
    """Three members of the right names, stored as they are, no larger than the file that holds them."""
    names = [info.orig_filename for info in found]
    if sorted(names) != sorted((TENSORS, DATA, MANIFEST)):
        raise ArchiveError(
            f"it holds {shortened(names)}, expected {TENSORS}, {DATA} and {MANIFEST}, each once; give a file that "
            "an agent of memagent saved."
        )
    for info in found:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ArchiveError(f"its member {info.filename} is compressed, expected it stored as it is.")
        if info.flag_bits & 0x1:
            raise ArchiveError(f"its member {info.filename} is encrypted, expected it stored as it is.")
        if info.filename != TENSORS and info.file_size > MAX_JSON:
            raise ArchiveError(
                f"Its member {info.filename} declares {info.file_size} bytes, expected {MAX_JSON} at most."
            )
    if (declared := sum(info.file_size for info in found)) > size:
        raise ArchiveError(f"its members declare {declared} bytes in a file of {size}; take another copy.")


def _check_digests(manifest: dict[str, Any], members: Mapping[str, bytes]) -> None:
    """The table is the one that was written, and each member is what the table says."""
    table = {name: value for name, value in manifest.items() if name != "sha256"}
    found = {
        name: {"size": len(part), "sha256": _sha256(part)}
        for name, part in members.items()
        if name != MANIFEST
    }
    if manifest.get("sha256") != digest(table) or table.get("members") != found:
        raise ArchiveError("its bytes are not those that were written: a digest differs; take another copy.")


def parse_json(name: str, part: bytes) -> dict[str, Any]:
    """A JSON object without NaN or infinity."""

    def refuse(constant: str) -> float:
        raise ValueError(f"it holds {constant}")

    try:
        parsed = json.loads(part, parse_constant=refuse)
    except (ValueError, RecursionError) as error:  # not UTF-8 is a ValueError too
        raise ArchiveError(f"its {name} is not JSON ({reason(error)}); take another copy.") from error
    if not isinstance(parsed, dict):
        raise ArchiveError(f"its {name} is not a JSON object; take another copy.")
    return parsed


def _check_finite(tensors: Mapping[str, Tensor], advice: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_complex() or (tensor.is_floating_point() and not torch.isfinite(tensor).all()):
            raise ArchiveError(
                f"the tensor {shortened(name, quoted=False)} holds NaN or infinity, expected finite numbers; {advice}."
            )


def digest(table: Mapping[str, Any]) -> str:
    """SHA-256 of a table, however its JSON was laid out."""
    return _sha256(json.dumps(table, sort_keys=True).encode())


def _sha256(part: bytes) -> str:
    return hashlib.sha256(part).hexdigest()
