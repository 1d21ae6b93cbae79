"""Do the defaults learn where nothing drifts? Ours beside SB3's DQN and SAC with the Zoo's settings, at equal steps.

    python -m benchmarks.plain

trains what `train.py --env ID --total-timesteps N` trains, and SB3's agent, on five of Gymnasium's own environments,
and keeps the results in benchmarks/results/plain.json and plain.md. Runs that are there already are not repeated;
`--again` does so. Everybody is judged by its best actions on the same 20 starts.

The rivals' settings are those of RL Baselines3 Zoo of April 2026 (`hyperparams/dqn.yml` and `sac.yml`), in one
environment as there; what they leave out is the library's default. Steps are fewer than there, but on the pendulum.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.base_class import BaseAlgorithm

import envs
from benchmarks.rivals import DQN_SETTINGS, SAC_SETTINGS
from benchmarks.runs import Key, Run, Wanted, command_line, complete, load, machine, refuse_unknown, write
from benchmarks.tables import markdown, plain
from evaluate import make_env
from memagent.agents import MemoryAlgorithm
from memagent.evaluation.players import PredictPlayer
from memagent.evaluation.protocol import play
from memagent.run_config import settings_of
from memagent.runs import make_agent
from train import parse

RESULTS = Path(__file__).parent / "results" / "plain.json"
STARTS, STARTS_SEED = 20, 1_000
HEAD = """# Where nothing drifts

`python -m benchmarks.plain`: returns by the best actions, mean over the same 20 starts. Ours is what `train.py`
trains, SB3's agents have the settings of RL Baselines3 Zoo. Rows and seeds that are missing have not been run.
"""
TUNED_DQN = {
    "learning_rate": 6.3e-4,
    "batch_size": 128,
    "buffer_size": 50_000,
    "learning_starts": 0,
    "gamma": 0.99,
    "target_update_interval": 250,
    "train_freq": 4,
    "gradient_steps": -1,
    "exploration_fraction": 0.12,
    "exploration_final_eps": 0.1,
    "policy_kwargs": {"net_arch": [256, 256]},
}


@dataclass(frozen=True)
class Task:
    """An environment, how long is trained in it, and the rival's settings there."""

    steps: int
    rival: type[BaseAlgorithm]
    settings: dict[str, Any]


TASKS = {
    "CartPole-v1": Task(20_000, DQN, DQN_SETTINGS),
    "Pendulum-v1": Task(20_000, SAC, SAC_SETTINGS),
    "Acrobot-v1": Task(20_000, DQN, TUNED_DQN),
    "MountainCarContinuous-v0": Task(
        20_000,
        SAC,
        {
            "learning_rate": 3e-4,
            "buffer_size": 50_000,
            "batch_size": 512,
            "ent_coef": 0.1,
            "train_freq": 32,
            "gradient_steps": 32,
            "gamma": 0.9999,
            "tau": 0.01,
            "learning_starts": 0,
            "use_sde": True,
            "policy_kwargs": {"log_std_init": -3.67, "net_arch": [64, 64]},
        },
    ),
    "LunarLander-v3": Task(30_000, DQN, TUNED_DQN),
}
OURS = {"memagent": [], "memagent, no memory": ["--memory.kind", "none"]}
"""What the command line of train.py is given beside the environment, the steps and the seed."""
AGENTS = ("SB3", *OURS)


@dataclass(frozen=True)
class Options(Wanted):
    """Train and judge what is missing, then write results and table."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Tasks to run."""
    agents: tuple[str, ...] = AGENTS
    """Agents to run."""


def main(options: Options) -> None:
    """Run what is missing, then show the table."""
    refuse_unknown(options.tasks, options.agents, dict.fromkeys(TASKS, AGENTS))
    runs: dict[Key, Run] = {(r["task"], r["agent"], r["seed"]): r for r in load(RESULTS)["runs"]}
    wanted: list[Key] = [
        (task, agent, seed)
        for seed in range(options.seeds)  # one seed of everything before the next
        for task in options.tasks
        for agent in options.agents
    ]
    complete("benchmarks.plain", wanted, runs, options.workers, save, options.again)
    print(table(list(runs.values())))


def run(task: str, name: str, seed: int) -> Run:
    """Train one agent and judge it."""
    steps = TASKS[task].steps
    agent = make_ours(task, name, seed) if name in OURS else make_rival(TASKS[task], task, seed)
    began = time.perf_counter()
    agent.learn(steps)
    seconds = time.perf_counter() - began
    starts = envs.make_vec(task, STARTS, STARTS_SEED, transition_observation=name in OURS)
    player = agent.make_acting(STARTS) if isinstance(agent, MemoryAlgorithm) else PredictPlayer(agent, STARTS)
    returns = play(starts, player, episodes=1)[:, 0]
    return {
        "task": task,
        "agent": name,
        "seed": seed,
        "steps": agent.num_timesteps,
        "updates": agent._n_updates,
        "train_seconds": round(seconds, 1),
        "mean_return": round(float(returns.mean()), 1),
        "returns": returns.round(1).tolist(),
    }


def make_ours(task: str, name: str, seed: int) -> MemoryAlgorithm:
    """The agent that the command line makes."""
    config = parse(command(task, name, seed))
    return make_agent(config, make_env(config, config.num_envs, config.seed))


def command(task: str, name: str, seed: int) -> list[str]:
    """The arguments of train.py."""
    steps = str(TASKS[task].steps)
    return ["--env", task, "--total-timesteps", steps, "--seed", str(seed), "--device", "cpu", *OURS[name]]


def make_rival(task: Task, name: str, seed: int) -> BaseAlgorithm:
    """SB3's agent, in one environment as it is."""
    env = envs.make_vec(name, 1, seed, transition_observation=False)
    apart = int(np.random.SeedSequence(seed).generate_state(1)[0])
    return task.rival("MlpPolicy", env, seed=apart, device="cpu", **task.settings)


def save(runs: list[Run]) -> None:
    """Write results and table."""
    order = {(task, agent): i for i, (task, agent) in enumerate((t, a) for t in TASKS for a in AGENTS)}
    ordered = sorted(runs, key=lambda r: (order[r["task"], r["agent"]], r["seed"]))
    settings = {
        task: {
            "memagent": settings_of(parse(command(task, "memagent", 0))),
            "SB3": {"algorithm": t.rival.__name__, **t.settings},
        }
        for task, t in TASKS.items()
    }
    write(
        RESULTS,
        {"command": "python -m benchmarks.plain", "machine": machine(), "settings": settings},
        ordered,
    )
    RESULTS.with_suffix(".md").write_text(f"{HEAD}\n{table(ordered)}\n")


def table(runs: list[Run]) -> str:
    """Mean return of every agent on every task, and of each of its seeds."""
    rows = []
    for task, t in TASKS.items():
        for agent in AGENTS:
            mine = sorted(
                (r for r in runs if (r["task"], r["agent"]) == (task, agent)), key=lambda r: r["seed"]
            )
            if not mine:
                continue
            scores = [r["mean_return"] for r in mine]
            rows.append(
                [
                    task,
                    f"SB3 {t.rival.__name__}" if agent == "SB3" else agent,
                    f"{t.steps:,}",
                    plain(float(np.mean(scores))),
                    ", ".join(map(plain, scores)),
                    f"{np.mean([r['updates'] for r in mine]):,.0f}",
                ]
            )
    return markdown(["task", "agent", "steps", "mean return", "of each seed", "updates"], rows)


if __name__ == "__main__":
    command_line(main, run, Options, __doc__)
