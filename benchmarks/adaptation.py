"""Does adaptation pay: with each memory and without one, beside agents trained without it and an oracle?

    python -m benchmarks.adaptation

trains every agent on every task, two runs at a time, and keeps the results in benchmarks/results/adaptation.json,
adaptation.md (tables) and adaptation.png (learning curves). Runs that are there already are not repeated; `--again`
does so. One run: `--tasks Drift/CartPole-v0 --agents dnc --seeds 1`.

"none", "lstm" and "dnc" adapt, as the presets have it; "… without adaptation" are trained without; "dnc, uniform
replay" draws all windows alike; "oracle" has no memory and is told the context. On the continuous tasks that drift the
agents without adaptation and the oracle are the runs that benchmarks.continuous keeps. "ablation" are variants of one
agent on one task; "costs" are the time of an update and of an acting step with adaptation and without.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

import envs
from benchmarks import continuous
from benchmarks.adaptation_tables import ABLATION, COSTS, UNIFORM, summarise, tables, without
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
from memagent import policies
from memagent.agents import MemoryAlgorithm
from memagent.context import AdaptConfig, ContextModel
from memagent.dynamics import Outcomes
from memagent.evaluation.figures import png
from memagent.evaluation.protocol import Context
from memagent.extractor import MemoryExtractor
from memagent.memory import MemoryConfig, State
from memagent.memory.config import MemoryKind
from memagent.meta import MetaConfig
from memagent.presets import preset_settings
from memagent.run_config import RunConfig, preset_config
from memagent.runs import make_agent

RESULTS = Path(__file__).parent / "results" / "adaptation.json"
DRIFTING = ("Drift/CartPole-v0", "Drift/Pendulum-v0", "Drift/PointWind-v0", "Drift/PointGoal-v0")
PLAIN = {"CartPole-v1": "Drift/CartPole-v0", "Pendulum-v1": "Drift/Pendulum-v0"}
"""Environments that do not drift, and whose preset they are trained with."""
STEPS = dict.fromkeys(DRIFTING, 60_000) | dict.fromkeys(PLAIN, 20_000)
ABLATED = "Drift/CartPole-v0"
KINDS: tuple[MemoryKind, ...] = ("none", "lstm", "dnc")


@dataclass(frozen=True)
class Agent:
    """One of our agents: its memory, whether it adapts or is told the context, settings of its own by section, what
    finds its context, and what is told it.
    """

    kind: MemoryKind
    adapts: bool = True
    told: bool = False
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    context_model: type[ContextModel] = ContextModel
    extractor: type[MemoryExtractor] = MemoryExtractor

    def config(self, task: str, seed: int = 0) -> RunConfig:
        """The task's preset, and what this agent has otherwise."""
        config = preset_config(task, preset_settings(PLAIN.get(task, task)))
        config = replace(
            config,
            seed=seed,
            device="cpu",
            total_timesteps=STEPS[task],
            memory=MemoryConfig(kind=self.kind),
            adapt=replace(config.adapt, enabled=self.adapts),
            evaluation=EVALUATION,
        )
        sections = {name: replace(getattr(config, name), **values) for name, values in self.changes.items()}
        return replace(config, **sections)


class EncodedContext(ContextModel):
    """A network makes the context of the same rows, in place of the inner loop: the mean over rows of what it says of
    each (as Rakelly et al. 2019, PEARL, https://arxiv.org/abs/1903.08254, but without sampling).
    """

    def __init__(self, input_dim: int, outcome_dim: int, adapt: AdaptConfig, meta: MetaConfig | None) -> None:
        super().__init__(input_dim, outcome_dim, adapt, meta)
        size = adapt.hidden_size
        self.model.encoder = nn.Sequential(  # a part of the model, so that what trains the model trains it
            nn.Linear(input_dim + outcome_dim, size),
            nn.ReLU(),
            nn.Linear(size, size),
            nn.ReLU(),
            nn.Linear(size, adapt.context_dim),
        )

    def fit(self, support: Outcomes, *, num_steps: int | None = None) -> Tensor:
        rows = torch.cat((support.inputs, support.outcome), -1)
        said = self.model.get_submodule("encoder")(rows)
        counts = support.mask.unsqueeze(-1)  # [K, S, 1]
        return torch.where(counts, said, 0.0).sum(-2) / counts.sum(-2).clamp(min=1)


class ToldBehindMemory(MemoryExtractor):
    """The context stands beside the features, for the heads and the prediction; encoder and memory are not told it."""

    def __init__(
        self, observation_space: spaces.Space, features_dim: int, context_dim: int, **kwargs: Any
    ) -> None:
        super().__init__(observation_space, features_dim - context_dim, **kwargs)
        self._features_dim, self.context_dim = features_dim, context_dim

    def unroll(self, x: Tensor, start: Tensor, state: State) -> tuple[Tensor, State]:
        features, state = super().unroll(x[..., : self.observation_dim], start, state)
        return torch.cat((features, x[..., self.observation_dim :]), -1), state


AGENTS = {
    **{kind: Agent(kind) for kind in KINDS},
    **{without(kind): Agent(kind, adapts=False) for kind in KINDS},
    UNIFORM: Agent("dnc", changes={"replay": {"alpha": 0.0}}),
}
ORACLE = {"oracle": Agent("none", adapts=False, told=True)}
VARIANTS = {
    "second order, 5 steps, 16 numbers": Agent("none"),
    "first order": Agent("none", changes={"meta": {"first_order": True}}),
    "1 step": Agent("none", changes={"meta": {"num_steps": 1}}),
    "10 steps": Agent("none", changes={"meta": {"num_steps": 10}}),
    "4 numbers": Agent("none", changes={"adapt": {"context_dim": 4}}),
    "64 numbers": Agent("none", changes={"adapt": {"context_dim": 64}}),
    "a learned encoder in place of the inner loop": Agent("none", context_model=EncodedContext),
    "told to the heads alone": Agent("none", extractor=ToldBehindMemory),
}
GROUPS: dict[str, dict[str, Agent]] = {
    **dict.fromkeys(DRIFTING, AGENTS | ORACLE),
    **dict.fromkeys(PLAIN, AGENTS),
    ABLATION: VARIANTS,
    COSTS: {kind: Agent(kind) for kind in KINDS},
}


@dataclass(frozen=True)
class Options(Wanted):
    """Train and judge what is missing, then write summary, tables and picture."""

    tasks: tuple[str, ...] = tuple(GROUPS)
    """Tasks to run, "ablation" and "costs" among them."""
    agents: tuple[str, ...] = ()
    """Agents to run; none: all of them."""


def main(options: Options) -> None:
    """Run what is missing, then summarise."""
    refuse_unknown(options.tasks, options.agents, GROUPS)
    runs: dict[Key, Run] = {(r["task"], r["agent"], r["seed"]): r for r in load(RESULTS)["runs"]}
    wanted: list[Key] = [
        (task, agent, seed)
        for seed in range(options.seeds)  # one seed of everything before the next
        for task in options.tasks
        for agent in GROUPS[task]
        if not options.agents or agent in options.agents
        if not borrowed(task, agent)
        if seed == 0 or task != COSTS
    ]
    complete("benchmarks.adaptation", wanted, runs, options.workers, save, options.again)
    print(tables(load(RESULTS)["summary"]))


def borrowed(task: str, name: str) -> bool:
    """Whether benchmarks.continuous has trained this agent."""
    return task in continuous.STEPS and not GROUPS[task][name].adapts


def borrowed_runs() -> list[Run]:
    """The runs of benchmarks.continuous, under the names that they have here."""
    names: dict[str, str] = {kind: without(kind) for kind in KINDS} | {"oracle": "oracle"}
    return [
        {
            "train_cpu_seconds": r["train_seconds"],  # of older runs, which were alone on their core
            **r,
            "agent": names[r["agent"]],
        }
        for r in load(continuous.RESULTS)["runs"]
        if r["task"] in continuous.STEPS and r["agent"] in names
    ]


def run(task: str, name: str, seed: int) -> Run:
    """Train one agent and judge it."""
    agent_of = GROUPS[task][name]
    if task == COSTS:
        return {"task": task, "agent": name, "seed": seed, **costs(agent_of)}
    place = ABLATED if task == ABLATION else task
    config = agent_of.config(place, seed)

    def make_env(num_envs: int, of_seed: int = EVALUATION.seed) -> VecEnv:
        told: dict[str, Any] = {"observe_context": True} if agent_of.told else {}
        return envs.make_vec(place, num_envs, of_seed, **told)

    with (
        patch.object(policies, "ContextModel", agent_of.context_model),
        patch.object(policies, "MemoryExtractor", agent_of.extractor),
    ):
        agent = make_agent(config, make_env(config.num_envs, seed))
    curve = Curve()
    training = train(agent, config.total_timesteps, curve)
    agent.save(trained(task, name, seed))
    return {
        "task": task,
        "agent": name,
        "seed": seed,
        **training,
        "curve": curve.binned(),
        "contexts": judge(
            contexts_of(place, config),
            EVALUATION,
            make_env,
            lambda num_envs, adapted: agent.make_acting(num_envs, adapt=adapted),
            adapts=agent_of.adapts,
        ),
    }


def trained(task: str, name: str, seed: int) -> Path:
    """Where the agent of a run is kept, for other benchmarks; git ignores it."""
    return Path(__file__).parent / "agents" / f"{task.replace('/', '-')}, {name}, {seed}.zip"


def contexts_of(task: str, config: RunConfig) -> list[Context]:
    """What agents are judged on: contexts of both ranges, or as many starts where nothing drifts."""
    if task in PLAIN:
        return [Context(i, "train", {}) for i in range(EVALUATION.contexts)]
    return choose_contexts(config)


def costs(agent: Agent, rounds: int = 60) -> Run:
    """Milliseconds of processor time with adaptation and without: an update, an acting step of 16 environments.

    Both agents take turns on the drifting pendulum with its preset, after 8,192 steps that fill the replay; the acting
    steps are all those of a phase.
    """
    task, began = "Drift/Pendulum-v0", time.perf_counter()
    pair = {}
    for name, adapts in (("with", True), ("without", False)):
        config = replace(agent, adapts=adapts).config(task)
        config = replace(config, learner=replace(config.learner, learning_starts=8_192, refresh_every=None))
        pair[name] = made = make_agent(config, envs.make_vec(task, config.num_envs, 0))
        made.set_logger(configure(None, []))
        made.learn(8_192)
        made.train(3, config.learner.batch_size)
    update: dict[str, list[float]] = {name: [] for name in pair}
    for _ in range(rounds):
        for name, made in pair.items():
            start = time.process_time()
            made.train(1, 8)
            update[name].append(1e3 * (time.process_time() - start))
    acting = acting_costs(pair, task)
    return {
        "steps": 8_192,
        "train_seconds": round(time.perf_counter() - began, 1),
        "update_ms": {name: round(float(np.median(times)), 2) for name, times in update.items()},
        "acting_ms": {name: round(times, 3) for name, times in acting.items()},
    }


def acting_costs(pair: Mapping[str, MemoryAlgorithm], task: str, steps: int = 1_000) -> dict[str, float]:
    """Milliseconds of an acting step of 16 environments, the mean over a phase of `steps` steps of each."""
    spent = dict.fromkeys(pair, 0.0)
    players = {name: agent.make_acting(16) for name, agent in pair.items()}
    streams = {name: envs.make_vec(task, 16, 1) for name in pair}
    observed = {name: env.reset() for name, env in streams.items()}
    for _ in range(steps):
        for name, player in players.items():
            obs = observed[name]
            assert isinstance(obs, np.ndarray)
            start = time.process_time()
            action = player.act(obs)
            spent[name] += time.process_time() - start
            observed[name], reward, done, infos = streams[name].step(action)
            start = time.process_time()
            player.observe(action, reward, done, infos)
            spent[name] += time.process_time() - start
    return {name: 1e3 * seconds / steps for name, seconds in spent.items()}


def save(runs: list[Run]) -> None:
    """Write results, tables and picture."""
    order = {(task, agent): i for i, (task, agent) in enumerate((t, a) for t in GROUPS for a in GROUPS[t])}
    ordered = sorted(runs, key=lambda r: (order[r["task"], r["agent"]], r["seed"]))
    everything = sorted([*ordered, *borrowed_runs()], key=lambda r: (order[r["task"], r["agent"]], r["seed"]))
    summary = summarise(everything)
    settings = {
        task: {
            name: {k: v for k, v in asdict(agent.config(task)).items() if k != "run_dir"}
            for name, agent in AGENTS.items()
        }
        for task in DRIFTING
    }
    data = {
        "command": "python -m benchmarks.adaptation",
        "machine": machine(),
        "settings": settings,
        "summary": summary,
    }
    write(RESULTS, data, ordered)
    RESULTS.with_suffix(".md").write_text(tables(summary))
    RESULTS.with_suffix(".png").write_bytes(
        png(figure(everything, [*AGENTS, *ORACLE], {task: STEPS[task] for task in DRIFTING}))
    )


if __name__ == "__main__":
    command_line(main, run, Options, __doc__)
