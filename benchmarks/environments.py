"""What drifting environments cost: batched ones against the usual vector environments, the wrapper against the bare.

python -m benchmarks.environments

Random actions; drift, noise, resets and TransitionObservation are included on our side. Everything is timed in turn, in
one process and one thread, by processor time (other programs on the machine count for little): a round has every rival
once, a ratio is the median over rounds of the ratios within one. A step is one of an environment; of vector
environments that reset in a step of its own, those are not counted.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from stable_baselines3.common.vec_env import DummyVecEnv

import envs
from envs.schedules import Periodic, Uniform

RESULTS = Path(__file__).parent / "results" / "environments.json"
ROUNDS = 9
TABLE = 512  # rows of random actions, gone through again and again
PLANT = {
    "force": Uniform(((5.0, 15.0),)),
    "cart_mass": Uniform(((0.5, 2.0),)),
    "half_length": Uniform(((0.25, 1.0),)),
    "gravity": Uniform(((6.0, 14.0),)),
}
Measured = dict[str, list[float]]


@dataclass(frozen=True)
class Options:
    """What drifting environments cost, batched ones and single ones, beside those that do not drift."""

    out: Path = RESULTS
    """File for the results, which replace those that it holds."""


def random_actions(space: gym.Space, num_envs: int) -> np.ndarray:
    """Actions [TABLE, E, …] of environments with this action space."""
    rng = np.random.default_rng(0)
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(space.n, size=(TABLE, num_envs))
    assert isinstance(space, gym.spaces.Box)
    return rng.uniform(space.low, space.high, (TABLE, num_envs, *space.shape)).astype(np.float32)


def vector_rate(vec: Any, actions: np.ndarray, steps: int) -> Callable[[], float]:
    """Runs `steps` steps of a vector environment, goes on at each call; environment steps per second.

    Counting resets would cost as much as the fastest rival does: they are counted in a second, untimed run.
    """

    def run() -> float:
        rows = [actions[t % TABLE] for t in range(steps)]
        begun = time.process_time()
        for row in rows:
            vec.step(row)
        seconds = time.process_time() - begun
        return steps * actions.shape[1] * (1.0 - share_of_resets(vec, rows)) / seconds

    return run


def share_of_resets(vec: Any, rows: Sequence[np.ndarray]) -> float:
    """How many of the steps are resets: of a VectorEnv, which resets in a step of its own."""
    if not isinstance(vec, gym.vector.VectorEnv):
        return 0.0
    resets = 0
    for row in rows:
        result = vec.step(row)
        resets += int(np.count_nonzero(result[2] | result[3]))
    return resets / (len(rows) * len(rows[0]))


def single_cost(env: gym.Env, actions: Any, steps: int) -> Callable[[], float]:
    """Runs `steps` steps of one environment, resets included; µs per step."""

    def run() -> float:
        begun = time.process_time()
        for t in range(steps):
            _, _, terminated, truncated, _ = env.step(actions[t % TABLE])
            if terminated or truncated:
                env.reset()
        return (time.process_time() - begun) / steps * 1e6

    env.reset(seed=0)
    return run


def interleaved(rivals: Mapping[str, Callable[[], float]]) -> Measured:
    """Every rival once a round, after one to warm up: what each measured, round by round."""
    for run in rivals.values():
        run()
    rounds = [{name: run() for name, run in rivals.items()} for _ in range(ROUNDS)]
    return {name: [results[name] for results in rounds] for name in rivals}


def ratio(measured: Measured, name: str, rival: str) -> float:
    """The median over rounds of one rival's figure over another's."""
    return median(a / b for a, b in zip(measured[name], measured[rival], strict=True))


def above(measured: Measured, name: str, bare: str = "bare") -> float:
    """The median over rounds of what one costs more than the bare environment, µs."""
    return median(a - b for a, b in zip(measured[name], measured[bare], strict=True))


def batched(name: str, base: str) -> Measured:
    """The batched form of `name` against the vector environments of its base, environment steps per second."""

    def ready(vec: Any) -> Any:
        vec.reset()
        return vec

    with gym.make(base) as env:
        few, many = (random_actions(env.action_space, n) for n in (16, 1024))
    own = "vector_entry_point" if gym.spec(base).vector_entry_point else "sync"
    return interleaved(
        {
            "dummyvecenv_16": vector_rate(ready(DummyVecEnv([lambda: gym.make(base)] * 16)), few, 200),
            "gymnasium_16": vector_rate(ready(gym.make_vec(base, 16, vectorization_mode=own)), few, 1_000),
            "batched_16": vector_rate(
                ready(envs.make_vec(name, 16, 0, api="gymnasium", batched=True)), few, 5_000
            ),
            "batched_sb3_16": vector_rate(ready(envs.make_vec(name, 16, 0, batched=True)), few, 2_000),
            "batched_1024": vector_rate(
                ready(envs.make_vec(name, 1024, 0, api="gymnasium", batched=True)), many, 1_000
            ),
        }
    )


def wrapped() -> Measured:
    """One CartPole bare, drifting (four plant parameters, new contexts every 1,000 steps) and by NS-Gym: µs a step."""
    drift = envs.Drift.draws(PLANT, Periodic(1_000))
    within = envs.Drift.draws(PLANT, Periodic(1_000), change_at="step")
    actions = random_actions(gym.spaces.Discrete(2), 1)[:, 0].tolist()
    rivals = {
        "bare": gym.make("CartPole-v1"),
        "drifting": envs.DriftingEnv(gym.make("CartPole-v1"), drift, 0),
        "drifting_within_episodes": envs.DriftingEnv(gym.make("CartPole-v1"), within, 0),
        "default": envs.DriftingEnv(gym.make("CartPole-v1"), envs.default_drift("Drift/CartPole-v0"), 0),
    }
    foreign = ns_gym_cartpole()
    if foreign is not None:
        rivals["ns_gym"] = foreign
    return interleaved({name: single_cost(env, actions, 3_000) for name, env in rivals.items()})


def ns_gym_cartpole() -> gym.Env | None:
    """CartPole with four plant parameters drifted by NS-Gym; None where that is not installed."""
    try:
        from ns_gym.schedulers import PeriodicScheduler
        from ns_gym.update_functions import RandomWalk
        from ns_gym.wrappers import NSClassicControlWrapper
    except ImportError:
        return None
    names = ("force_mag", "masscart", "length", "gravity")
    walks = {name: RandomWalk(PeriodicScheduler(period=1_000), sigma=0.01) for name in names}
    return NSClassicControlWrapper(gym.make("CartPole-v1"), walks)


def main(options: Options) -> None:
    """Measure, print, keep."""
    cartpole = batched("Drift/CartPole-v0", "CartPole-v1")
    pendulum = batched("Drift/Pendulum-v0", "Pendulum-v1")
    wrapper = wrapped()
    summary: dict[str, float | None] = {
        "batched_16_vs_dummyvecenv": ratio(cartpole, "batched_16", "dummyvecenv_16"),
        "batched_16_vs_gymnasium": ratio(cartpole, "batched_16", "gymnasium_16"),
        "batched_1024_steps_per_s": median(cartpole["batched_1024"]),
        "wrapper_us_per_step": above(wrapper, "drifting"),
        "ns_gym_us_per_step": above(wrapper, "ns_gym") if "ns_gym" in wrapper else None,
        "sb3_api_16_vs_dummyvecenv": ratio(cartpole, "batched_sb3_16", "dummyvecenv_16"),
        "pendulum_batched_16_vs_dummyvecenv": ratio(pendulum, "batched_16", "dummyvecenv_16"),
        "pendulum_batched_16_vs_gymnasium": ratio(pendulum, "batched_16", "gymnasium_16"),
        "pendulum_batched_1024_steps_per_s": median(pendulum["batched_1024"]),
        "wrapper_within_episodes_us_per_step": above(wrapper, "drifting_within_episodes"),
        "wrapper_default_drift_us_per_step": above(wrapper, "default"),
        "bare_us_per_step": median(wrapper["bare"]),
    }
    result = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, one thread",
        "versions": {"gymnasium": gym.__version__, "numpy": np.__version__},
        "summary": summary,
        "rounds": {
            "cartpole_steps_per_s": cartpole,
            "pendulum_steps_per_s": pendulum,
            "cartpole_us_per_step": wrapper,
        },
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, value in summary.items():
        print(f"{name:36} {'not installed' if value is None else f'{value:,.2f}'}")


if __name__ == "__main__":
    main(tyro.cli(Options))
