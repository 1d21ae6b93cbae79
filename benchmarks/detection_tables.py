"""What the runs of benchmarks.detection say: a summary for JSON, tables in Markdown, a picture."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.continuous_tables import recoveries
from benchmarks.runs import Run
from benchmarks.tables import markdown, plain

SIGNALS: dict[str, dict[str, Any]] = {
    "untold": {"adapt": False},
    "none": {"phase_signal": "none"},
    "detect": {"phase_signal": "detect"},
    "info": {"phase_signal": "info"},
}
"""How an agent knows of changes, as arguments of `make_acting`."""


def summarise(runs: Sequence[Run], references: Sequence[Run], steps_per_bin: int) -> dict[str, Any]:
    """By task: what is noticed and when, over all agents, and each agent's share of what being told gives.

    Args:
        runs: of benchmarks.detection, by task.
        references: runs of benchmarks.continuous of random actions and of the oracle, which recoveries are measured by.
        steps_per_bin: steps of each of their numbers after a change.
    """
    summary: dict[str, Any] = {}
    for task, group in groupby(runs, key=lambda r: r["task"]):
        mine = list(group)
        by_agent = {
            name: [r for r in mine if r["agent"] == name] for name in dict.fromkeys(r["agent"] for r in mine)
        }
        outside = {
            name: [r for r in references if (r["task"], r["agent"]) == (task, name)]
            for name in ("random", "oracle")
        }
        summary[task] = {
            **detection(mine),
            "share_of_told": round(float(np.mean([share(r["score"]) for r in mine])), 3),
            "agents": {name: describe(of, outside, steps_per_bin) for name, of in by_agent.items()},
        }
    return summary


def detection(runs: Sequence[Run]) -> dict[str, Any]:
    """Of the changes that matter, and of all, the share missed and the median delay; false alarms in 10,000 steps."""
    changes = [change for r in runs for change in r["changes"]]
    found: dict[str, Any] = {}
    for suffix, some in (("", [c for c in changes if c[1]]), ("_of_all", changes)):
        delays = [delay for delay, _ in some if delay is not None]
        found["changes" + suffix] = len(some)
        found["missed" + suffix] = round(1.0 - len(delays) / len(some), 3) if some else None
        found["median_delay" + suffix] = float(np.median(delays)) if delays else None
    steps = sum(r["steps"] for r in runs)
    found["false_alarms_per_10000"] = round(1e4 * sum(r["false_alarms"] for r in runs) / steps, 2)
    return found


def share(score: Mapping[str, float]) -> float:
    """Of the gap between an agent that is not told and does not adapt and one that is told, what noticing closes."""
    return (score["detect"] - score["untold"]) / (score["info"] - score["untold"])


def describe(runs: Sequence[Run], outside: Mapping[str, Sequence[Run]], steps_per_bin: int) -> dict[str, Any]:
    """One agent on one task: scores by signal, what it notices, how soon it recovers within an episode."""
    score = {signal: round(float(np.mean([r["score"][signal] for r in runs])), 1) for signal in SIGNALS}
    entry = {"seeds": len(runs), "score": score, "share_of_told": round(share(score), 3), **detection(runs)}
    cycles = [r["cycle"] for r in runs if r.get("cycle")]
    if cycles:
        entry["cycle"] = {signal: resumed([c[signal] for c in cycles]) for signal in cycles[0]}
    after = {signal: [r["after_changes"][signal] for r in runs if r["after_changes"]] for signal in SIGNALS}
    agents = {signal: [{"after_changes": segments} for segments in of] for signal, of in after.items()}
    found = recoveries({**outside, **agents}, steps_per_bin).get("recovery", {})
    if "detect" in found:
        entry["recovery_median"] = found["detect"]["median_steps"]
        entry["not_recovered"] = found["detect"]["censored_share"]
        entry["recovery"] = {signal: found[signal] for signal in SIGNALS}
    return entry


def resumed(cycles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is left of an old context that returns: how often the first episode has nearly the best of before.

    Forgetting is the best visit of a context before the last one less the last, its mean over contexts (Chaudhry et al.
    2018). Scores are normalised between random and oracle.
    """
    first, best = np.concatenate([c["resumed"] for c in cycles]).T
    visits = np.concatenate([c["visits"] for c in cycles])
    return {
        "returns": len(first),
        "kept": round(float((first >= 0.95 * best).mean()), 3),
        "first": round(float(first.mean()), 3),
        "best": round(float(best.mean()), 3),
        "forgetting": round(float((visits[:, :-1].max(1) - visits[:, -1]).mean()), 3),
    }


def tables(summary: Mapping[str, Any]) -> str:
    """The summary as Markdown."""
    head = [
        "task", "memory", "seeds", *SIGNALS, "share of told", "missed", "delay", "missed of all",
        "false alarms", "recovery, steps", "not within 100",
    ]  # fmt: skip
    text = (
        "Mean returns of the episodes of a stream whose context changes at any step, 400 apart in the mean, by how the "
        "agent knows of changes: not at all and without adapting; not at all, fitting the newest steps; by itself; "
        "told. Noticing by itself: the share of the gap from untold to told that it closes; of the changes that matter "
        "(a reversed action, a heading turned by more than a quarter, a platform moved by more than its radius) the "
        "share missed within 100 steps, and the median delay in steps; the share missed of all changes; false alarms "
        "in 10,000 steps; median steps to recover within an episode, and the share of changes that are not overcome "
        "within 100. Made by `python -m benchmarks.detection`."
    )
    parts = [text, markdown(head, list(_rows(summary)))]
    if cycles := list(_cycles(summary)):
        parts += [
            (
                "A cycle of four contexts, each back three times, changes between episodes, none told of unless said. "
                "Scores are normalised between random (0) and oracle (1). Of the returns of an old context the share "
                "whose first episode has 0.95 of the best ten-episode mean of before or more; the mean of both; "
                "forgetting: the best visit of before less the last."
            ),
            markdown(["task", "memory", "", "returns", "0.95 kept", "first", "best", "forgetting"], cycles),
        ]
    return "\n\n".join(parts) + "\n"


def _cycles(summary: Mapping[str, Any]) -> Iterator[list[str]]:
    for task, entry in summary.items():
        for name, agent in entry["agents"].items():
            for signal, x in agent.get("cycle", {}).items():
                numbers = [f"{x[key]:.2f}" for key in ("first", "best", "forgetting")]
                how = {"detect": "notices", "info": "told"}[signal]
                yield [task, name, how, str(x["returns"]), _percent(x["kept"]), *numbers]


def _rows(summary: Mapping[str, Any]) -> Iterator[list[str]]:
    for task, entry in summary.items():
        for name, x in entry["agents"].items():
            delay = "" if x["median_delay"] is None else f"{x['median_delay']:.0f}"
            recovered = (
                [str(x["recovery_median"]), _percent(x["not_recovered"])] if "recovery" in x else ["", ""]
            )
            yield [
                task, name, str(x["seeds"]), *(plain(x["score"][signal]) for signal in SIGNALS),
                _percent(x["share_of_told"]), _percent(x["missed"]), delay, _percent(x["missed_of_all"]),
                f"{x['false_alarms_per_10000']:.1f}", *recovered,
            ]  # fmt: skip


def _percent(x: float | None) -> str:
    return "" if x is None else f"{100 * x:.0f} %"


def figure(runs: Sequence[Run], before: int, steps_per_bin: int) -> Figure:
    """Mean reward around the changes by signal, one panel for each task and memory, three of them in a row."""
    panels = [(key, list(group)) for key, group in groupby(runs, key=lambda r: (r["task"], r["agent"]))]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    picture = Figure(figsize=(4.2 * columns, 3.8 * rows), layout="constrained")
    for place, ((task, agent), of) in enumerate(panels, 1):
        axes = picture.add_subplot(rows, columns, place)
        for i, signal in enumerate(SIGNALS):
            mean = np.mean([r["around_changes"][signal] for r in of], 0)
            steps = (np.arange(len(mean)) + 0.5) * steps_per_bin - before
            axes.plot(steps, mean, color=f"C{i}", label=signal)
        axes.axvline(0.0, color="0.5", linewidth=0.8)
        axes.set_title(f"{task}, {agent}", fontsize=10)
        axes.set(xlabel="steps since the change", ylabel="mean reward")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return picture
