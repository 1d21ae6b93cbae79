"""The ids: registration, the environment and the default drift of an entry, contexts to judge on.

An entry of a task (`envs.tasks`) is a few lines: a base environment, the range of every drifting parameter, and
held-out ranges that lie outside them. `schedule` turns the ranges into a drift:

    "draw"    a new random context per phase of `phase_steps` steps;
    "random"  the same at memoryless times, `phase_steps` apart on average;
    "cycle"   `num_contexts` contexts, signs balanced, that come round in turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import gymnasium as gym
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator
from gymnasium.wrappers import HumanRendering, RenderCollection

from envs.drift import ChangeAt, Context, Drift
from envs.plants.mujoco import without_deprecations
from envs.schedules import Choice, Distribution, Geometric, Periodic, Uniform
from envs.tasks import BASES, CATALOGUE, PROBES, Entry
from envs.wrappers import DriftingEnv, Sensors, TransitionObservation

__all__ = [
    "BASES",
    "CATALOGUE",
    "PROBES",
    "Entry",
    "Schedule",
    "Split",
    "canonical_id",
    "contexts",
    "default_drift",
    "make",
    "make_probe",
    "register",
]

Schedule = Literal["draw", "random", "cycle"]
Split = Literal["train", "held_out"]


def register() -> None:
    """Registers every id with Gymnasium; a second call does nothing."""
    for name, base in BASES.items():
        if name not in gym.registry:
            gym.register(
                name, base.entry_point, max_episode_steps=base.max_episode_steps, kwargs=dict(base.kwargs)
            )
    for name, entry in CATALOGUE.items():
        if name not in gym.registry:
            limit = gym.spec(entry.base).max_episode_steps
            gym.register(name, "envs.catalogue:make", max_episode_steps=limit, kwargs={"name": name})
    for name in PROBES:
        if name not in gym.registry:
            gym.register(name, "envs.catalogue:make_probe", kwargs={"name": name})


def canonical_id(name: str) -> str:
    """The catalogue's id that is spelt in one of Gymnasium's ways, as envs:Drift/CartPole-v0 or Drift/CartPole is."""
    module, _, bare = name.rpartition(":")
    if module not in ("", "envs"):
        return name
    return next(
        (known for known in (*CATALOGUE, *PROBES) if bare in (known, known.rpartition("-v")[0])), name
    )


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
    lifetime: int | None = None,
    render_mode: str | None = None,
    **arguments: Any,
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
        lifetime: seed of the drift alone, as in DriftingEnv.
        render_mode: as in Gymnasium.
        arguments: of the base environment, where the entry has any.
    """
    entry = _entry(name, arguments)
    if drift is None:
        drift = default_drift(name, schedule, phase_steps, num_contexts, change_at, **arguments)
    made = _make_base(name, render_mode, **entry.arguments)
    base = made.unwrapped
    env: gym.Env = DriftingEnv(base, drift, seed, lifetime=lifetime, observe_context=observe_context)
    oracle = spaces.flatdim(env.observation_space) - spaces.flatdim(base.observation_space)
    if entry.sensors is not None:
        end = spaces.flatdim(env.observation_space)
        env = Sensors(env, (*entry.sensors, *range(end - oracle, end)))
    if transition_observation:
        scale = entry.change_scale if change_scale is None else change_scale
        if change_scale is None and isinstance(scale, tuple):
            scale = (*scale, *[1.0] * oracle)
        env = TransitionObservation(env, scale)
    # Where Gymnasium has a mode that the base has not made of another, it does so around the base.
    around = (kind for kind in (HumanRendering, RenderCollection) if isinstance(made, kind))
    for kind in around:
        env = kind(env)
    return env


def _make_base(name: str, render_mode: str | None, **arguments: Any) -> gym.Env:
    """The base environment as Gymnasium makes it, with its wrappers.

    Raises:
        UnsupportedMode: it cannot be rendered so.
        DependencyNotInstalled: of an extra that is missing.
    """
    entry = _entry(name)
    try:
        spec = gym.spec(entry.base)
        if render_mode is not None:
            assert isinstance(spec.entry_point, str)
            creator: Any = load_env_creator(spec.entry_point)  # the class
            _check_mode(name, render_mode, creator.metadata["render_modes"])
        with without_deprecations(entry.extra):
            return gym.make(spec, render_mode=render_mode, disable_env_checker=True, **arguments)
    except gym.error.DependencyNotInstalled as missing:
        raise gym.error.DependencyNotInstalled(
            f"{name} needs the extra {entry.extra}: pip install 'memagent[{entry.extra}]'."
        ) from missing


def _check_mode(name: str, render_mode: str, native: Sequence[str]) -> None:
    """Refuses a mode that Gymnasium cannot make of the native ones either."""
    human = ["human"] if {"rgb_array", "rgb_array_list"} & set(native) else []
    lists = [f"{mode}_list" for mode in native if mode != "human" and not mode.endswith("_list")]
    modes = list(dict.fromkeys([*native, *human, *lists]))
    if render_mode not in modes:
        raise gym.error.UnsupportedMode(
            f"{name} has no render_mode {render_mode!r}: expected {', '.join(['None', *modes])}."
        )


def make_probe(
    name: str, *, transition_observation: bool = True, render_mode: str | None = None, **kwargs: Any
) -> gym.Env:
    """A memory probe, as gym.make builds it; there is nothing to see of it. Further arguments are the probe's own."""
    if render_mode is not None:
        _check_mode(name, render_mode, [])
    env = PROBES[name].env(**kwargs)
    return TransitionObservation(env, 1.0) if transition_observation else env


def default_drift(
    name: str,
    schedule: Schedule = "draw",
    phase_steps: int = 1_000,
    num_contexts: int = 4,
    change_at: ChangeAt = "episode_end",
    **arguments: Any,
) -> Drift:
    """The drift that an id has with these settings, see `make`."""
    sources = _entry(name, arguments).train
    if schedule not in get_args(Schedule):
        raise ValueError(f'schedule={schedule!r}: expected "draw", "random" or "cycle".')
    if schedule == "random":
        return Drift.draws(sources, Geometric(phase_steps), change_at=change_at)
    if schedule == "draw":
        return Drift.draws(sources, Periodic(phase_steps), change_at=change_at)
    return Drift.draws(_balanced(sources), Periodic(phase_steps), recurring=num_contexts, change_at=change_at)


def contexts(
    name: str, split: Split = "train", count: int = 8, seed: int = 0, **arguments: Any
) -> list[Context]:
    """Contexts to judge an agent on: a pure function of the arguments, those of the base environment included.

    Signs, and the sides below and above the training range, come equally often (to within one); the first contexts
    of a longer list are those of a shorter one.
    """
    entry = _entry(name, arguments)
    if split not in get_args(Split):
        raise ValueError(f'split={split!r}: expected "train" or "held_out".')
    sources = _balanced(entry.train if split == "train" else entry.held_out)
    return [{p: source.draw(seed, f"{split}/{p}", i) for p, source in sources.items()} for i in range(count)]


def _balanced(sources: Mapping[str, Choice | Uniform]) -> dict[str, Distribution]:
    return {name: replace(source, balanced=True) for name, source in sources.items()}


def _entry(name: str, arguments: Mapping[str, Any] | None = None) -> Entry:
    if name not in CATALOGUE:
        raise ValueError(f"{name!r} is not in the catalogue: expected one of {', '.join(CATALOGUE)}.")
    entry = CATALOGUE[name]
    if not arguments:
        return entry
    if entry.given is None or not arguments.keys() <= entry.arguments.keys():
        known = (
            f"expected {', '.join(entry.arguments)} alone" if entry.arguments else "it takes none of its own"
        )
        raise TypeError(f"{name} got the arguments {', '.join(arguments)}: {known}.")
    return entry.given(**arguments)
