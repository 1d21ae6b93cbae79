"""What the runs of benchmarks.continuous say: a summary for JSON, tables in Markdown."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from benchmarks.runs import Run, rounded, scores
from benchmarks.tables import markdown, shown
from memagent.evaluation.intervals import interval
from memagent.evaluation.metrics import recovery_time

SPLITS = ("train", "held_out")
SAMPLED = "contexts_sampled"  # what a run calls the records of contexts played by sampled actions
WINDOW = 20  # steps that a recovery is averaged over


def summarise(runs: Sequence[Run], steps_per_bin: int) -> dict[str, Any]:
    """By task: every agent's scores, what memory closes of the gap to the oracle, how soon changes are overcome."""
    summary: dict[str, Any] = {}
    for task, group in groupby(runs, key=lambda r: r["task"]):
        mine = list(group)
        agents = {
            name: [r for r in mine if r["agent"] == name] for name in dict.fromkeys(r["agent"] for r in mine)
        }
        if "steps_per_second" in mine[0]:
            summary[task] = {name: of[0]["steps_per_second"] for name, of in agents.items()}
            continue
        entry: dict[str, Any] = {"agents": {name: describe(of) for name, of in agents.items()}}
        entry["mean_score"] = {
            name: entry["agents"][name]["train"]["unadapted"]["estimate"] for name in agents
        }
        summary[task] = entry | gaps(agents) | recoveries(agents, steps_per_bin)
    return summary


def describe(runs: Sequence[Run]) -> dict[str, Any]:
    """Scores of one agent on one task with intervals over seeds, and what its training took."""
    entry: dict[str, Any] = {"seeds": len(runs)}
    for name in ("steps", "updates", "train_seconds"):
        entry[name] = round(float(np.mean([r[name] for r in runs])))
    for split in SPLITS:
        plain = scores(runs, split, False)
        if not plain.size:
            continue
        entry[split] = {"unadapted": rounded(interval(plain))}
        if (sampled := scores(runs, split, False, SAMPLED)).size:
            entry[split]["sampled"] = rounded(interval(sampled))
    return entry


def gaps(agents: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Of the gap between no memory and the oracle on training contexts, the share that each memory closes.

    `gap_closed` is the DNC's, of its mean over seeds; `gap_closed_sampled` is that where
    all three sample their actions; `memory_matters` is the gap itself as a share of that between random actions and
    the oracle.
    """
    if not {"none", "oracle", "random"} <= agents.keys():
        return {}

    none, oracle, random = (
        scores(agents[name], "train", False).mean() for name in ("none", "oracle", "random")
    )

    def share(name: str, records: str = "contexts") -> float | None:
        mine, low, high = (
            scores(agents.get(agent, ()), "train", False, records) for agent in (name, "none", "oracle")
        )
        if not (mine.size and low.size and high.size):
            return None
        return round(float((mine.mean() - low.mean()) / (high.mean() - low.mean())), 3)

    return {
        "memory_matters": round(float((oracle - none) / (oracle - random)), 3),
        "gap_closed": share("dnc"),
        "gap_closed_sampled": share("dnc", records=SAMPLED),
        "gap_closed_lstm": share("lstm"),
    }


def recoveries(agents: Mapping[str, Sequence[Run]], steps_per_bin: int) -> dict[str, Any]:
    """Median steps until the mean reward of WINDOW steps is nine tenths of the way from random to the oracle.

    Of changes within an episode; the references are the means of both over the steps that follow the same changes. A
    change that is not overcome before its episode ends counts with all its steps, and is censored.
    """
    after = {name: [r["after_changes"] for r in runs if r["after_changes"]] for name, runs in agents.items()}
    if not after.get("random") or not after.get("oracle"):
        return {}
    random, oracle = float(np.mean(after["random"])), float(np.mean(after["oracle"]))
    found: dict[str, Any] = {}
    for name, of_seeds in after.items():
        if not of_seeds:
            continue
        segments = np.concatenate([np.array(s) for s in of_seeds])  # [changes, bins]
        length = segments.shape[1]
        stream = np.concatenate(
            [[0.0], segments.ravel()]
        )  # recovery_time wants a step before the first change
        changes = 1 + length * np.arange(len(segments))
        recovery = recovery_time(stream, changes.tolist(), random, oracle, window=WINDOW // steps_per_bin)
        found[name] = {
            "changes": len(segments),
            "median_steps": round(float(np.median(recovery.steps)) * steps_per_bin),
            "censored_share": round(recovery.censored_share, 3),
        }
    return {"recovery": found}


def tables(summary: Mapping[str, Any]) -> str:
    """The summary as Markdown."""
    parts = [
        (
            "Mean returns, in brackets 95 % bootstrap intervals over seeds. Sampled: by actions drawn as in "
            "training. Made by `python -m benchmarks.continuous`."
        )
    ]
    for task, entry in summary.items():
        if "agents" not in entry:
            rows = [[name, f"{rate:,.0f}"] for name, rate in entry.items()]
            parts.append(
                f"## {task}\n\n" + markdown(["agent", "environment steps a second of training"], rows)
            )
            continue
        parts.append(f"## {task}\n\n" + markdown(COLUMNS, [row(name, entry) for name in entry["agents"]]))
        if entry.get("gap_closed") is not None:
            sampled = entry["gap_closed_sampled"]
            parts.append(
                f"Of the gap between no memory and the oracle the DNC closes {entry['gap_closed']:.0%}"
                + ("" if sampled is None else f", all three by sampled actions {sampled:.0%}")
                + f". That gap is {entry['memory_matters']:.0%} of the one between random actions and the oracle."
            )
    return "\n\n".join(parts) + "\n"


COLUMNS = [
    "agent",
    "training contexts",
    "… sampled",
    "held out",
    "… sampled",
    "recovery, steps",
    "updates",
    "training",
]


def row(name: str, entry: Mapping[str, Any]) -> list[str]:
    """One agent's line."""
    mine = entry["agents"][name]
    recovery = entry.get("recovery", {}).get(name)
    overcome = f"{recovery['median_steps']} ({recovery['censored_share']:.0%} not)" if recovery else ""
    kinds = ("unadapted", "sampled")
    told = [shown(mine.get(split, {}).get(kind)) for split in SPLITS for kind in kinds]
    return [name, *told, overcome, f"{mine['updates']:,}", f"{mine['train_seconds']:,} s"]
