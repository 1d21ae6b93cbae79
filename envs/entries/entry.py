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
        preset: settings of the learner that do better here than its defaults, nested by the name of their section.
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
    preset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def between(*intervals: tuple[float, float]) -> Uniform:
    """Uniform in the intervals."""
    return Uniform(intervals)


def always(value: float) -> Choice:
    """The same value in every context."""
    return Choice((value,))


def many_small_updates(
    reward_scale: float, temperature: float, prediction_steps: int, **learner: Any
) -> dict[str, dict[str, Any]]:
    """A preset for MemorySAC, whose rewards should be of order one once scaled.

    Many updates of few windows, at a rate that falls, bootstrapped from the next step, from memory states that are
    computed anew every 250 updates. Both predictions, the memory's and the dynamics model's, should look far enough
    ahead to see through the sensors' noise, and less far than to what nobody can foresee, such as the next waypoint.
    `learner` has what is otherwise in that section.
    """
    return {
        "learner": {
            "batch_size": 8,
            "steps_per_update": 3,
            "refresh_every": 250,
            "prediction_steps": prediction_steps,
            "reward_scale": reward_scale,
            "gamma": 0.95,
            "tau": 0.005,
            "final_learning_rate": 5e-5,
            **learner,
        },
        "entropy": {"temperature": temperature},
        "replay": {"capacity": 200_000, "rows": 32, "n_step": 1},
        "adapt": {"steps_ahead": prediction_steps},
    }


def many_small_q_updates(**learner: Any) -> dict[str, dict[str, Any]]:
    """A preset for MemoryDQN where episodes take some hundred steps and their returns are of some hundreds.

    As for MemorySAC: many updates of few windows, at a rate that falls. What is tried at random is kept for some steps.
    `learner` has what is otherwise in that section.
    """
    return {
        "learner": {
            "gamma": 0.99,
            "reward_scale": 0.05,
            "tau": 0.01,
            "batch_size": 8,
            "steps_per_update": 4,
            "learning_starts": 1_000,
            "exploration_steps": 4.0,
            "final_learning_rate": 5e-5,
            **learner,
        },
        "replay": {"capacity": 200_000, "rows": 32, "n_step": 4},
    }
