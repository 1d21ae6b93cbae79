"""Does memory pay on drifting CartPole, does adaptation, and is old ground kept?

    python -m benchmarks.cartpole

trains every variant with three seeds, two runs at a time on one core each, and keeps what came of it in
benchmarks/results/cartpole.json and cartpole.png. Runs that are there already are not repeated; `--again` does so.

Every agent is the same learner with the same settings; scores are mean returns of at most 500 over contexts held still,
from empty memory, without exploration.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

import envs
from envs.schedules import Periodic, Steps
from evaluate import choose_contexts, hold, make_env
from memagent.agents import Acting, AdaptConfig, MemoryAlgorithm
from memagent.evaluation.figures import png
from memagent.evaluation.intervals import Interval, interval, paired_difference
from memagent.evaluation.protocol import Context, play, play_contexts
from memagent.memory import MemoryConfig
from memagent.runs import EvaluationConfig, RunConfig, make_agent, preset_config

RESULTS = Path(__file__).parent / "results" / "cartpole.json"
WEIGHTS = Path("runs/benchmarks/cartpole")
ENV = "Drift/CartPole-v0"
STEPS = 60_000
CURVE_BINS = 50


def base(**changes: Any) -> RunConfig:
    """The catalogue's preset, judged on 16 contexts of each split."""
    evaluation = EvaluationConfig(contexts=16, episodes=5, warmup_episodes=2, seed=1_000)
    return replace(
        preset_config(ENV, envs.preset(ENV)), total_timesteps=STEPS, evaluation=evaluation, **changes
    )


VARIANTS: dict[str, RunConfig] = {
    "dnc": base(),
    "lstm": base(memory=MemoryConfig(kind="lstm")),
    "none, no adaptation": base(memory=MemoryConfig(kind="none"), adapt=AdaptConfig(enabled=False)),
    "dnc, nobody tells of phases": base(adapt=AdaptConfig(phase_signal="none")),
    "dnc, no meta loss": base(adapt=AdaptConfig(enabled=False)),
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
    """Repeat runs that are in the results already."""


def main(options: Options) -> None:
    """Run what is missing, then summarise."""
    if unknown := set(options.only) - set(VARIANTS):
        raise SystemExit(
            f"There is no variant {', '.join(sorted(unknown))}; there are: {'; '.join(VARIANTS)}."
        )
    runs = {} if options.again else {(r["variant"], r["seed"]): r for r in load()["runs"]}
    wanted = [(v, s) for v in options.only or VARIANTS for s in range(options.seeds)]
    missing = [key for key in wanted if key not in runs]
    print(f"{len(missing)} of {len(wanted)} runs to do, {options.workers} at a time.")
    with ThreadPoolExecutor(options.workers) as pool:
        for key, run in zip(missing, pool.map(run_apart, missing), strict=True):
            runs[key] = run
            save(list(runs.values()))
            print(f"{run['variant']}, seed {run['seed']}: {run['train_seconds']:.0f} s of training.")
    save(list(runs.values()))
    print(json.dumps(load()["summary"], indent=2))


def run_apart(key: tuple[str, int]) -> dict[str, Any]:
    """One run in a process of its own, with one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "benchmarks.cartpole", "--run", key[0], str(key[1])]
    done = subprocess.run(command, env=os.environ | threads, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


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
        "contexts": [] if visits else judge(agent, config),
    }


def judge(agent: MemoryAlgorithm, config: RunConfig) -> list[dict[str, Any]]:
    """The records of every context, unadapted and adapted, returns rounded to one figure after the point."""
    settings = config.evaluation

    def make_held_env(contexts: Sequence[Context]) -> VecEnv:
        return hold(make_env(config, len(contexts), settings.seed), contexts)

    def make_player(num_envs: int, adapted: bool) -> Acting:
        return agent.make_acting(num_envs, adapt=adapted)

    records = play_contexts(
        choose_contexts(config),
        make_held_env,
        make_player,
        settings.episodes,
        settings.warmup_episodes,
        (False, True) if config.adapt.enabled else (False,),
    )
    keys = ("context_id", "split", "adapted", "mean_return", "std_return")
    return [
        {k: round(v, 1) if isinstance(v := record[k], float) else v for k in keys}  # type: ignore[literal-required]
        for record in records
    ]


class Curve(BaseCallback):
    """The return of every training episode, with the step at which it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.episodes: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        self.episodes += [
            (self.num_timesteps, i["episode"]["r"]) for i in self.locals["infos"] if "episode" in i
        ]
        return True

    def binned(self) -> list[float | None]:
        """Mean return of the episodes that end in each of CURVE_BINS equal parts of the training."""
        steps, returns = np.array(self.episodes).T
        part = np.minimum(steps * CURVE_BINS // (steps.max() + 1), CURVE_BINS - 1)
        return [
            round(float(returns[part == i].mean()), 1) if (part == i).any() else None
            for i in range(CURVE_BINS)
        ]


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


def scores(runs: Sequence[dict[str, Any]], variant: str, split: str, adapted: bool) -> np.ndarray:
    """Mean returns [runs, contexts]."""
    return np.array(
        [
            [c["mean_return"] for c in r["contexts"] if c["split"] == split and c["adapted"] is adapted]
            for r in sorted(runs, key=lambda r: r["seed"])
            if r["variant"] == variant
        ]
    )


def rounded(x: Interval) -> dict[str, Any]:
    """An interval for JSON."""
    low, high = (None if np.isnan(end) else round(end, 1) for end in (x.low, x.high))
    return {"estimate": round(x.estimate, 1), "low": low, "high": high}


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
                plain, adapted = (scores(runs, variant, split, a) for a in (False, True))
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


def load() -> dict[str, Any]:
    """The results so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"runs": []}


def save(runs: Sequence[dict[str, Any]]) -> None:
    """Write results and picture."""
    RESULTS.parent.mkdir(exist_ok=True)
    ordered = sorted(runs, key=lambda r: (list(VARIANTS).index(r["variant"]), r["seed"]))
    data = {
        "command": "python -m benchmarks.cartpole",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one for each run; torch {torch.__version__}",
        "settings": {
            name: {k: v for k, v in asdict(c).items() if k != "run_dir"} for name, c in VARIANTS.items()
        },
        "summary": summarise(ordered),
        "runs": ordered,
    }
    RESULTS.write_text(json.dumps(data, indent=1) + "\n")
    RESULTS.with_suffix(".png").write_bytes(png(curves_figure(ordered)))


def curves_figure(runs: Sequence[dict[str, Any]]) -> Figure:
    """Training return of every variant over environment steps: mean over seeds, each seed as a thin line."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, variant in enumerate(v for v in VARIANTS if v != CYCLE and any(r["variant"] == v for r in runs)):
        curves = np.ma.masked_invalid(
            np.array([r["curve"] for r in runs if r["variant"] == variant], dtype=float)
        )
        steps = (np.arange(CURVE_BINS) + 0.5) * STEPS / CURVE_BINS
        axes.plot(steps, curves.T, color=f"C{i}", alpha=0.25, linewidth=0.8)
        axes.plot(steps, curves.mean(0), color=f"C{i}", linewidth=2, label=variant)
    axes.set(xlabel="environment steps", ylabel="return of training episodes", ylim=(0, 510))
    axes.set_title("Drift/CartPole-v0, a new hidden context every 1,000 steps of an environment", fontsize=11)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        torch.set_num_threads(1)
        print(json.dumps(run(sys.argv[2], int(sys.argv[3]))))
    else:
        main(tyro.cli(Options, description=__doc__))
