"""Does each default drift matter? An agent that is told the context against the same agent that is not.

    python -m benchmarks.controls

trains SB3's SAC (continuous actions) or DQN (discrete ones) on every id of the catalogue, briefly, with and without the
context in its observation, two runs at a time on one core each, and keeps the results in
benchmarks/results/controls.json and controls.md. Runs that are there already are not repeated; `--again` does so.

Both agents see the last transition. Who is told of a reversed actuator has its actions turned back, and so need not
learn everything twice. They are judged as they act in training: a greedy DQN can stand still for ever. A drift matters
where the agent that is not told loses at least `ENOUGH` of what the told one is above random actions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

import envs
from benchmarks.aids import PaidSpeed, SignUndone
from benchmarks.runs import (
    Curve,
    Key,
    Run,
    Wanted,
    command_line,
    complete,
    judge,
    load,
    machine,
    rounded,
    scores,
    write,
)
from evaluate import choose_contexts
from memagent.evaluation.intervals import interval
from memagent.evaluation.players import PredictPlayer, RandomPlayer
from memagent.evaluation.protocol import Context, Player
from memagent.run_config import EvaluationConfig, RunConfig

RESULTS = Path(__file__).parent / "results" / "controls.json"
EVALUATION = EvaluationConfig(contexts=16, episodes=3, warmup_episodes=0, seed=1_000)
NUM_ENVS = 8
AGENTS = ("random", "not told", "told")
ENOUGH = 0.3


@dataclass(frozen=True)
class Control:
    """A short training: environment steps, and SB3's settings where they are not those of `SAC_QUICK`, `DQN_QUICK`."""

    steps: int = 40_000
    settings: Mapping[str, Any] = field(default_factory=dict)
    speed_pay: float = 0.0
    """Paid in training, not in judging, for every m/s of the car in the valley: it leads to a goal that random actions
    do not find."""


def net(*units: int) -> dict[str, Any]:
    """Hidden layers."""
    return {"net_arch": list(units)}


# One update of 256 transitions for every 4 steps, where nothing else is said.
SAC_QUICK: dict[str, Any] = {
    "learning_rate": 1e-3,
    "gamma": 0.97,
    "gradient_steps": 2,
    "policy_kwargs": net(128, 128),
}
DQN_QUICK: dict[str, Any] = {
    "learning_rate": 1e-3,
    "batch_size": 128,
    "buffer_size": 100_000,
    "learning_starts": 1_000,
    "target_update_interval": 1_000,
    "train_freq": 4,
    "gradient_steps": 8,
    "exploration_fraction": 0.2,
    "policy_kwargs": net(128, 128),
}
SLOW: dict[str, Any] = {"gamma": 0.99, "learning_rate": 7.3e-4}
# RL Baselines3 Zoo's settings for DQN on Acrobot and LunarLander, and on MountainCar, in fewer environment steps
ZOO_DQN: dict[str, Any] = {
    "learning_rate": 6.3e-4,
    "target_update_interval": 250,
    "gradient_steps": 32,
    "exploration_fraction": 0.12,
    "exploration_final_eps": 0.1,
    "policy_kwargs": net(256, 256),
}
MOUNTAIN_CAR_DQN: dict[str, Any] = {
    "learning_rate": 4e-3,
    "gamma": 0.98,
    "target_update_interval": 600,
    "gradient_steps": 16,
    "exploration_final_eps": 0.07,
    "policy_kwargs": net(256, 256),
}

CONTROLS: dict[str, Control] = {
    "Drift/CartPole-v0": Control(80_000),
    "Drift/Pendulum-v0": Control(),
    "Drift/Acrobot-v0": Control(60_000, ZOO_DQN),
    "Drift/MountainCar-v0": Control(60_000, MOUNTAIN_CAR_DQN, speed_pay=10.0),
    "Drift/MountainCarContinuous-v0": Control(30_000, {"gamma": 0.99}, speed_pay=5.0),
    "Drift/PointWind-v0": Control(),
    "Drift/PointGoal-v0": Control(),
    "Drift/PointGoals-v0": Control(),
    "Drift/LunarLander-v0": Control(100_000, ZOO_DQN),
    "Drift/LunarLanderContinuous-v0": Control(50_000, SLOW),
    "Drift/InvertedPendulum-v0": Control(40_000, {"gamma": 0.99}),
    "Drift/Hopper-v0": Control(50_000, SLOW),
    "Drift/Walker2d-v0": Control(50_000, SLOW),
    "Drift/HalfCheetah-v0": Control(40_000, SLOW),
    "Drift/HalfCheetahVel-v0": Control(40_000, SLOW),
    "Drift/Ant-v0": Control(80_000, SLOW),
}


@dataclass(frozen=True)
class Options(Wanted):
    """Train and judge what is missing, then write summary and table."""

    seeds: int = 2
    """Seeds 0, 1, … of every agent on every id."""
    ids: tuple[str, ...] = tuple(CONTROLS)
    """Ids to run."""


def main(options: Options) -> None:
    """Run what is missing, then summarise."""
    if unknown := set(options.ids) - set(CONTROLS):
        raise SystemExit(f"There is no {', '.join(sorted(unknown))}; there are {', '.join(CONTROLS)}.")
    runs: dict[Key, Run] = {(r["id"], r["agent"], r["seed"]): r for r in load(RESULTS)["runs"]}
    wanted: list[Key] = [
        (name, agent, seed)
        for name in options.ids
        for agent in AGENTS
        for seed in range(1 if agent == "random" else options.seeds)
    ]
    complete("benchmarks.controls", wanted, runs, options.workers, save, options.again)
    print(table(load(RESULTS)["summary"]))


def run(name: str, agent_name: str, seed: int, steps: int | None = None) -> Run:
    """Train one agent, for the steps of its control where no others are given, and judge it."""

    def make_env(num_envs: int, seed: int = EVALUATION.seed) -> VecEnv:
        told = agent_name == "told"
        env = envs.make_vec(name, num_envs, seed, observe_context=told)
        return SignUndone(env, name) if told and SignUndone.fits(name) else env

    done: Run = {
        "id": name,
        "agent": agent_name,
        "seed": seed,
        "steps": 0,
        "train_seconds": 0.0,
        "curve": None,
    }
    agent: BaseAlgorithm | None = None
    if agent_name != "random":
        agent = make_agent(name, PaidSpeed(make_env(NUM_ENVS, seed), CONTROLS[name].speed_pay), seed)
        curve, began = Curve(), time.perf_counter()
        agent.learn(CONTROLS[name].steps if steps is None else steps, curve)
        done["steps"], done["updates"] = agent.num_timesteps, agent._n_updates
        done["train_seconds"] = round(time.perf_counter() - began, 1)
        done["curve"] = curve.binned() if curve.episodes else None

    def make_player(num_envs: int, adapted: bool) -> Player:
        return (
            RandomPlayer(make_env(1).action_space, num_envs, seed)
            if agent is None
            else PredictPlayer(agent, num_envs, deterministic=False)
        )

    return done | {"contexts": judge(contexts_of(name), EVALUATION, make_env, make_player, adapts=False)}


def make_agent(name: str, env: VecEnv, seed: int) -> SAC | DQN:
    """SB3's agent for the action space of an id."""
    continuous = isinstance(env.action_space, spaces.Box)
    settings = (SAC_QUICK if continuous else DQN_QUICK) | dict(CONTROLS[name].settings)
    apart = int(np.random.SeedSequence(seed).generate_state(1)[0])  # SB3 gives environment i seed + i
    kind = SAC if continuous else DQN
    return kind("MlpPolicy", env, seed=apart, device="cpu", **settings)


def contexts_of(name: str) -> list[Context]:
    """Contexts of the training ranges: the control asks what agents were trained for."""
    chosen = choose_contexts(replace(RunConfig(env=name), evaluation=EVALUATION))
    return [context for context in chosen if context.split == "train"]


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """For every id the score of each agent, what of it hangs on the context, and whether that is enough."""
    summary: dict[str, Any] = {}
    for name in CONTROLS:
        mine = {agent: [r for r in runs if r["id"] == name and r["agent"] == agent] for agent in AGENTS}
        if not all(mine.values()):
            continue
        of = {agent: scores(mine[agent], "train", False) for agent in AGENTS}
        random, untold, told = (float(of[agent].mean()) for agent in AGENTS)
        share = (told - untold) / (told - random) if told > random else 0.0
        summary[name] = {
            "steps": mine["told"][0]["steps"],
            "seeds": len(mine["told"]),
            **{agent: rounded(interval(of[agent])) for agent in AGENTS},
            "share_of_the_context": round(share, 2),
            "matters": share >= ENOUGH,
        }
    return summary


def table(summary: Mapping[str, Any]) -> str:
    """The summary as a Markdown table."""
    text = (
        "Mean returns of SB3's SAC or DQN over training contexts, told the context and not, with 95 % intervals. "
        "Share: of what the told one is above random actions, what the other lacks; less than "
        f"{100 * ENOUGH:.0f} % is too little. Made by `python -m benchmarks.controls`."
    )
    lines = [
        text,
        "",
        "| id | steps | random | not told | told | share of the context |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in summary.items():
        numbers = " | ".join(_shown(entry[agent]) for agent in AGENTS)
        share = f"{entry['share_of_the_context']:.0%}" + ("" if entry["matters"] else ", too little")
        lines.append(f"| `{name}` | {entry['steps']:,} | {numbers} | {share} |")
    return "\n".join(lines) + "\n"


def _shown(score: Mapping[str, Any]) -> str:
    ends = "" if score["low"] is None else f" [{score['low']:g}, {score['high']:g}]"
    return f"{score['estimate']:g}{ends}"


def save(runs: list[Run]) -> None:
    """Write results and table."""
    order = {key: i for i, key in enumerate((name, agent) for name in CONTROLS for agent in AGENTS)}
    ordered = sorted(runs, key=lambda r: (order[r["id"], r["agent"]], r["seed"]))
    summary = summarise(ordered)
    data = {
        "command": "python -m benchmarks.controls",
        "machine": machine(),
        "settings": {
            "SAC": SAC_QUICK,
            "DQN": DQN_QUICK,
            **{name: asdict(control) for name, control in CONTROLS.items()},
        },
        "summary": summary,
    }
    write(RESULTS, data, ordered)
    RESULTS.with_suffix(".md").write_text(table(summary))


if __name__ == "__main__":
    command_line(main, run, Options, __doc__)
