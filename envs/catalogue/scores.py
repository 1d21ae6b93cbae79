"""The scores of random actions in the drifting environments, and of an agent that observes the context."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("scores.json")
"""Written by `python -m benchmarks.references`."""


def reference_scores(name: str) -> dict[str, dict[str, float]]:
    """Mean returns over contexts held still, by split and player, of an id with its default arguments.

    Args:
        name: a Gymnasium id.

    Returns:
        {"train": {"random": …, "oracle": …}, "held_out": …}: "random" draws its actions, "oracle" was trained like an
        agent and observes the context. Unknown scores are left out; {} of an id without any.
    """
    scores = _read().get(name, {})
    return {split: dict(scores[split]) for split in ("train", "held_out") if split in scores}


@cache
def _read() -> dict[str, dict[str, dict[str, float]]]:
    return json.loads(FILE.read_text(encoding="utf-8"))["scores"]
