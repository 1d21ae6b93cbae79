"""Does memory pay on drifting CartPole, does adaptation, and is old ground kept?

    python -m benchmarks.cartpole

trains every variant with three seeds, two runs at a time on one core each, and keeps what came of it in
benchmarks/results/cartpole.json and cartpole.png. Runs that are there already are not repeated; `--again` does so.

Every agent is the same learner with the same settings; scores are mean returns of at most 500 over contexts held still,
from empty memory, without exploration.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from stable_baselines3.common.callbacks import BaseCallback

import envs
from benchmarks.runs import Curve, Key, Run, complete, draw_curves, judge, load, machine, rounded, scores
from envs.schedules import Periodic, Steps
from evaluate import choose_contexts, hold, make_env
from memagent.agents import MemoryAlgorithm
from memagent.evaluation.figures import png
from memagent.evaluation.intervals import interval, paired_difference
from memagent.evaluation.protocol import Context, play
from memagent.memory import MemoryConfig
from memagent.memory.config import MemoryKind
from memagent.runs import EvaluationConfig, RunConfig, make_agent, preset_config

RESULTS = Path(__file__).parent / "results" / "cartpole.json"
WEIGHTS = Path("runs/benchmarks/cartpole")
ENV = "Drift/CartPole-v0"
STEPS = 60_000


def base(kind: MemoryKind = "dnc", num_envs: int = 16, **adapt: Any) -> RunConfig:
    """The catalogue's preset with other settings of adaptation, judged on 16 contexts of each split."""
    config = preset_config(ENV, envs.preset(ENV))
    return replace(
        config,
        total_timesteps=STEPS,
        num_envs=num_envs,
        memory=MemoryConfig(kind=kind),
        adapt=replace(config.adapt, **adapt),
        evaluation=EvaluationConfig(contexts=16, episodes=5, warmup_episodes=2, seed=1_000),
    )


VARIANTS: dict[str, RunConfig] = {
    "dnc": base(),
    "lstm": base("lstm"),
    "none, no adaptation": base("none", enabled=False),
    "dnc, nobody tells of phases": base(phase_signal="none"),
    "dnc, no meta loss": base(enabled=False),
    "dnc, four contexts in a cycle": base(num_envs=8),
}
CYCLE = "dnc, four contexts in a cycle"


@dataclass(frozen=True)
class Options:
    """Train and judge what is missing, then write the summary and the picture."""

    seeds: int = 3
    """Seeds 0, 1, … of every variant."""
    workers: int = 2
    """Runs at a time, on one core each."""
    only: tuple[str, ...] = field(default_factory=tuple)
    """Variants to run; none: all of them."""
    again: bool = False
    """Repeat those that are in the results already."""


def main(options: Options) -> None:
    """Run what is missing, then summarise."""
    if unknown := set(options.only) - set(VARIANTS):
        raise SystemExit(
            f"There is no variant {', '.join(sorted(unknown))}; there are: {'; '.join(VARIANTS)}."
        )
    runs: dict[Key, Run] = {(r["variant"], r["seed"]): r for r in load(RESULTS)["runs"]}
    wanted: list[Key] = [(v, s) for v in options.only or VARIANTS for s in range(options.seeds)]
    complete("benchmarks.cartpole", wanted, runs, options.workers, save, options.again)
    print(json.dumps(load(RESULTS)["summary"], indent=2))


def run(variant: str, seed: int) -> dict[str, Any]:
    """Train one agent and judge it."""
    config = replace(VARIANTS[variant], seed=seed)
    drift = cycle_drift() if variant == CYCLE else None
    env = (
        envs.make_vec(ENV, config.num_envs, seed, drift=drift)
        if drift
        else make_env(config, config.num_envs, seed)
    )
    agent = make_agent(config, env)
    curve = Curve()
    visits = Visits(cycle_contexts()) if variant == CYCLE else None
    began, began_cpu = time.perf_counter(), time.process_time()
    agent.learn(config.total_timesteps, [curve, visits] if visits else curve)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    agent.save(WEIGHTS / f"{variant.replace(', ', '-').replace(' ', '-')}-{seed}.zip")
    return {
        "variant": variant,
        "seed": seed,
        "steps": agent.num_timesteps,
        "updates": agent._n_updates,
        "train_seconds": round(seconds, 1),
        "train_cpu_seconds": round(cpu_seconds, 1),
        "visits": visits.records if visits else None,
        "curve": curve.binned(),
        "contexts": [] if visits else judge_agent(agent, config),
    }


def judge_agent(agent: MemoryAlgorithm, config: RunConfig) -> list[dict[str, Any]]:
    """The records of every context, unadapted and adapted."""
    settings = config.evaluation
    return judge(
        choose_contexts(config),
        settings,
        lambda num_envs: make_env(config, num_envs, settings.seed),
        lambda num_envs, adapted: agent.make_acting(num_envs, adapt=adapted),
        config.adapt.enabled,
    )


def cycle_contexts() -> list[dict[str, float]]:
    """Four contexts of the training ranges, signs balanced."""
    return envs.contexts(ENV, "train", 4, seed=7)


def cycle_drift() -> dict[str, Any]:
    """The four contexts in turn, 1,000 steps of an environment each, the same in every environment."""
    names = cycle_contexts()[0]
    schedules = {
        name: Steps(tuple(c[name] for c in cycle_contexts()), Periodic(1_000), cycle=True) for name in names
    }
    return envs.Drift(schedules).to_json()


class Visits(BaseCallback):
    """At every change of the phase: the last ten episodes' worth on the old context, the first episode on the new one.

    Both are played beside the training stream, exploration off, with the weights of that moment, from empty memory and
    unadapted heads; they adapt as always. "first" is the mean over ten environments of their first episode.
    """

    def __init__(self, contexts: Sequence[dict[str, float]], episodes: int = 10) -> None:
        super().__init__()
        self.contexts, self.episodes, self.phase = contexts, episodes, 0
        self.records: list[dict[str, Any]] = [{"context": 0}]

    def _on_step(self) -> bool:
        phase = self.locals["infos"][0]["phase"]
        if phase != self.phase:
            self.phase = phase
            self.records[-1]["last"] = self._score(self.records[-1]["context"])
            context = phase % len(self.contexts)
            self.records.append({"context": context, "first": self._score(context)})
        return True

    def _on_training_end(self) -> None:
        self.records[-1]["last"] = self._score(self.records[-1]["context"])

    def _score(self, context: int) -> float:
        held = [Context(context, "train", self.contexts[context])] * self.episodes
        env = hold(envs.make_vec(ENV, self.episodes, seed=self.phase), held)
        assert isinstance(self.model, MemoryAlgorithm)
        returns = play(env, self.model.make_acting(self.episodes), episodes=1)
        env.close()
        return round(float(returns.mean()), 1)


def resumed(visits: Sequence[dict[str, Any]]) -> list[float]:
    """For every return to an old context: its first episode over the best ten-episode mean of earlier visits."""
    best: dict[int, float] = {}
    ratios = []
    for visit in visits:
        context = visit["context"]
        if context in best:
            ratios.append(visit["first"] / best[context])
        best[context] = max(best.get(context, 0.0), visit["last"])
    return ratios


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Scores of every variant, what adaptation gains with the same weights, and how old ground is resumed."""
    summary: dict[str, Any] = {}
    for variant, config in VARIANTS.items():
        mine = [r for r in runs if r["variant"] == variant]
        if not mine:
            continue
        entry: dict[str, Any] = {
            "seeds": len(mine),
            "steps": mine[0]["steps"],
            "updates": mine[0]["updates"],
            "train_seconds": round(float(np.mean([r["train_seconds"] for r in mine]))),
            "train_cpu_seconds": round(float(np.mean([r["train_cpu_seconds"] for r in mine]))),
        }
        if variant == CYCLE:
            ratios = [resumed(r["visits"]) for r in mine]
            entry["resumed"] = {
                "median": round(float(np.median(np.concatenate(ratios))), 3),
                "lowest": round(float(np.concatenate(ratios).min()), 3),
                "mean_of_each_seed": [round(float(np.mean(r)), 3) for r in ratios],
            }
        else:
            for split in ("train", "held_out"):
                plain, adapted = (scores(mine, split, a) for a in (False, True))
                entry[split] = {"unadapted": rounded(interval(plain))}
                if config.adapt.enabled:
                    entry[split] |= {
                        "adapted": rounded(interval(adapted)),
                        "adaptation_gain": {
                            "over_contexts": rounded(paired_difference(adapted, plain, over="contexts")),
                            "over_runs": rounded(paired_difference(adapted, plain, over="runs")),
                        },
                    }
        summary[variant] = entry
    return summary


def save(runs: Sequence[dict[str, Any]]) -> None:
    """Write results and picture."""
    RESULTS.parent.mkdir(exist_ok=True)
    ordered = sorted(runs, key=lambda r: (list(VARIANTS).index(r["variant"]), r["seed"]))
    data = {
        "command": "python -m benchmarks.cartpole",
        "machine": machine(),
        "settings": {
            name: {k: v for k, v in asdict(c).items() if k != "run_dir"} for name, c in VARIANTS.items()
        },
        "summary": summarise(ordered),
        "runs": ordered,
    }
    RESULTS.write_text(json.dumps(data, indent=1) + "\n")
    RESULTS.with_suffix(".png").write_bytes(png(curves_figure(ordered)))


def curves_figure(runs: Sequence[dict[str, Any]]) -> Figure:
    """Training return of every variant over environment steps."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    curves = {v: [r["curve"] for r in runs if r["variant"] == v] for v in VARIANTS if v != CYCLE}
    draw_curves(axes, curves, STEPS)
    axes.set(xlabel="environment steps", ylabel="return of training episodes", ylim=(0, 510))
    axes.set_title("Drift/CartPole-v0, a new hidden context every 1,000 steps of an environment", fontsize=11)
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        torch.set_num_threads(1)
        print(json.dumps(run(sys.argv[2], int(sys.argv[3]))))
    else:
        main(tyro.cli(Options, description=__doc__))
