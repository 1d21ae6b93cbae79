"""Does adaptation pay: with each memory and without one, beside agents trained without it and an oracle?

    python -m benchmarks.adaptation

trains every agent on every task, two runs at a time, and keeps the results in benchmarks/results/adaptation.json,
adaptation.md (tables) and adaptation.png (learning curves). Runs that are there already are not repeated; `--again`
does so. One run: `--tasks Drift/CartPole-v0 --agents dnc --seeds 1`.

"none", "lstm" and "dnc" adapt, as the catalogue's presets have it; "… without adaptation" are trained without; "oracle" has
no memory and is told the context. Ablations are variants of one agent on one task; "costs" are the time of an update and
of an acting step with adaptation, as multiples of those without.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv

import envs
from benchmarks.runs import Curve, Key, Run, complete, draw_curves, judge, load, machine, rounded, scores
from benchmarks.tables import markdown, plain, shown
from evaluate import choose_contexts
from memagent.agents import MemoryAlgorithm
from memagent.evaluation.figures import png
from memagent.evaluation.intervals import interval, paired_difference
from memagent.evaluation.protocol import Context
from memagent.memory import MemoryConfig
from memagent.memory.config import MemoryKind
from memagent.runs import EvaluationConfig, RunConfig, make_agent, preset_config

RESULTS = Path(__file__).parent / "results" / "adaptation.json"
DRIFTING = ("Drift/CartPole-v0", "Drift/Pendulum-v0", "Drift/PointWind-v0", "Drift/PointGoal-v0")
PLAIN = {"CartPole-v1": "Drift/CartPole-v0", "Pendulum-v1": "Drift/Pendulum-v0"}
"""Environments that do not drift, and whose preset they are trained with."""
STEPS = dict.fromkeys(DRIFTING, 60_000) | dict.fromkeys(PLAIN, 20_000)
ABLATION, ABLATED = "ablation", "Drift/CartPole-v0"
COSTS = "costs"
SPLITS = ("train", "held_out")
KINDS: tuple[MemoryKind, ...] = ("none", "lstm", "dnc")
EVALUATION = EvaluationConfig(contexts=16, episodes=5, warmup_episodes=2, seed=1_000)


@dataclass(frozen=True)
class Agent:
    """One of our agents: its memory, whether it adapts or is told the context, and settings of its own by section."""

    kind: MemoryKind
    adapts: bool = True
    told: bool = False
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def config(self, task: str, seed: int = 0) -> RunConfig:
        """The catalogue's preset, and what this agent has otherwise."""
        config = preset_config(task, envs.preset(PLAIN.get(task, task)))
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


def without(kind: MemoryKind) -> str:
    """The name of the agent that is trained without adaptation."""
    return f"{kind} without adaptation"


AGENTS = {kind: Agent(kind) for kind in KINDS} | {
    without(kind): Agent(kind, adapts=False) for kind in KINDS
}
ORACLE = {"oracle": Agent("none", adapts=False, told=True)}
VARIANTS = {
    "second order, 5 steps, 16 numbers": Agent("none"),
    "first order": Agent("none", changes={"meta": {"first_order": True}}),
    "1 step": Agent("none", changes={"meta": {"num_steps": 1}}),
    "10 steps": Agent("none", changes={"meta": {"num_steps": 10}}),
    "4 numbers": Agent("none", changes={"adapt": {"context_dim": 4}}),
    "64 numbers": Agent("none", changes={"adapt": {"context_dim": 64}}),
}
GROUPS: dict[str, dict[str, Agent]] = {
    **{task: AGENTS | ORACLE for task in DRIFTING},
    **dict.fromkeys(PLAIN, AGENTS),
    ABLATION: VARIANTS,
    COSTS: {kind: Agent(kind) for kind in KINDS},
}


@dataclass(frozen=True)
class Options:
    """Train and judge what is missing, then write summary, tables and picture."""

    seeds: int = 3
    """Seeds 0, 1, … of every agent."""
    workers: int = 2
    """Runs at a time, on one core each."""
    tasks: tuple[str, ...] = tuple(GROUPS)
    """Tasks to run, "ablation" and "costs" among them."""
    agents: tuple[str, ...] = ()
    """Agents to run; none: all of them."""
    again: bool = False
    """Repeat those that are in the results already."""


def main(options: Options) -> None:
    """Run what is missing, then summarise."""
    known = {agent for agents in GROUPS.values() for agent in agents}
    if unknown := (set(options.tasks) - set(GROUPS)) | (set(options.agents) - known):
        raise SystemExit(
            f"There is no {', '.join(sorted(unknown))}; there are the tasks {'; '.join(GROUPS)} "
            f"and the agents {'; '.join(sorted(known))}."
        )
    runs: dict[Key, Run] = {(r["task"], r["agent"], r["seed"]): r for r in load(RESULTS)["runs"]}
    wanted: list[Key] = [
        (task, agent, seed)
        for seed in range(options.seeds)  # one seed of everything before the next
        for task in options.tasks
        for agent in GROUPS[task]
        if not options.agents or agent in options.agents
        if seed == 0 or task != COSTS
    ]
    complete("benchmarks.adaptation", wanted, runs, options.workers, save, options.again)
    print(tables(load(RESULTS)["summary"]))


def run(task: str, name: str, seed: int) -> Run:
    """Train one agent and judge it."""
    agent_of = GROUPS[task][name]
    if task == COSTS:
        return {"task": task, "agent": name, "seed": seed, **costs(agent_of)}
    place = ABLATED if task == ABLATION else task
    config = agent_of.config(place, seed)

    def make_env(num_envs: int, of_seed: int = EVALUATION.seed) -> VecEnv:
        options = {"observe_context": True} if agent_of.told else {}
        return envs.make_vec(place, num_envs, of_seed, **options)

    agent, curve = make_agent(config, make_env(config.num_envs, seed)), Curve()
    began, began_cpu = time.perf_counter(), time.process_time()
    agent.learn(config.total_timesteps, curve)
    return {
        "task": task,
        "agent": name,
        "seed": seed,
        "steps": agent.num_timesteps,
        "updates": agent._n_updates,
        "train_seconds": round(time.perf_counter() - began, 1),
        "train_cpu_seconds": round(time.process_time() - began_cpu, 1),
        "curve": curve.binned(),
        "contexts": judge(
            contexts_of(place, config),
            EVALUATION,
            make_env,
            lambda num_envs, adapted: agent.make_acting(num_envs, adapt=adapted),
            adapts=agent_of.adapts,
        ),
    }


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


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """By task and memory: returns without adaptation and with it, and the gain; variants and costs as they are."""
    summary: dict[str, Any] = {}
    for task, group in groupby(runs, key=lambda r: r["task"]):
        mine = list(group)
        of = {name: [r for r in mine if r["agent"] == name] for name in GROUPS[task]}
        if task == COSTS:
            summary[task] = {name: cost_ratios(runs[0]) for name, runs in of.items() if runs}
        elif task == ABLATION:
            summary[task] = {name: variant(runs) for name, runs in of.items() if runs}
        else:
            summary[task] = {kind: compare(of[kind], of[without(kind)]) for kind in KINDS}
            if of.get("oracle"):
                summary[task]["oracle"] = {
                    split: {"unadapted": rounded(interval(scores(of["oracle"], split, False)))}
                    for split in SPLITS
                }
    return summary


def compare(adapting: Sequence[Run], others: Sequence[Run]) -> dict[str, Any]:
    """Per split, of agents with one memory: the mean return of those trained without adaptation, of those with it, the
    gain over the seeds that both have, and what the latter score under a zero context.
    """
    both = {r["seed"] for r in adapting} & {r["seed"] for r in others}
    entry: dict[str, Any] = {"seeds": {"adapted": len(adapting), "unadapted": len(others)}}
    for name, runs in (("adapted", adapting), ("unadapted", others)):
        if runs:
            entry.setdefault("train_cpu_seconds", {})[name] = round(
                float(np.mean([r["train_cpu_seconds"] for r in runs]))
            )
    for split in SPLITS:
        adapted, zero = scores(adapting, split, True), scores(adapting, split, False)
        plainly = scores(others, split, False)
        if not adapted.size and not plainly.size:
            continue
        part: dict[str, Any] = {}
        for name, found in (("unadapted", plainly), ("adapted", adapted), ("zero_context", zero)):
            if found.size:
                told = rounded(interval(found))
                part[name] = told["estimate"]
                part[f"{name}_interval"] = [told["low"], told["high"]]
        if both:
            first = scores([r for r in adapting if r["seed"] in both], split, True)
            second = scores([r for r in others if r["seed"] in both], split, False)
            part["gain"] = list(rounded(paired_difference(first, second, over="contexts")).values())
        entry[split] = part
    return entry


def variant(runs: Sequence[Run]) -> dict[str, Any]:
    """Adapted returns of a variant, its mean and those of its seeds."""
    entry: dict[str, Any] = {"train_cpu_seconds": round(float(np.mean([r["train_cpu_seconds"] for r in runs])))}
    for split in SPLITS:
        found = scores(runs, split, True)
        entry[split] = rounded(interval(found)) | {"seeds": found.mean(1).round(1).tolist()}
    return entry


def cost_ratios(run: Run) -> dict[str, Any]:
    """The times of one memory, and those with adaptation as multiples of those without."""
    return {
        name: run[f"{name}_ms"] | {"ratio": round(run[f"{name}_ms"]["with"] / run[f"{name}_ms"]["without"], 2)}
        for name in ("update", "acting")
    }


def tables(summary: Mapping[str, Any]) -> str:
    """The summary as Markdown."""
    parts = [
        "Mean returns over 16 contexts of each split, held still; in brackets 95 % bootstrap intervals: over seeds, gains "
        "over contexts. Zero context: agents that adapt, of which nobody fits the context. Made by "
        "`python -m benchmarks.adaptation`."
    ]
    for task, entry in summary.items():
        if task == COSTS:
            rows = [[kind, *cost_cells(of)] for kind, of in entry.items()]
            parts.append("## Costs\n\n" + markdown(["memory", "update, ms", "acting step, ms"], rows))
        elif task == ABLATION:
            rows = [
                [name, *(f"{shown(of[split])} ({seeds(of[split])})" for split in SPLITS), f"{of['train_cpu_seconds']} s"]
                for name, of in entry.items()
            ]
            parts.append(
                f"## Variants, no memory, {ABLATED}\n\n"
                + markdown(["variant", "training contexts", "held out", "processor time"], rows)
            )
        else:
            parts.append(f"## {task}\n\n" + markdown(HEAD, [*task_rows(entry)]))
    return "\n\n".join(parts) + "\n"


HEAD = ["agent", "seeds"] + [
    f"{split}{what}"
    for split in ("training contexts", "held out")
    for what in (", trained without adaptation", ", adapted", ", gain", ", zero context")
]


def task_rows(entry: Mapping[str, Any]) -> list[list[str]]:
    """One line for each memory, and the oracle's."""
    rows = []
    for kind in KINDS:
        of = entry[kind]
        cells = [cell(of.get(split, {}), name) for split in SPLITS for name in CELLS]
        rows.append([kind, f"{of['seeds']['unadapted']}, {of['seeds']['adapted']}", *cells])
    if "oracle" in entry:
        told = [x for split in SPLITS for x in (shown(entry["oracle"][split]["unadapted"]), "", "", "")]
        rows.append(["oracle", "", *told])
    return rows


CELLS = ("unadapted", "adapted", "gain", "zero_context")


def cell(part: Mapping[str, Any], name: str) -> str:
    """A number with its interval; nothing where it is missing."""
    if name not in part:
        return ""
    estimate, low, high = part[name] if name == "gain" else (part[name], *part[f"{name}_interval"])
    return shown({"estimate": estimate, "low": low, "high": high})


def cost_cells(of: Mapping[str, Mapping[str, float]]) -> list[str]:
    """With and without adaptation, and the ratio."""
    return [f"{of[name]['with']} / {of[name]['without']} = {of[name]['ratio']}" for name in ("update", "acting")]


def seeds(part: Mapping[str, Any]) -> str:
    """The scores of the seeds."""
    return ", ".join(plain(score) for score in part["seeds"])


def save(runs: list[Run]) -> None:
    """Write results, tables and picture."""
    order = {(task, agent): i for i, (task, agent) in enumerate((t, a) for t in GROUPS for a in GROUPS[t])}
    ordered = sorted(runs, key=lambda r: (order[r["task"], r["agent"]], r["seed"]))
    summary = summarise(ordered)
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
    lines = ",\n".join(json.dumps(r) for r in ordered)  # one line a run
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(data, indent=1)[:-2] + f',\n "runs": [\n{lines}\n]}}\n')
    RESULTS.with_suffix(".md").write_text(tables(summary))
    RESULTS.with_suffix(".png").write_bytes(png(figure(ordered)))


def figure(runs: Sequence[Run]) -> Figure:
    """Training return of every agent over environment steps, one panel for each drifting task that has runs."""
    tasks = [task for task in DRIFTING if any(r["task"] == task for r in runs)]
    picture = Figure(figsize=(4.6 * max(1, len(tasks)), 4.6), layout="constrained")
    panels = np.atleast_1d(picture.subplots(1, max(1, len(tasks))))
    handles = {}
    for axes, task in zip(panels, tasks, strict=False):
        mine = [r for r in runs if r["task"] == task]
        draw_curves(
            axes, {a: [r["curve"] for r in mine if r["agent"] == a] for a in GROUPS[task]}, STEPS[task]
        )
        axes.set_title(task, fontsize=11)
        axes.set(xlabel="environment steps", ylabel="return of training episodes")
        lines, names = axes.get_legend_handles_labels()
        handles |= dict(zip(names, lines, strict=True))
    picture.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=7, frameon=False)
    return picture


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        torch.set_num_threads(1)
        print(json.dumps(run(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    else:
        main(tyro.cli(Options, description=__doc__))
