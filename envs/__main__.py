"""`python -m envs` lists the catalogue: ids, drifting parameters, units, training and held-out ranges."""

from __future__ import annotations

import sys

import gymnasium as gym

from envs.catalogue import CATALOGUE, Entry
from envs.schedules import Choice, Uniform


def describe(name: str, entry: Entry) -> str:
    """A few lines about one id."""
    with gym.make(name) as env:
        known = env.get_wrapper_attr("parameters")
    lines = [f"{name}  (from {entry.base})", f"  {entry.summary}"]
    for parameter, source in entry.train.items():
        ranges = f"{_values(source):16} | {_values(entry.held_out[parameter])}"
        lines.append(f"  {parameter:14} {known[parameter].unit:6} {ranges}")
    return "\n".join(lines)


def _values(source: Choice | Uniform) -> str:
    if isinstance(source, Choice):
        return "{" + ", ".join(f"{value:g}" for value in source.values) + "}"
    return ", ".join(f"{low:g}–{high:g}" for low, high in source.intervals)


def main() -> None:
    """Prints the catalogue."""
    sys.stdout.write("Drifting parameters: unit, training range | held-out range\n\n")
    sys.stdout.write("\n\n".join(describe(name, entry) for name, entry in CATALOGUE.items()) + "\n")


if __name__ == "__main__":
    main()
