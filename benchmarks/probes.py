"""Does an external memory pay where many things have to be kept and one of them is asked for?

    python -m benchmarks.probes

trains agents with every memory on the memory probes, two runs at a time on one core each, and keeps the results in
benchmarks/results/probes.json, probes.md (tables) and probes.png (score against difficulty); probes_pairs.png and
probes_repeat.png show what the memory of a trained DNC does in an episode of difficulty SHOWN. Runs that are there
already are not repeated; `--again` does so. One run: `--tasks Memory/Pairs-v0 --kinds dnc --seeds 1`.

A training begins with the easiest episodes. Whenever ENOUGH answers of the last EPISODES_SEEN episodes are right, easy
ones included, the hardest episodes become a quarter harder, at least by one, up to the probe's limit; the environments
have all difficulties up to that one. Then the agent is judged, greedily, at every difficulty, also at those that it
never came to. All have the preset of the task, the same environment steps and as many updates. LSTM and GRU have so
many units that their parameters are as many as the DNC's to within 2 %. The score is the share of right answers;
without a memory it is at most 1 / 4, as there are 4 values.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

import envs
from benchmarks.runs import (
    Key,
    Run,
    Wanted,
    command_line,
    complete,
    load,
    machine,
    refuse_unknown,
    train,
    write,
)
from benchmarks.tables import markdown
from memagent.agents import MemoryAlgorithm
from memagent.evaluation.figures import memory_figure, png
from memagent.evaluation.intervals import interval
from memagent.evaluation.protocol import play
from memagent.memory import MemoryConfig
from memagent.memory.config import MemoryKind
from memagent.presets import preset_settings
from memagent.run_config import RunConfig, preset_config
from memagent.runs import make_agent
from memagent.traces import trace_episode

RESULTS = Path(__file__).parent / "results" / "probes.json"
ENOUGH, EPISODES_SEEN = 0.85, 200
JUDGED_EPISODES, JUDGED_SEED = 256, 1_000
SHOWN = 8
"""The difficulty of the episode whose memory is drawn."""
UNITS: dict[MemoryKind, int] = {"none": 128, "gru": 240, "lstm": 208, "dnc": 128}


@dataclass(frozen=True)
class Probe:
    """What makes a probe difficult, and the difficulties that are judged; a training begins with the least."""

    difficulty: str
    judged: tuple[int, ...]
    steps: int
    """Environment steps of a training."""


PROBES = {
    "Memory/Pairs-v0": Probe("pairs", (2, 4, 8, 16, 32, 64), 100_000),
    "Memory/Repeat-v0": Probe("symbols ago", (1, 2, 4, 8, 16, 32, 64), 100_000),
}


class Harder(BaseCallback):
    """Makes the hardest episodes harder, whenever ENOUGH answers of the last EPISODES_SEEN episodes are right."""

    def __init__(self, easiest: int, hardest: int) -> None:
        super().__init__()
        self.easiest, self.hardest, self.reached = easiest, hardest, easiest
        self.shares: deque[float] = deque(maxlen=EPISODES_SEEN)
        self.reached_at = {easiest: 0}
        """The environment step at which each difficulty came."""

    def _on_training_start(self) -> None:
        spread(self.training_env, self.easiest, self.reached)

    def _on_step(self) -> bool:
        self.shares.extend(info["share_right"] for info in self.locals["infos"] if "share_right" in info)
        able = len(self.shares) == EPISODES_SEEN and np.mean(self.shares) >= ENOUGH
        if able and self.reached < self.hardest:
            self.reached = min(self.hardest, self.reached + max(1, self.reached // 4))
            self.reached_at[self.reached] = self.num_timesteps
            self.shares.clear()
            spread(self.training_env, self.easiest, self.reached)
        return True


def spread(env: VecEnv, easiest: int, hardest: int) -> None:
    """Give the environments difficulties from the easiest to the hardest, in equal steps."""
    for i, difficulty in enumerate(np.linspace(easiest, hardest, env.num_envs).round()):
        env.env_method("set_difficulty", int(difficulty), indices=[i])


@dataclass(frozen=True)
class Options(Wanted):
    """Train and judge what is missing, then write summary, tables and picture."""

    seeds: int = 5
    """Seeds 0, 1, … of every agent."""
    tasks: tuple[str, ...] = tuple(PROBES)
    """Probes to run."""
    kinds: tuple[MemoryKind, ...] = tuple(UNITS)
    """Memories to run."""


def main(options: Options) -> None:
    """Run what is missing, then summarise."""
    refuse_unknown(options.tasks, options.kinds, dict.fromkeys(PROBES, UNITS))
    runs: dict[Key, Run] = {(r["task"], r["kind"], r["seed"]): r for r in load(RESULTS)["runs"]}
    wanted: list[Key] = [
        (task, kind, seed)
        for seed in range(options.seeds)  # one seed of everything before the next
        for task in options.tasks
        for kind in options.kinds
    ]
    complete("benchmarks.probes", wanted, runs, options.workers, save, options.again)
    print(tables(load(RESULTS)))


def config_of(task: str, kind: MemoryKind, seed: int = 0) -> RunConfig:
    """The preset of a probe, and as many parameters for every memory."""
    return replace(
        preset_config(task, preset_settings(task)),
        seed=seed,
        device="cpu",
        total_timesteps=PROBES[task].steps,
        memory=MemoryConfig(kind=kind, hidden_size=UNITS[kind]),
    )


def run(task: str, kind: MemoryKind, seed: int) -> Run:
    """Train one agent and judge it."""
    config, probe = config_of(task, kind, seed), PROBES[task]
    agent = make_agent(config, envs.make_vec(task, config.num_envs, seed))
    harder = Harder(min(probe.judged), max(probe.judged))
    trained = train(agent, config.total_timesteps, harder)
    record: Run = {
        "task": task,
        "kind": kind,
        "seed": seed,
        **trained,
        "parameters": sum(p.numel() for p in agent.policy.parameters()),
        "reached_at": harder.reached_at,
        "scores": {difficulty: share_right(agent, task, difficulty) for difficulty in probe.judged},
    }
    if kind == "dnc" and seed == 0:
        env = envs.make_vec(task, 1, JUDGED_SEED)
        spread(env, SHOWN, SHOWN)
        name = task.partition("/")[2].partition("-")[0].lower()
        RESULTS.with_name(f"probes_{name}.png").write_bytes(png(memory_figure(**trace_episode(agent, env))))
    return record


def share_right(agent: MemoryAlgorithm, task: str, difficulty: int) -> float:
    """The share of right answers in new episodes of one difficulty."""
    env = envs.make_vec(task, 16, JUDGED_SEED)
    spread(env, difficulty, difficulty)
    returns = play(env, agent.make_acting(16), JUDGED_EPISODES // 16)
    (asked,) = set(env.get_attr("asked"))
    return round(float(returns.mean()) / asked, 4)


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """By task, difficulty and memory: the mean share of right answers and its interval over seeds."""
    summary: dict[str, Any] = {}
    for (task, kind), group in groupby(runs, key=lambda r: (r["task"], r["kind"])):
        mine = list(group)
        for difficulty in map(str, PROBES[task].judged):
            scores = [r["scores"][difficulty] for r in mine]
            mean, low, high = (round(x, 4) for x in interval([[s] for s in scores]))
            ends = {} if len(mine) < 2 else {"low": low, "high": high}
            summary.setdefault(task, {}).setdefault(difficulty, {})[kind] = {
                "mean": mean,
                **ends,
                "seeds": scores,
            }
    return summary


def costs(runs: Sequence[Run]) -> dict[str, Any]:
    """By task and memory: parameters, and seconds of processor time of a training."""
    return {
        task: {
            kind: {
                "parameters": mine[0]["parameters"],
                "train_cpu_seconds": round(float(np.mean([r["train_cpu_seconds"] for r in mine]))),
                "reached": [max(map(int, r["reached_at"])) for r in mine],
            }
            for kind in UNITS
            if (mine := [r for r in runs if (r["task"], r["kind"]) == (task, kind)])
        }
        for task in dict.fromkeys(r["task"] for r in runs)
    }


def tables(data: dict[str, Any]) -> str:
    """Shares of right answers with their intervals, and below them what the training came to and cost."""
    text = (
        "Shares of right answers by difficulty, means over seeds with 95 % intervals where there are several; of "
        "each seed the difficulty that training came to. Made by `python -m benchmarks.probes`."
    )
    parts = [text]
    for task, of in data["summary"].items():
        its = data["costs"][task]
        kinds = list(its)
        rows = [[difficulty, *(shown(found[kind]) for kind in kinds)] for difficulty, found in of.items()]
        rows += [
            ["hardest in training", *(" ".join(map(str, its[kind]["reached"])) for kind in kinds)],
            ["parameters", *(f"{its[kind]['parameters']:,}" for kind in kinds)],
            ["processor time, s", *(str(its[kind]["train_cpu_seconds"]) for kind in kinds)],
        ]
        parts.append(f"## {task}\n\n" + markdown([PROBES[task].difficulty, *kinds], rows))
    return "\n\n".join(parts) + "\n"


def shown(found: dict[str, Any]) -> str:
    """A share with its interval."""
    ends = f" [{found['low']:.2f}, {found['high']:.2f}]" if "low" in found else ""
    return f"{found['mean']:.2f}{ends}"


def picture(summary: dict[str, Any]) -> Figure:
    """The share of right answers against difficulty, one panel for each probe: means and intervals."""
    drawn = Figure(figsize=(5.2 * len(summary), 4.2), layout="constrained")
    panels = drawn.subplots(1, len(summary), squeeze=False)[0]
    for axes, (task, of) in zip(panels, summary.items(), strict=True):
        difficulties = [int(d) for d in of]
        for i, kind in enumerate(UNITS):
            found = [kinds[kind] for kinds in of.values() if kind in kinds]
            if not found:
                continue
            axes.plot(difficulties, [f["mean"] for f in found], color=f"C{i}", marker="o", label=kind)
            if "low" in found[0]:
                low, high = ([f[end] for f in found] for end in ("low", "high"))
                axes.fill_between(difficulties, low, high, color=f"C{i}", alpha=0.2, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.set_xticks(difficulties, list(of))
        axes.set(title=task, xlabel=PROBES[task].difficulty, ylabel="share of right answers", ylim=(0, 1.03))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    return drawn


def save(runs: list[Run]) -> None:
    """Write results, tables and picture."""
    places = {name: i for i, name in enumerate([*PROBES, *UNITS])}
    runs = sorted(runs, key=lambda r: (places[r["task"]], places[r["kind"]], r["seed"]))
    summary = summarise(runs)
    data = {
        "command": "python -m benchmarks.probes",
        "machine": machine(),
        "settings": {
            task: {k: v for k, v in asdict(config_of(task, "dnc")).items() if k != "run_dir"}
            for task in PROBES
        },
        "summary": summary,
        "costs": costs(runs),
    }
    write(RESULTS, data, runs)
    RESULTS.with_suffix(".md").write_text(tables(data))
    RESULTS.with_suffix(".png").write_bytes(png(picture(summary)))


if __name__ == "__main__":
    command_line(main, run, Options, __doc__)
