"""The ids: base environment, default drift, ranges for training and for judging, registration, contexts.

An entry is a few lines: a base environment, the range of every drifting parameter, and held-out ranges that lie
outside them. `schedule` turns the ranges into a drift:

    "draw"    a new random context per phase of `phase_steps` steps;
    "random"  the same at memoryless times, `phase_steps` apart on average;
    "cycle"   `num_contexts` contexts, signs balanced, that come round in turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import gymnasium as gym
from gymnasium import spaces

from envs.drift import ChangeAt, Context, Drift
from envs.recall import RecallEnv
from envs.schedules import Choice, Geometric, Periodic, Source, Uniform
from envs.sensors import Sensors
from envs.wrappers import DriftingEnv, TransitionObservation

Schedule = Literal["draw", "random", "cycle"]
Split = Literal["train", "held_out"]


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
        preset: settings of the learner that do better here than its defaults, nested by the name of their section.
    """

    base: str
    summary: str
    train: Mapping[str, Choice | Uniform]
    held_out: Mapping[str, Choice | Uniform]
    sensors: tuple[int, ...] | None = None
    change_scale: float | tuple[float, ...] = 10.0
    source: str = ""
    preset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _range(*intervals: tuple[float, float]) -> Uniform:
    return Uniform(intervals)


SIGNS = Choice((-1.0, 1.0))
ENCODER_NOISE = Choice((0.005,))  # m and rad

CATALOGUE: dict[str, Entry] = {
    "Drift/CartPole-v0": Entry(
        base="CartPole-v1",
        summary="Balance a short or long pole on a cart whose push may be reversed, weak or strong, by encoders alone.",
        train={
            "action_sign": SIGNS,
            "force": _range((5.0, 15.0)),
            "half_length": _range((0.25, 1.0)),
            "gravity": _range((6.0, 14.0)),
            "sensor_noise": ENCODER_NOISE,
        },
        held_out={
            "action_sign": SIGNS,
            "force": _range((2.0, 3.5), (16.5, 20.0)),
            "half_length": _range((0.12, 0.2), (1.2, 1.5)),
            "gravity": _range((3.0, 5.0), (16.0, 20.0)),
            "sensor_noise": ENCODER_NOISE,
        },
        sensors=(0, 2),  # encoders: position of the cart (m) and angle of the pole (rad), no velocities
        change_scale=50.0,  # a step is 0.02 s: the change is the velocity
        source="force and lengths after CaDM (Lee et al. 2020), widened, with a hidden action sign",
        preset={
            # The pole falls within 50 steps, the cart leaves its track after some 200: keeping it there takes a long
            # horizon, and values of order one that reach it in few backups.
            "learner": {
                "gamma": 0.995,
                "reward_scale": 0.02,
                "tau": 0.02,
                "batch_size": 8,
                "steps_per_update": 16,
                "final_learning_rate": 5e-5,
            },
            # Everything seen is kept, so that old contexts stay alive; few and short windows buy more updates.
            "replay": {"capacity": 200_000, "support": 16, "query": 16, "n_step": 8},
        },
    ),
    "Drift/Pendulum-v0": Entry(
        base="Pendulum-v1",
        summary="Swing up a rod with a motor of unknown sign and gain, and noisy sensors.",
        train={
            "action_sign": SIGNS,
            "action_gain": _range((0.7, 1.5)),
            "mass": _range((0.7, 1.3)),
            "length": _range((0.7, 1.3)),
            "gravity": _range((8.0, 12.0)),
            "sensor_noise": Choice((0.03,)),
        },
        held_out={
            "action_sign": SIGNS,
            "action_gain": _range((0.55, 0.65), (1.6, 1.8)),
            "mass": _range((0.55, 0.65), (1.35, 1.45)),
            "length": _range((0.55, 0.65), (1.35, 1.45)),
            "gravity": _range((6.0, 7.0), (13.0, 14.0)),
            "sensor_noise": Choice((0.03,)),
        },
        source="mass and length after CaDM (Lee et al. 2020), with a hidden torque gain",
        preset={
            # A step costs up to 16, a whole fall some 300: values of order one, and many small updates.
            "learner": {"reward_scale": 0.02, "tau": 0.02, "batch_size": 8, "steps_per_update": 4},
            "entropy": {"temperature": 0.02},
            "replay": {"capacity": 200_000, "support": 16, "query": 16, "n_step": 1},
        },
    ),
    "Drift/PointWind-v0": Entry(
        base="Base/PointWind-v0",
        summary="Fly from waypoint to waypoint in a hidden wind, by a compass that deviates.",
        train={
            "wind_x": _range((-0.04, 0.04)),
            "wind_y": _range((-0.04, 0.04)),
            "heading": _range((-2.0, -1.2), (-0.4, 0.4), (1.2, 2.0), (2.8, 3.6)),
            "sensor_noise": Choice((0.1,)),
        },
        held_out={
            "wind_x": _range((-0.06, -0.045), (0.045, 0.06)),
            "wind_y": _range((-0.06, -0.045), (0.045, 0.06)),
            "heading": _range((-2.7, -2.2), (-1.0, -0.6), (0.6, 1.0), (2.2, 2.6)),
            "sensor_noise": Choice((0.1,)),
        },
        change_scale=4.0,
        source="wind after Ni et al. 2022, with a hidden heading",
    ),
    "Drift/PointGoal-v0": Entry(
        base="Base/PointGoal-v0",
        summary="Find a platform that cannot be seen, and return to it from wherever one is put down.",
        train={"goal_x": _range((-0.7, 0.7)), "goal_y": _range((-0.7, 0.7))},
        held_out={
            "goal_x": _range((-0.9, -0.75), (0.75, 0.9)),
            "goal_y": _range((-0.9, -0.75), (0.75, 0.9)),
        },
        change_scale=1.0,  # being put down elsewhere is a change of order one
        source="the water maze of Morris 1984",
    ),
}

RECALL = "Memory/Recall-v0"

BASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "Base/PointWind-v0": ("envs.point:PointWindEnv", 200, {}),
    "Base/PointGoal-v0": ("envs.point:PointGoalEnv", 200, {}),
    "Base/HalfCheetahVel-v0": ("envs.cheetah:HalfCheetahVelEnv", 200, {}),
    "Base/LunarLander-v0": ("envs.lander:RecordedLander", 1000, {}),
    "Base/LunarLanderContinuous-v0": ("envs.lander:RecordedLander", 1000, {"continuous": True}),
}
"""Our own base environments, without drift: entry point, time limit, arguments."""


def register() -> None:
    """Registers every id with Gymnasium; a second call does nothing."""
    for base, (entry_point, steps, kwargs) in BASES.items():
        if base not in gym.registry:
            gym.register(base, entry_point, max_episode_steps=steps, kwargs=kwargs)
    for name, entry in CATALOGUE.items():
        if name not in gym.registry:
            steps = gym.spec(entry.base).max_episode_steps
            gym.register(name, "envs.catalogue:make", max_episode_steps=steps, kwargs={"name": name})
    if RECALL not in gym.registry:
        gym.register(RECALL, "envs.catalogue:make_recall")


def make(
    name: str,
    *,
    schedule: Schedule = "draw",
    phase_steps: int = 1_000,
    num_contexts: int = 4,
    change_at: ChangeAt = "episode_end",
    drift: Drift | Mapping[str, Any] | None = None,
    observe_context: bool = False,
    transition_observation: bool = True,
    change_scale: float | Sequence[float] | None = None,
    seed: int | None = None,
    render_mode: str | None = None,
) -> gym.Env:
    """The environment of an id, as gym.make builds it (without the time limit).

    Args:
        name: the id.
        schedule: "draw", "random" or "cycle", see above.
        phase_steps: steps of a phase, or their mean with "random".
        num_contexts: contexts of a "cycle".
        change_at: whether a due change waits for the "episode_end" or takes hold at its "step".
        drift: a Drift of your own, or its JSON form, in place of the four above.
        observe_context: the oracle: appends the context, scaled to its range, to the observation.
        transition_observation: whether the observation shows the last transition.
        change_scale: scale of the change it shows; None for the catalogue's.
        seed: of the first lifetime, as in DriftingEnv.
        render_mode: as in Gymnasium.
    """
    entry = _entry(name)
    if drift is None:
        drift = default_drift(name, schedule, phase_steps, num_contexts, change_at)
    base = gym.make(entry.base, render_mode=render_mode, disable_env_checker=True).unwrapped
    env: gym.Env = DriftingEnv(base, drift, seed, observe_context=observe_context)
    if entry.sensors is not None:
        told = range(spaces.flatdim(base.observation_space), spaces.flatdim(env.observation_space))
        env = Sensors(env, (*entry.sensors, *told))
    if not transition_observation:
        return env
    scale = entry.change_scale if change_scale is None else change_scale
    return TransitionObservation(env, scale)


def make_recall(*, transition_observation: bool = True, **kwargs: Any) -> gym.Env:
    """The memory probe, as gym.make builds it; further arguments are RecallEnv's."""
    env = RecallEnv(**kwargs)
    return TransitionObservation(env, 1.0) if transition_observation else env


def default_drift(
    name: str,
    schedule: Schedule = "draw",
    phase_steps: int = 1_000,
    num_contexts: int = 4,
    change_at: ChangeAt = "episode_end",
) -> Drift:
    """The drift that an id has with these settings, see `make`."""
    sources = _entry(name).train
    if schedule not in get_args(Schedule):
        raise ValueError(f'schedule={schedule!r}: expected "draw", "random" or "cycle".')
    if schedule == "random":
        return Drift.draws(sources, Geometric(phase_steps), change_at=change_at)
    if schedule == "draw":
        return Drift.draws(sources, Periodic(phase_steps), change_at=change_at)
    return Drift.draws(_balanced(sources), Periodic(phase_steps), recurring=num_contexts, change_at=change_at)


def contexts(name: str, split: Split = "train", count: int = 8, seed: int = 0) -> list[Context]:
    """Contexts to judge an agent on: a pure function of the arguments.

    Signs, and the sides below and above the training range, come equally often (to within one); the first contexts
    of a longer list are those of a shorter one.
    """
    entry = _entry(name)
    if split not in get_args(Split):
        raise ValueError(f'split={split!r}: expected "train" or "held_out".')
    sources = _balanced(entry.train if split == "train" else entry.held_out)
    return [{p: source.draw(seed, f"{split}/{p}", i) for p, source in sources.items()} for i in range(count)]


def preset(name: str) -> dict[str, dict[str, Any]]:
    """The learner's settings for an id, nested by section; empty for ids without one and outside the catalogue."""
    return {s: dict(values) for s, values in CATALOGUE[name].preset.items()} if name in CATALOGUE else {}


def _balanced(sources: Mapping[str, Choice | Uniform]) -> dict[str, Source]:
    return {name: replace(source, balanced=True) for name, source in sources.items()}


def _entry(name: str) -> Entry:
    if name not in CATALOGUE:
        raise ValueError(f"{name!r} is not in the catalogue: expected one of {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]
