"""The Markdown that benchmarks.gpu writes from its measurements."""

from collections.abc import Mapping
from typing import Any

from benchmarks.tables import markdown

HEAD = (
    "B",
    "Triton",
    "of it forward",
    "memory traffic's limit",
    "reference",
    "under torch.compile",
    "cuDNN LSTM",
    "times the LSTM",
    "peak GB",
)


def report(result: Mapping[str, Any]) -> str:
    """Tables of the memory's times and of the trainings', with command and machine."""
    about = result["machine"]
    rate = result["rows"][0]["copy_bytes_per_second"] / 1e12
    acting = result["acting_ms"]
    where = (
        f"`{result['command']}` on one {about['gpu']}, host {about['cpu']} ({about['cores']} cores); torch "
        f"{about['torch']}, triton {about['triton']}, cuDNN {about['cudnn']}, Python {about['python']}."
    )
    what = (
        "Forward and backward over 40 steps of B sequences, 16 inputs, the default memory, float32; milliseconds, "
        f"medians. The limit is the tape, written once and read once, at {rate:.2f} TB/s, the rate of a copy here."
    )
    one_step = (
        f"One acting step of 16 environments, without gradients: Triton {acting['triton']:.2f} ms, the reference "
        f"{acting['reference']:.2f} ms."
    )
    parts = [
        "# The memory on a GPU",
        where,
        what,
        markdown(HEAD, [_row(row) for row in result["rows"]]),
        one_step,
    ]
    if result["training"]:
        rows = [
            [run["device"], f"{run['steps']:,}", f"{run['updates']:,}", f"{run['seconds']:.0f}"]
            for run in result["training"]
        ]
        trained = (
            f"Training on {result['env']} with its preset, 16 environments, without evaluation; the CPU's with "
            f"{result['threads']} threads:"
        )
        parts += [trained, markdown(("device", "environment steps", "updates", "seconds"), rows)]
    return "\n\n".join(parts)


def _row(row: Mapping[str, Any]) -> list[str]:
    compiled = f"{row['compiled_ms']:.1f}" if "compiled_ms" in row else ""
    return [
        f"{row['B']:,}",
        f"{row['triton_ms']:.2f}",
        f"{row['triton_forward_ms']:.2f}",
        f"{row['limit_ms']:.2f}",
        f"{row['reference_ms']:.0f}",
        compiled,
        f"{row['lstm_ms']:.2f}",
        f"{row['triton_ms'] / row['lstm_ms']:.1f}",
        f"{row['triton_peak_bytes'] / 1e9:.2f}",
    ]
