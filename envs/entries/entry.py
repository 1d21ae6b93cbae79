"""What an entry of the catalogue says about one id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from envs.schedules import Choice, Uniform

SIGNS = Choice((-1.0, 1.0))


@dataclass(frozen=True)
class Entry:
    """One id of the catalogue.

    Attributes:
        base: the Gymnasium id whose environment drifts.
        summary: one sentence.
        train: where the values of each drifting parameter come from in training.
        held_out: the same for judging: outside the training range, except signs and what is constant.
        sensors: which entries of the base environment's observation are seen; None: all. Where one clean transition
            tells the context, no memory is needed, so defaults leave out velocities or have sensor noise, as real
            plants do.
        change_scale: scale of the change in TransitionObservation, which makes it of order one.
        source: where the ranges come from.
        extra: the extra of memagent that brings the base environment; "" where none is needed.
        shown: whether a short training shows that it harms not to be told the context (python -m benchmarks.controls).
        arguments: of the base environment, that another entry of this id may have otherwise.
        given: the entry with other `arguments`; None where there are none.
    """

    base: str
    summary: str
    train: Mapping[str, Choice | Uniform]
    held_out: Mapping[str, Choice | Uniform]
    sensors: tuple[int, ...] | None = None
    change_scale: float | tuple[float, ...] = 10.0
    source: str = ""
    extra: Literal["", "box2d", "mujoco"] = ""
    shown: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    given: Callable[..., Entry] | None = None


def between(*intervals: tuple[float, float]) -> Uniform:
    """Uniform in the intervals."""
    return Uniform(intervals)


def always(value: float) -> Choice:
    """The same value in every context."""
    return Choice((value,))
