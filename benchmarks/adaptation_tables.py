"""What the runs of benchmarks.adaptation say: a summary for JSON, tables in Markdown."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from benchmarks.runs import Run, rounded, scores
from benchmarks.tables import markdown, plain, shown
from memagent.evaluation.intervals import interval, paired_difference

UNIFORM = "dnc, uniform replay"
KINDS = ("none", "lstm", "dnc", UNIFORM)
SPLITS = ("train", "held_out")
ABLATION, COSTS = "ablation", "costs"


def without(kind: str) -> str:
    """The name of the agent that is trained without adaptation."""
    return f"{kind} without adaptation"


def by_agent(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each agent, in their order."""
    return {name: [r for r in runs if r["agent"] == name] for name in dict.fromkeys(r["agent"] for r in runs)}


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """By task and memory: returns without adaptation and with it, and the gain; variants and costs as they are."""
    summary: dict[str, Any] = {}
    for task, group in groupby(runs, key=lambda r: r["task"]):
        mine = list(group)
        of = by_agent(mine)
        if task == COSTS:
            summary[task] = {name: cost_ratios(its[0]) for name, its in of.items()}
        elif task == ABLATION:
            summary[task] = {name: variant(its) for name, its in of.items()}
        else:
            summary[task] = {kind: compare(of.get(kind, []), of.get(without(kind), [])) for kind in KINDS}
            if "oracle" in of:
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
    entry: dict[str, Any] = {
        "train_cpu_seconds": round(float(np.mean([r["train_cpu_seconds"] for r in runs])))
    }
    for split in SPLITS:
        found = scores(runs, split, True)
        entry[split] = rounded(interval(found)) | {"seeds": found.mean(1).round(1).tolist()}
    return entry


def cost_ratios(run: Run) -> dict[str, Any]:
    """The times of one memory, and those with adaptation as multiples of those without."""
    return {
        name: run[f"{name}_ms"]
        | {"ratio": round(run[f"{name}_ms"]["with"] / run[f"{name}_ms"]["without"], 2)}
        for name in ("update", "acting")
    }


def tables(summary: Mapping[str, Any]) -> str:
    """The summary as Markdown."""
    parts = [
        (
            "Mean returns over 16 contexts of each split, held still; in brackets 95 % bootstrap intervals: over "
            "seeds, gains over contexts. Zero context: agents that adapt, but whose context is held at 0. Made by "
            "`python -m benchmarks.adaptation`."
        )
    ]
    for task, entry in summary.items():
        if task == COSTS:
            rows = [[kind, *cost_cells(of)] for kind, of in entry.items()]
            parts.append("## Costs\n\n" + markdown(["memory", "update, ms", "acting step, ms"], rows))
        elif task == ABLATION:
            rows = [
                [
                    name,
                    *(f"{shown(of[split])} ({seeds(of[split])})" for split in SPLITS),
                    f"{of['train_cpu_seconds']} s",
                ]
                for name, of in entry.items()
            ]
            parts.append(
                "## Variants, no memory, Drift/CartPole-v0\n\n"
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
        if not any(of["seeds"].values()):
            continue
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
    return [
        f"{of[name]['with']} / {of[name]['without']} = {of[name]['ratio']}" for name in ("update", "acting")
    ]


def seeds(part: Mapping[str, Any]) -> str:
    """The scores of the seeds."""
    return ", ".join(plain(score) for score in part["seeds"])
