"""An archive holds what was written, and whatever else it holds is refused in words of ours."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from memagent.archive import (
    DATA,
    MANIFEST,
    MAX_JSON,
    TENSORS,
    ArchiveError,
    format_archive,
    parse_archive,
)

HELD = {"a/weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "c": torch.zeros(0, 4)}
SAID = {"name": "x", "numbers": [1, 2.5, None, True], "big": 2**100}
WHOLE = format_archive(HELD, SAID)

LIAR = b'{"w":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'

Members = dict[str, bytes]


def members() -> Members:
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, part in parts:
            archive.writestr(name, part)
    return buffer.getvalue()


def signed(parts: Members, **changes: object) -> bytes:
    """An archive whose digests are right, as one makes it who means to deceive."""
    table = {
        name: {"size": len(part), "sha256": hashlib.sha256(part).hexdigest()}
        for name, part in parts.items()
        if name != MANIFEST
    }
    manifest = {"format": "memagent", "schema": 1, "members": table} | changes
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return zipped([*(parts | {MANIFEST: json.dumps(manifest | {"sha256": digest}).encode()}).items()])


def test_what_was_written_is_read() -> None:
    tensors, data = parse_archive(WHOLE)
    assert data == SAID
    assert tensors.keys() == HELD.keys()
    for name, tensor in HELD.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)
    assert format_archive(tensors, data) == WHOLE
    assert (
        parse_archive(signed(members()))[1] == SAID
    )  # what `signed` makes is refused for its contents alone


def test_a_view_and_its_base_are_saved_as_they_are() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors, _ = parse_archive(format_archive({"base": base, "view": base.T[1:]}, {}))
    assert torch.equal(tensors["base"], base) and torch.equal(tensors["view"], base.T[1:])


@pytest.mark.parametrize(
    ("tensors", "data", "said"),
    [
        ({"w": torch.tensor([0.0, float("nan")])}, {}, "tensor w holds NaN or infinity"),
        ({"w": torch.tensor([float("-inf")])}, {}, "tensor w holds NaN or infinity"),
        ({}, {"f": print}, "only what JSON can say.*function"),
        ({}, {"x": np.float32(1)}, "only what JSON can say.*float32"),
        ({}, {"x": float("nan")}, "only what JSON can say"),
    ],
)
def test_what_cannot_be_said_is_refused_when_it_is_written(tensors: dict, data: dict, said: str) -> None:
    with pytest.raises(ArchiveError, match=said):
        format_archive(tensors, data)


def replaced(name: str, part: bytes) -> Callable[[], bytes]:
    return lambda: signed(members() | {name: part})


CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "not a whole ZIP archive"),
    "half": (lambda: WHOLE[: len(WHOLE) // 2], "not a whole ZIP archive"),
    "text": (lambda: b"hello" * 100, "not a whole ZIP archive"),
    "empty archive": (lambda: zipped([]), "it holds .*expected tensors.safetensors"),
    "a member missing": (lambda: zipped([*members().items()][:2]), "it holds .*each once"),
    "a member too many": (lambda: zipped([*members().items(), ("x", b"")]), "it holds .*each once"),
    "a way out of the folder": (
        lambda: zipped([*members().items(), ("../../x", b"")]),
        "it holds .*each once",
    ),
    "a pickle beside": (lambda: zipped([*members().items(), ("policy.pth", b"")]), "it holds .*each once"),
    "compressed": (lambda: zipped([*members().items()], zipfile.ZIP_DEFLATED), "is compressed"),
    "an altered member": (lambda: zipped([*(members() | {DATA: b"{}"}).items()]), "digest differs"),
    "an altered table": (
        lambda: zipped(
            [*(members() | {MANIFEST: members()[MANIFEST].replace(b'"size": ', b'"size":  1')}).items()]
        ),
        "digest differs",
    ),
    "no table": (replaced(DATA, b"[]"), "data.json is not a JSON object"),
    "NaN": (replaced(DATA, b'{"x": NaN}'), "not JSON .*NaN"),
    "deep": (replaced(DATA, b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "not JSON"),
    "a number without end": (replaced(DATA, b'{"x": ' + b"9" * 10_000 + b"}"), "not JSON"),
    "not UTF-8": (replaced(DATA, b'{"x": "\xff"}'), "not JSON"),
    "much": (replaced(DATA, b'{"x": "' + b"a" * MAX_JSON + b'"}'), "declares .* bytes, expected"),
    "no tensors": (replaced(TENSORS, b"\x80\x04."), "not of that format"),
    "a header without end": (replaced(TENSORS, (2**62).to_bytes(8, "little") + b"{}"), "not of that format"),
    "offsets outside": (
        replaced(
            TENSORS,
            len(LIAR).to_bytes(8, "little") + LIAR + b"\0\0\0\0",
        ),
        "not of that format",
    ),
    "another format": (lambda: signed(members(), format="other"), "not memagent's"),
    "a later schema": (lambda: signed(members(), schema=2), "schema 2, .*reads schema 1"),
    "no schema": (lambda: signed(members(), schema=True), "schema True"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_not_ours_is_refused(case: str) -> None:
    make, said = CASES[case]
    with pytest.raises(ArchiveError, match=said) as caught:
        parse_archive(make())
    assert len(str(caught.value).splitlines()) == 1


def test_a_member_twice_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zipped([*members().items(), (DATA, b"{}")])
    with pytest.raises(ArchiveError, match="each once"):
        parse_archive(twice)


def test_not_a_number_is_refused_though_the_digests_are_right() -> None:
    bad = bytearray(members()[TENSORS])
    at = bad.index(np.float32(5.0).tobytes())
    bad[at : at + 4] = np.float32("nan").tobytes()
    with pytest.raises(ArchiveError, match="tensor a/weight holds NaN"):
        parse_archive(signed(members() | {TENSORS: bytes(bad)}))


def test_a_declared_size_is_refused_before_it_is_read() -> None:
    """The table of contents says four gigabytes; the file has some hundred bytes."""
    bad = bytearray(WHOLE)
    at = bad.rindex(b"PK\x01\x02", 0, bad.rindex(b"PK\x01\x02"))  # the second but last entry: data.json
    assert DATA.encode() in bad[at : at + 60]
    for field in (20, 24):
        bad[at + field : at + field + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    with pytest.raises(ArchiveError, match="declares 4294967280 bytes"):
        parse_archive(bytes(bad))


def test_every_altered_byte_is_found_or_changes_nothing(tmp_path: Path) -> None:
    found = 0
    for at in range(len(WHOLE)):
        altered = bytearray(WHOLE)
        altered[at] ^= 0x10
        try:
            tensors, data = parse_archive(bytes(altered))
        except ArchiveError:
            found += 1
        else:
            assert data == SAID and all(torch.equal(tensors[name], HELD[name]) for name in HELD)
    assert found > 0.8 * len(WHOLE)
