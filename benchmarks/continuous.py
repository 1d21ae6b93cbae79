"""Does memory alone, without adaptation, pay on continuous tasks that drift, and against what others wrote?

    python -m benchmarks.continuous

trains every agent on every task (three seeds, or `--seeds`), two runs at a time on one core each, and keeps results in
benchmarks/results/continuous.json, continuous.md (tables) and continuous.png (learning curves). Runs that are there
already are not repeated; `--again` does so.

Tasks: three that drift, on contexts held still and after changes within episodes; the pendulum that does not drift,
beside SB3's SAC; and how many steps a second training makes. All agents of ours are MemorySAC with the catalogue's
preset, without adaptation (benchmarks.adaptation adds it), judged by their best actions and by actions sampled as in
training, on the same weights; "oracle" has no memory and is told the context.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

import envs
from benchmarks.continuous_tables import SAMPLED, summarise, tables
from benchmarks.rivals import RIVALS, training
from benchmarks.runs import (
    EVALUATION,
    Curve,
    Key,
    Run,
    Wanted,
    command_line,
    complete,
    figure,
    judge,
    load,
    machine,
    refuse_unknown,
    train,
    write,
)
from evaluate import choose_contexts
from memagent.agents import MemoryAlgorithm
from memagent.evaluation.figures import png
from memagent.evaluation.players import PredictPlayer, RandomPlayer
from memagent.evaluation.protocol import Context, Player
from memagent.memory import MemoryConfig
from memagent.memory.config import MemoryKind
from memagent.presets import preset_settings
from memagent.run_config import RunConfig, preset_config
from memagent.runs import make_agent

RESULTS = Path(__file__).parent / "results" / "continuous.json"
STEPS = dict.fromkeys(("Drift/Pendulum-v0", "Drift/PointWind-v0", "Drift/PointGoal-v0"), 60_000)
PLAIN, PLAIN_STEPS, PLAIN_SEEDS = "Pendulum-v1", 20_000, 5
SPEED, SPEED_STEPS = "throughput", 8_192
SEGMENT, BIN = 100, 5  # steps watched after a change within an episode, and how many make one number

MakePlayer = Callable[[int], Player]


@dataclass(frozen=True)
class Ours:
    """One of our agents: its memory, and what its environments are asked for."""

    kind: MemoryKind
    options: dict[str, Any] = field(default_factory=dict)

    def config(self, task: str, seed: int = 0) -> RunConfig:
        """The preset with this agent's memory. The plain pendulum has the drifting one's."""
        config = preset_config(task, preset_settings("Drift/Pendulum-v0" if task == PLAIN else task))
        return replace(
            config,
            seed=seed,
            device="cpu",
            total_timesteps=STEPS.get(task, PLAIN_STEPS),
            memory=MemoryConfig(kind=self.kind),
            adapt=replace(config.adapt, enabled=False),
            evaluation=EVALUATION,
        )


WITHIN = {"schedule": "random", "change_at": "step", "phase_steps": 100}
OURS = {
    "dnc": Ours("dnc"),
    "lstm": Ours("lstm"),
    "none": Ours("none"),
    "oracle": Ours("none", {"observe_context": True}),
    "dnc, changes within episodes": Ours("dnc", WITHIN),
}
AGENTS: dict[str, list[str]] = {
    **{task: ["random", *OURS, *RIVALS] for task in STEPS},
    PLAIN: ["dnc", "none", "SB3 SAC"],
    SPEED: ["dnc", "lstm", "none", "RecurrentPPO"],
}


@dataclass(frozen=True)
class Options(Wanted):
    """Train and judge what is missing, then write summary, tables and picture."""

    seeds: int = 3
    """Seeds 0, 1, … of every agent on the tasks that drift."""
    tasks: tuple[str, ...] = tuple(AGENTS)
    """Tasks to run."""
    agents: tuple[str, ...] = ()
    """Agents to run; none: all of them."""


def main(options: Options) -> None:
    """Run what is missing, then summarise."""
    refuse_unknown(options.tasks, options.agents, AGENTS)
    runs: dict[Key, Run] = {(r["task"], r["agent"], r["seed"]): r for r in load(RESULTS)["runs"]}
    wanted: list[Key] = [
        (task, agent, seed)
        for seed in range(max(options.seeds, PLAIN_SEEDS))  # one seed of everything before the next
        for task in options.tasks
        for agent in AGENTS[task]
        if not options.agents or agent in options.agents
        if seed < seeds_of(task, agent, options.seeds)
    ]
    complete("benchmarks.continuous", wanted, runs, options.workers, save, options.again)
    print(tables(load(RESULTS)["summary"]))


def seeds_of(task: str, agent: str, seeds: int) -> int:
    """How many seeds there are of an agent on a task."""
    return 1 if agent == "random" or task == SPEED else PLAIN_SEEDS if task == PLAIN else seeds


def run(task: str, name: str, seed: int) -> Run:
    """Train one agent and judge it."""
    if task == SPEED:
        return {"task": task, "agent": name, "seed": seed, **speed(name)}
    ours, rival = OURS.get(name), RIVALS.get(name)
    trained: Run = {"steps": 0, "updates": 0, "train_seconds": 0.0, "curve": None}
    if ours:
        config = ours.config(task, seed)
        agent = make_agent(config, envs.make_vec(task, config.num_envs, seed, **ours.options))
        trained = watched(agent, config.total_timesteps)
    elif rival:
        agent = training(rival, task, seed)  # type: ignore[assignment]  # ours or theirs
        trained = watched(agent, STEPS.get(task, PLAIN_STEPS))

    def make_env(num_envs: int, **options: Any) -> VecEnv:
        if name == "oracle":
            options["observe_context"] = True
        env = envs.make_vec(task, num_envs, EVALUATION.seed, **options)
        return rival.sees(env) if rival else env

    def make_player(num_envs: int, _: bool = False, sample_with: np.random.Generator | None = None) -> Player:
        if ours:
            assert isinstance(agent, MemoryAlgorithm)
            return agent.make_acting(num_envs, sample_with=sample_with)
        if rival:
            return PredictPlayer(agent, num_envs)
        return RandomPlayer(make_env(1).action_space, num_envs, seed)

    def make_sampling_player(num_envs: int, _: bool) -> Player:
        return make_player(num_envs, sample_with=np.random.default_rng(EVALUATION.seed))

    contexts = contexts_of(task)
    judged = judge(contexts, EVALUATION, make_env, make_player, adapts=False)
    sampled = judge(contexts, EVALUATION, make_env, make_sampling_player, adapts=False) if ours else None
    after = None if task == PLAIN else after_changes(make_env, make_player)
    return {
        "task": task,
        "agent": name,
        "seed": seed,
        **trained,
        "contexts": judged,
        SAMPLED: sampled,
        "after_changes": after,
    }


def watched(agent: BaseAlgorithm, steps: int) -> Run:
    """Let an agent learn; what it took, and the returns on the way."""
    curve = Curve()
    return train(agent, steps, curve) | {"curve": curve.binned()}


def contexts_of(task: str) -> list[Context]:
    """What agents are judged on: contexts of both ranges; of the plain pendulum as many starts."""
    if task == PLAIN:
        return [Context(i, "train", {}) for i in range(EVALUATION.contexts)]
    return choose_contexts(replace(RunConfig(env=task), evaluation=EVALUATION))


def after_changes(
    make_env: Callable[..., VecEnv],
    make_player: MakePlayer,
    num_envs: int = 16,
    steps: int = 1_000,
) -> list[list[float]]:
    """Rewards of the SEGMENT steps after every change in the middle of an episode, [changes, SEGMENT / BIN] means.

    The context changes every 300 steps of episodes of 200: halfway through an episode, or (left out) between two. The
    changes are the same for every agent.
    """
    env = make_env(num_envs, change_at="step", phase_steps=300)
    player = make_player(num_envs)
    rewards, changed, ended = (np.zeros((steps, num_envs)) for _ in range(3))
    obs = env.reset()
    for t in range(steps):
        assert isinstance(obs, np.ndarray)
        action = player.act(obs)
        obs, rewards[t], ended[t], infos = env.step(action)
        player.observe(action, rewards[t], ended[t].astype(bool), infos)
        changed[t] = [info["phase_changed"] for info in infos]
    env.close()
    return [
        rewards[t : t + SEGMENT, e].reshape(-1, BIN).mean(1).round(3).tolist()
        for e in range(num_envs)
        for t in np.flatnonzero(changed[:, e])
        if t + SEGMENT <= steps and not ended[t - 1, e] and not ended[t : t + SEGMENT - 1, e].any()
    ]


def speed(name: str) -> Run:
    """Environment steps a second of training on the drifting pendulum, 16 environments, one core, once warm."""
    task = "Drift/Pendulum-v0"
    env = envs.make_vec(task, 16, 0)
    agent: BaseAlgorithm = (
        make_agent(OURS[name].config(task), env) if name in OURS else RIVALS[name].make(env, 0)
    )
    agent.learn(4_096)
    before, began = agent.num_timesteps, time.perf_counter()
    agent.learn(SPEED_STEPS, reset_num_timesteps=False)
    seconds = time.perf_counter() - began
    rate = round((agent.num_timesteps - before) / seconds, 1)
    return {"steps": SPEED_STEPS, "train_seconds": round(seconds, 1), "steps_per_second": rate}


def save(runs: list[Run]) -> None:
    """Write results, tables and picture."""
    order = {(task, agent): i for i, (task, agent) in enumerate((t, a) for t in AGENTS for a in AGENTS[t])}
    ordered = sorted(runs, key=lambda r: (order[r["task"], r["agent"]], r["seed"]))
    summary = summarise(ordered, BIN)
    ours = {task: {name: settings(agent, task) for name, agent in OURS.items()} for task in STEPS}
    data = {
        "command": "python -m benchmarks.continuous",
        "machine": machine(),
        "settings": ours | {name: dict(rival.settings) for name, rival in RIVALS.items()},
        "summary": summary,
    }
    write(RESULTS, data, ordered)
    RESULTS.with_suffix(".md").write_text(tables(summary))
    RESULTS.with_suffix(".png").write_bytes(png(figure(ordered, [*OURS, *RIVALS], STEPS)))


def settings(agent: Ours, task: str) -> dict[str, Any]:
    """Every setting, but for the folder, and what its environments were asked for."""
    config = {k: v for k, v in asdict(agent.config(task)).items() if k != "run_dir"}
    return config | {"environment_options": agent.options}


if __name__ == "__main__":
    command_line(main, run, Options, __doc__)
