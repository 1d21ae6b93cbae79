"""Scores with their intervals as text, and Markdown tables."""

from collections.abc import Mapping, Sequence
from typing import Any


def shown(x: Mapping[str, Any] | None) -> str:
    """An interval as text; nothing where there is none."""
    if x is None:
        return ""
    ends = "" if x["low"] is None else f" [{plain(x['low'])}, {plain(x['high'])}]"
    return plain(x["estimate"]) + ends


def plain(score: float) -> str:
    """A score with one figure after the point where it has few before it."""
    return f"{score:.0f}" if abs(score) >= 100 else f"{score:.1f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
