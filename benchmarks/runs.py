"""What the benchmarks share: runs in processes of their own, learning curves, judging, results that are kept."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from evaluate import hold
from memagent.evaluation.intervals import Interval
from memagent.evaluation.protocol import Context, Player, play_contexts
from memagent.run_config import EvaluationConfig

CURVE_BINS = 50
EVALUATION = EvaluationConfig(contexts=16, episodes=5, warmup_episodes=2, seed=1_000)
"""The protocol of the scores on drifting tasks."""

Run = dict[str, Any]
Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Wanted:
    """Which runs a benchmark does."""

    seeds: int = 3
    """Seeds 0, 1, … of every agent."""
    workers: int = 2
    """Runs at a time, on one core each."""
    again: bool = False
    """Repeat those that are in the results already."""


def complete(
    module: str,
    wanted: Sequence[Key],
    runs: dict[Key, Run],
    workers: int,
    save: Callable[[list[Run]], None],
    again: bool = False,
) -> None:
    """Do the runs that are missing, `workers` at a time, and save after each. One that fails keeps none from going on.

    With `again`, also those that are there: each stays until the new one takes its place.

    Raises:
        SystemExit: at the end, with the runs that failed.
    """
    missing = [key for key in wanted if again or key not in runs]
    print(f"{len(missing)} of {len(wanted)} runs to do, {workers} at a time.", flush=True)
    failed = []
    with ThreadPoolExecutor(workers) as pool:
        doing = {pool.submit(run_apart, module, key): key for key in missing}
        for done in as_completed(doing):
            key = doing[done]
            *parts, seed = key
            name = f"{', '.join(map(str, parts))}, seed {seed}"
            if isinstance(done.exception(), subprocess.CalledProcessError):
                failed.append(name)
                print(f"{name}: failed.", flush=True)
                continue
            runs[key] = done.result()
            save(list(runs.values()))
            print(f"{name}: {runs[key]['train_seconds']:.0f} s of training.", flush=True)
    save(list(runs.values()))
    if failed:
        raise SystemExit(
            f"{len(failed)} of {len(missing)} runs failed and left their error above: {'; '.join(failed)}. "
            "The others are saved; run these anew."
        )


def run_apart(module: str, key: Key) -> Run:
    """One run, `python -m module --run …`, in a process of its own, with one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [sys.executable, "-m", module, "--run", *map(str, key)]
    done = subprocess.run(command, env=os.environ | threads, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def command_line(
    main: Callable[[Any], None], run: Callable[..., Run], options: type, description: str | None
) -> None:
    """A benchmark's command line: `--run TASK AGENT SEED` does one run and prints it; else `options` say what to do."""
    if sys.argv[1:2] == ["--run"]:
        torch.set_num_threads(1)
        *parts, seed = sys.argv[2:]
        print(json.dumps(run(*parts, int(seed))))
    else:
        main(tyro.cli(options, description=description))


def judge(
    contexts: Sequence[Context],
    settings: EvaluationConfig,
    make_env: Callable[[int], VecEnv],
    make_player: Callable[[int, bool], Player],
    adapts: bool,
) -> list[dict[str, Any]]:
    """The records of every context, unadapted and, where it adapts, adapted; one figure after the point."""
    records = play_contexts(
        contexts,
        lambda held: hold(make_env(len(held)), held),
        make_player,
        settings.episodes,
        settings.warmup_episodes,
        (False, True) if adapts else (False,),
    )
    keys = ("context_id", "split", "adapted", "mean_return", "std_return")
    return [
        {k: round(v, 1) if isinstance(v := record[k], float) else v for k in keys}  # type: ignore[literal-required]
        for record in records
    ]


def train(agent: BaseAlgorithm, steps: int, callback: BaseCallback) -> Run:
    """What a training came to: steps, updates, seconds of the clock and of the processor."""
    began, began_cpu = time.perf_counter(), time.process_time()
    agent.learn(steps, callback)
    return {
        "steps": agent.num_timesteps,
        "updates": agent._n_updates,
        "train_seconds": round(time.perf_counter() - began, 1),
        "train_cpu_seconds": round(time.process_time() - began_cpu, 1),
    }


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


def draw_curves(axes: Axes, curves: Mapping[str, Sequence[Sequence[float | None]]], steps: int) -> None:
    """Training return of every variant over environment steps: mean over seeds, each seed as a thin line.

    The place in `curves` gives the colour, also of the variants that have no runs.
    """
    x = (np.arange(CURVE_BINS) + 0.5) * steps / CURVE_BINS
    for i, (variant, of_seeds) in enumerate(curves.items()):
        if not of_seeds:
            continue
        lines = np.ma.masked_invalid(np.array(of_seeds, dtype=float))
        ended = ~lines.mask.all(0)  # episodes of equal length end together, and not in every part
        axes.plot(x[ended], lines.T[ended], color=f"C{i}", alpha=0.25, linewidth=0.8)
        axes.plot(x[ended], lines.mean(0)[ended], color=f"C{i}", linewidth=2, label=variant)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def figure(runs: Sequence[Run], agents: Sequence[str], steps: Mapping[str, int]) -> Figure:
    """Training return of every agent over environment steps, one panel for each task of `steps` that has runs."""
    runs = [r for r in runs if r.get("curve")]
    tasks = [task for task in steps if any(r["task"] == task for r in runs)]
    picture = Figure(figsize=(4.6 * max(1, len(tasks)), 4.6), layout="constrained")
    panels = np.atleast_1d(picture.subplots(1, max(1, len(tasks))))
    handles: dict[str, Artist] = {}
    for axes, task in zip(panels, tasks, strict=False):
        mine = [r for r in runs if r["task"] == task]
        draw_curves(axes, {a: [r["curve"] for r in mine if r["agent"] == a] for a in agents}, steps[task])
        axes.set_title(task, fontsize=11)
        axes.set(xlabel="environment steps", ylabel="return of training episodes")
        lines, names = axes.get_legend_handles_labels()
        handles |= dict(zip(names, lines, strict=True))
    picture.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=8, frameon=False)
    return picture


def refuse_unknown(tasks: Iterable[str], agents: Iterable[str], groups: Mapping[str, Iterable[str]]) -> None:
    """SystemExit where a task is none of `groups`, or an agent is in none of them."""
    known = {agent for group in groups.values() for agent in group}
    if unknown := (set(tasks) - set(groups)) | (set(agents) - known):
        raise SystemExit(
            f"There is no {', '.join(sorted(unknown))}; there are the tasks {'; '.join(groups)} "
            f"and the agents {'; '.join(sorted(known))}."
        )


def write(path: Path, data: Mapping[str, Any], runs: Iterable[Run]) -> None:
    """Write `data` and, one line each, the runs as JSON."""
    lines = ",\n".join(json.dumps(r) for r in runs)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data, indent=1)[:-2] + f',\n "runs": [\n{lines}\n]}}\n')


def scores(runs: Iterable[Run], split: str, adapted: bool, records: str = "contexts") -> np.ndarray:
    """Mean returns [runs, contexts], by seed, of the runs that have such `records`."""
    return np.array(
        [
            [c["mean_return"] for c in r[records] if c["split"] == split and c["adapted"] is adapted]
            for r in sorted(runs, key=lambda r: r["seed"])
            if r.get(records)
        ]
    )


def rounded(x: Interval) -> dict[str, Any]:
    """An interval for JSON."""
    low, high = (None if np.isnan(end) else round(end, 1) for end in (x.low, x.high))
    return {"estimate": round(x.estimate, 1), "low": low, "high": high}


def machine() -> str:
    """What the runs were made on."""
    return f"{platform.machine()}, {os.cpu_count()} cores, one for each run; torch {torch.__version__}"


def load(path: Path) -> dict[str, Any]:
    """The results so far."""
    return json.loads(path.read_text()) if path.is_file() else {"runs": []}
