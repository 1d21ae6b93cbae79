"""Reads the file that an offline W&B run leaves: wandb has no reader of its own for it."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2


def read_records(run_dir: Path) -> list[wandb_internal_pb2.Record]:
    """The records of the one finished offline run under `run_dir/wandb`.

    W&B's background process may still be writing when `finish` returns: the record of the exit is the last.
    The file is a LevelDB log after a header of 7 bytes: blocks of 32 KiB, and in them chunks of
    (crc 4 bytes, length 2, type 1, payload); a record is one chunk of type 1, or chunks of type 2, 3…, 4.
    """
    (path,) = (run_dir / "wandb").glob("offline-run-*/*.wandb")
    for _ in range(300):
        data = path.read_bytes()
        assert data[:4] == b":W&B"
        records = [wandb_internal_pb2.Record.FromString(payload) for payload in read_payloads(data, start=7)]
        if of_kind(records, "exit"):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{path} has no record of the run's exit.")


def read_payloads(data: bytes, start: int, block: int = 32 * 1024, header: int = 7) -> Iterator[bytes]:
    position, payload = start, b""
    while position + header <= len(data):
        if block - position % block < header:  # no chunk begins in the last bytes of a block
            position += block - position % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += header
        payload += data[position : position + length]
        position += length
        if kind in (1, 4):
            yield payload
            payload = b""


def parsed(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def of_kind(records: list[wandb_internal_pb2.Record], kind: str) -> list[Any]:
    return [getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind]


def history(records: list[wandb_internal_pb2.Record]) -> list[dict[str, Any]]:
    return [parsed(row.item) for row in of_kind(records, "history")]


def summary(records: list[wandb_internal_pb2.Record]) -> dict[str, Any]:
    return {
        key: value for update in of_kind(records, "summary") for key, value in parsed(update.update).items()
    }


def config(records: list[wandb_internal_pb2.Record]) -> dict[str, Any]:
    updates = [run.config for run in of_kind(records, "run")] + of_kind(records, "config")
    return {key: value for update in updates for key, value in parsed(update.update).items()}
