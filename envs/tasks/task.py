"""What a task declares: its environment, its plant, its dynamics in a batch, and its ids in the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium as gym

from envs.plants import BatchedDynamics, Plant
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
            shows the context, no memory is needed, so defaults leave out velocities or have sensor noise, as real
            plants do.
        change_scale: scale of the change in TransitionObservation, which makes it of order one.
        source: where the ranges come from.
        extra: the extra of memagent that brings the base environment; "" where none is needed.
        shown: whether a short training shows that hiding the context costs return (python -m benchmarks.controls).
        arguments: those of the base environment that may be given to the id, with their defaults.
        given: makes the entry of other `arguments`; None where there are none.
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


@dataclass(frozen=True)
class ProbeEntry:
    """One probe.

    Attributes:
        env: the environment, its difficulty given by arguments.
        summary: one sentence.
    """

    env: Callable[..., gym.Env]
    summary: str


@dataclass(frozen=True)
class Base:
    """A Gymnasium id of ours, without drift.

    Attributes:
        entry_point: "module:Class".
        max_episode_steps: the time limit.
        kwargs: of the class.
    """

    entry_point: str
    max_episode_steps: int
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One kind of environment that can drift.

    Attributes:
        env: the environment's class, "package:Class"; its module lies in that package. It is found by name, so that
            optional packages are imported by those alone who have them.
        plant: its physical parameters, or a function that makes the plant of an environment.
        documented: the id of an environment of this kind, whose parameters the page lists; "" for none.
        bases: our own Gymnasium ids, without drift.
        entries: its ids in the catalogue.
        dynamics: for many at once; None where they have no batched form.
    """

    env: str
    plant: Plant | Callable[[Any], Plant]
    documented: str = ""
    bases: Mapping[str, Base] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)
    dynamics: BatchedDynamics | None = None

    def describes(self, kind: type) -> bool:
        """Whether this is the task of a class, subclasses not included."""
        package, name = self.env.split(":")
        return kind.__name__ == name and f"{kind.__module__}.".startswith(f"{package}.")

    def plant_of(self, env: gym.Env) -> Plant:
        """The plant of an unwrapped environment of this kind."""
        return self.plant if isinstance(self.plant, Plant) else self.plant(env)


def between(*intervals: tuple[float, float]) -> Uniform:
    """Uniform in the intervals."""
    return Uniform(intervals)


def always(value: float) -> Choice:
    """The same value in every context."""
    return Choice((value,))
