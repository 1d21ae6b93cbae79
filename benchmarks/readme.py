"""Writes the README's table of scores, and that of what they cost, from the results that the other benchmarks keep.

    python -m benchmarks.readme

replaces what stands between the marks in README.md and docs/results.md: one row for each agent, one column for each
task. Below the scores are the date, the commit and the machine of the results.
"""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from benchmarks.adaptation import borrowed_runs
from benchmarks.adaptation_tables import UNIFORM, without
from benchmarks.runs import load
from benchmarks.tables import markdown, shown

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SOURCES = ("adaptation", "continuous", "rivals")
README, PAGE = ROOT / "README.md", ROOT / "docs" / "results.md"
MARKED, COSTS_MARKED = (
    re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL) for name in ("scores", "costs")
)
TASKS = {
    "CartPole": "Drift/CartPole-v0",
    "Pendulum": "Drift/Pendulum-v0",
    "PointWind": "Drift/PointWind-v0",
    "PointGoal": "Drift/PointGoal-v0",
}
OURS = {
    "DNC, adapting": ("dnc", "adapted"),
    "… without prioritised replay": (UNIFORM, "adapted"),
    "LSTM, adapting": ("lstm", "adapted"),
    "no memory, adapting": ("none", "adapted"),
    "DNC": ("dnc", "unadapted"),
    "LSTM": ("lstm", "unadapted"),
    "no memory": ("none", "unadapted"),
}
"""By row: the agent, and whether it adapts or was trained without."""
RIVALS = {
    "DQN or SAC of SB3": ("SB3 DQN", "SB3 SAC"),
    "… on 8 stacked frames": ("SB3 DQN, 8 frames", "SB3 SAC, 8 frames"),
    "PPO of SB3": ("SB3 PPO", "SB3 PPO"),
    "RecurrentPPO of sb3-contrib": ("RecurrentPPO", "RecurrentPPO"),
}


class Score(NamedTuple):
    """A mean return with its interval, and the seeds behind it."""

    estimate: float
    low: float | None
    high: float | None
    seeds: int

    def text(self) -> str:
        score = shown({"estimate": self.estimate, "low": self.low, "high": self.high})
        return f"{score.replace('-', '−')} ({self.seeds})"


def ours(adaptation: Mapping[str, Any], task: str, kind: str, how: str) -> Score | None:
    """Our agent with a memory, "adapted" or "unadapted", on training contexts."""
    entry = adaptation["summary"][task].get(kind, {})
    part = entry.get("train", {})
    if how not in part:
        return None
    low, high = part[f"{how}_interval"]
    return Score(part[how], low, high, entry["seeds"][how])


def theirs(results: Mapping[str, Any], task: str, name: str) -> Score | None:
    """An agent that others wrote."""
    agents = results["summary"].get(task, {})
    found = agents.get("agents", agents).get(name)
    return Score(**found["train"]["unadapted"], seeds=found["seeds"]) if found else None


def table() -> str:
    """The rows of the table: mean returns over 16 contexts of the training ranges."""
    adaptation, continuous, rivals = (json.loads((RESULTS / f"{name}.json").read_text()) for name in SOURCES)
    rows: dict[str, list[Score | None]] = {}
    for name, (kind, how) in OURS.items():
        rows[name] = [ours(adaptation, task, kind, how) for task in TASKS.values()]
    for name, (discrete, boxed) in RIVALS.items():
        rows[name] = [
            theirs(rivals, task, discrete) or theirs(continuous, task, boxed) for task in TASKS.values()
        ]
    best = [max(s.estimate for s in column if s) for column in zip(*rows.values(), strict=True)]
    seeds = sum((r["task"], r["agent"]) == (TASKS["CartPole"], "oracle") for r in adaptation["runs"])
    told = [
        theirs(continuous, task, "oracle")
        or Score(**adaptation["summary"][task]["oracle"]["train"]["unadapted"], seeds=seeds)
        for task in TASKS.values()
    ]
    cells = [
        [name, *(cell(score, top) for score, top in zip(scores, best, strict=True))]
        for name, scores in rows.items()
    ]
    return markdown(
        ["", *TASKS], [*cells, ["*no memory, told the context*", *(cell(score) for score in told)]]
    )


def costs() -> str:
    """The rows of the other table: updates and seconds of a training, means over seeds."""
    kept = {name: load(RESULTS / f"{name}.json")["runs"] for name in SOURCES}
    rivals = {name for names in RIVALS.values() for name in names}
    theirs = [run for run in kept["continuous"] + kept["rivals"] if run["agent"] in rivals]
    runs = [*kept["adaptation"], *borrowed_runs(), *theirs]
    agents: dict[str, tuple[str, ...]] = {
        name: (kind if how == "adapted" else without(kind),) for name, (kind, how) in OURS.items()
    }
    agents.update(RIVALS)
    rows = [
        [
            label,
            *(
                cost([r for r in runs if r["task"] == task and r["agent"] in names])
                for task in TASKS.values()
            ),
        ]
        for label, names in agents.items()
    ]
    return markdown(["", *TASKS], rows)


def cost(runs: Sequence[Mapping[str, Any]]) -> str:
    """Updates, and seconds of the processor, or of the clock where those were not kept."""
    if not runs:
        return ""
    seconds = [run.get("train_cpu_seconds") or run["train_seconds"] for run in runs]
    return f"{max(run['updates'] for run in runs):,}; {sum(seconds) / len(seconds):,.0f} s"


def cell(score: Score | None, best: float | None = None) -> str:
    """A score, in bold if it is the best; nothing where it is missing."""
    if score is None:
        return ""
    return f"**{score.text()}**" if score.estimate == best else score.text()


def source() -> str:
    """Date and commit of the results, and the machine.

    Raises:
        SystemExit: the results are not committed.
    """
    paths = [str(RESULTS / f"{name}.json") for name in SOURCES]
    command = ["git", "status", "--porcelain", "--", *paths]
    if subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout:
        raise SystemExit("The results are not committed, expected a commit to name: commit them first.")
    command = ["git", "log", "-1", "--format=%cs, commit %h", "--", *paths]
    last = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    machine = json.loads((RESULTS / "adaptation.json").read_text())["machine"]
    return f"Made by `python -m benchmarks.readme`: results of {last}; {machine}."


def main() -> None:
    """Write both tables."""
    text = f"\n{table()}\n\n{source()}\n\n"
    README.write_text(MARKED.sub(lambda _: text, README.read_text()))
    PAGE.write_text(COSTS_MARKED.sub(lambda _: f"\n{costs()}\n\n", PAGE.read_text()))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
