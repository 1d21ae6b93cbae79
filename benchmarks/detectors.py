"""Which rule finds a change in what the dynamics models say: the agent's own, or a known one, on the same numbers?

    pip install river
    python -m benchmarks.detectors

plays the stream of benchmarks.detection with agents that benchmarks.adaptation has trained. They are told of every
change LATE steps after it, so that all rules judge the same steps: those of a phase whose context is known, then up to
LATE steps under a context that no longer holds. Rules read one number a step: the ratio, log p(step | 0) - log p(step |
z), or the surprise, -log p(step | z). Each has the threshold that raises at most one false alarm in 10,000 steps. The
results are benchmarks/results/detectors.json and detectors.md.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

import envs
from benchmarks import adaptation
from benchmarks.detection import MATTERS, NUM_ENVS, PHASE, SEED, STEPS
from benchmarks.runs import machine
from benchmarks.tables import markdown
from memagent.agents.acting import Acting
from memagent.belief import CLIP, MEMORY
from memagent.dynamics import Outcomes, surprise
from memagent.runs import make_agent

RESULTS = Path(__file__).parent / "results" / "detectors.json"
LATE = 100  # steps between a change and the agent's being told
PAUSE = 16  # steps after an alarm in which a rule that keeps its state raises no other
Values = NDArray[np.float64]
Rule = Callable[[Values, float], Iterator[int]]
"""From one number a step [T] and a threshold, the steps at which there is an alarm."""


@dataclass(frozen=True)
class Options:
    """Compare the rules on every task."""

    tasks: tuple[str, ...] = ("Drift/CartPole-v0", "Drift/Pendulum-v0")
    """Tasks that have trained agents without memory."""
    seeds: int = 3
    """Seeds 0, 1, … of the agents, of which those count that are trained."""


class Segment(NamedTuple):
    """What one phase gave: numbers [T] of each step, and at which index the plant had changed."""

    ratio: Values
    surprise: Values
    change: int
    matters: bool


def main(options: Options) -> None:
    """Record the streams, try every threshold of every rule, write the table."""
    summary = {}
    for task in options.tasks:
        seeds = [s for s in range(options.seeds) if adaptation.trained(task, "none", s).is_file()]
        if not seeds:
            raise SystemExit(
                f"No agent is trained on {task}; run python -m benchmarks.adaptation --tasks {task}."
            )
        segments = [segment for seed in seeds for segment in record(task, seed)]
        rows = {name: best(segments, *how) for name, how in rules().items()}
        summary[task] = {"seeds": len(seeds), "segments": len(segments), "rules": rows}
        print(table({task: summary[task]}), flush=True)
    data = {"command": "python -m benchmarks.detectors", "machine": machine(), "summary": summary}
    RESULTS.write_text(json.dumps(data, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(table(summary))


def record(task: str, seed: int) -> list[Segment]:
    """What the detector's model says of every phase that was known for LATE steps or more and then changed."""
    config = adaptation.AGENTS["none"].config(task, seed)
    made = make_agent(config, envs.make_vec(task, 1, seed))
    agent = type(made).load(adaptation.trained(task, "none", seed), device="cpu")
    player = agent.make_acting(NUM_ENVS, phase_signal="info")
    ratio, surprised, ripe, changed, contexts = play(task, player)
    segments = []
    for e in range(NUM_ENVS):
        times = np.flatnonzero(changed[:, e])
        for before, t, after in zip([0, *times[:-1]], times, [*times[1:], STEPS], strict=True):
            known = (
                np.flatnonzero(ripe[before + LATE : t, e]) + before + LATE
            )  # told of the phase, and z fitted
            if known.size < LATE or after - t < LATE:
                continue
            later = np.flatnonzero(ripe[t : t + LATE, e]) + t
            steps = np.concatenate([known, later])
            matters = bool(MATTERS[task](contexts[t - 1][e], contexts[t][e]))
            segments.append(Segment(ratio[steps, e], surprised[steps, e], known.size, matters))
    return segments


def play(
    task: str, player: Acting
) -> tuple[NDArray, NDArray, NDArray, NDArray, list[list[Mapping[str, Any]]]]:
    """Ratio, surprise and whether they count, [T, E] each; where the plant has changed, [T, E]; its contexts."""
    tracker, belief = player.tracker, player.belief
    assert tracker is not None and belief is not None
    detector = tracker.detector
    options: dict[str, Any] = {"schedule": "random", "change_at": "step", "phase_steps": PHASE}
    env = envs.make_vec(task, NUM_ENVS, SEED, **options)
    obs, phases, kept, contexts = env.reset(), [], [], []
    numbers = np.zeros((2, NUM_ENVS))
    weigh = detector.evidence

    def watch(told: Any, steps: Outcomes) -> Any:
        found = weigh(told, steps)
        mean, log_var = detector.model(steps.inputs, told)
        numbers[:] = (
            found[:, 0].numpy(),
            surprise(mean, log_var, steps.outcome).sum(-1)[:, 0].detach().numpy(),
        )
        return found

    setattr(detector, "evidence", watch)  # noqa: B010 - mypy lets no method be assigned
    for step in range(STEPS):
        assert isinstance(obs, np.ndarray)
        goes_on = ~player.episode_start
        action = player.act(obs)  # takes in the step before
        kept.append((*numbers.copy(), goes_on & (belief.num_runs >= tracker.config.young)))
        obs, reward, done, infos = env.step(action)
        phases.append([i["phase"] for i in infos])
        contexts.append([i["context"] for i in infos])
        player.observe(action, reward, done, [
            {**info, "phase": phase} for info, phase in zip(infos, phases[max(0, step - LATE)], strict=True)
        ])  # fmt: skip
    env.close()
    ratio, surprised, ripe = (np.array(x)[1:] for x in zip(*kept, strict=True))  # of the step before
    return ratio, surprised, ripe.astype(bool), np.diff(phases, axis=0, prepend=[phases[0]]) > 0, contexts


def rules() -> dict[str, tuple[str, Rule, Sequence[float]]]:
    """By name: which number a rule reads, the rule, and the thresholds that are tried, the most cautious first."""
    from river.drift import ADWIN, PageHinkley

    heights = np.geomspace(40.0, 0.5, 60).tolist()
    odds = (1.0 - np.geomspace(1e-6, 0.5, 40)).tolist()
    deltas = np.geomspace(1e-8, 0.9, 40).tolist()
    found: dict[str, tuple[str, Rule, Sequence[float]]] = {
        "forgetting sum of the ratio (the agent's)": ("ratio", forgetting_sum, heights),
        "cumulative sum of the ratio": ("ratio", partial(forgetting_sum, memory=1.0), heights),
        "the ratio's sum over 16 steps": ("ratio", window_sum, heights),
    }
    for number in ("ratio", "surprise"):
        found |= {
            f"Page-Hinkley of the {number} (river)": (
                number,
                partial(of_river, lambda h: PageHinkley(min_instances=1, threshold=h, mode="up")),
                np.geomspace(1_000.0, 1.0, 40).tolist(),
            ),
            f"ADWIN of the {number} (river)": (
                number,
                partial(of_river, lambda d: ADWIN(delta=d, clock=1)),
                deltas,
            ),
            f"Bayesian online, of the {number}": (number, bayesian, odds),
        }
    return found


def best(segments: Sequence[Segment], number: str, rule: Rule, thresholds: Sequence[float]) -> dict[str, Any]:
    """What a rule finds with the least cautious threshold that raises one false alarm in 10,000 steps at most."""
    known = sum(s.change for s in segments)
    found: dict[str, Any] = {}
    for threshold in thresholds:
        alarms_false, delays = 0, []
        for segment in segments:
            alarms = list(rule(getattr(segment, number), threshold))
            alarms_false += sum(a < segment.change for a in alarms)
            if segment.matters:
                after = [a - segment.change + 1 for a in alarms if a >= segment.change]
                delays.append(after[0] if after else None)
        rate = 1e4 * alarms_false / known
        if rate > 1.0:
            break
        noticed = [d for d in delays if d is not None]
        found = {
            "threshold": threshold,
            "false_alarms_per_10000": round(rate, 2),
            "missed": round(1.0 - len(noticed) / len(delays), 3),
            "median_delay": float(np.median(noticed)) if noticed else None,
        }
    return found


def forgetting_sum(values: Values, threshold: float, memory: float = MEMORY) -> Iterator[int]:
    """The sum of `memagent.belief`; with memory = 1 the cumulative sum of Page (1954)."""
    total = 0.0
    for t, value in enumerate(values.clip(-CLIP, CLIP).tolist()):
        total = max(0.0, memory * total + value)
        if total > threshold:
            yield t
            total = 0.0


def window_sum(values: Values, threshold: float, width: int = 16) -> Iterator[int]:
    """The sum of the newest steps, of fewer where there are fewer."""
    sums = np.cumsum(values.clip(-CLIP, CLIP))
    yield from _apart(np.flatnonzero(sums - np.concatenate([np.zeros(width), sums])[: len(sums)] > threshold))


def of_river(make: Callable[[float], Any], values: Values, threshold: float) -> Iterator[int]:
    """A detector of river; those that find falls as well count what rises alone."""
    detector, mean, count = make(threshold), 0.0, 0
    for t, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected and value > mean:
            yield t
        mean, count = mean + (value - mean) / (count + 1), count + 1


def bayesian(values: Values, threshold: float, newest: int = PAUSE) -> Iterator[int]:
    """Adams and MacKay 2007, Bayesian Online Changepoint Detection: an alarm where the present run is young, surely.

    Runs are normal with unknown mean and variance; a change comes every PHASE steps in the mean.
    """
    yield from _apart(np.flatnonzero(_young(values.tobytes(), newest) > threshold))


@cache
def _young(data: bytes, newest: int) -> Values:
    """The probability at each step [T] that the run is younger than `newest` steps, kept for every threshold."""
    values = np.frombuffer(data)
    first = values[:LATE]
    mean, strength, shape, rate = (np.array([x]) for x in (first.mean(), 1.0, 1.0, max(first.var(), 1e-6)))
    logs, odds = np.zeros(1), np.zeros(len(values))
    for t, x in enumerate(values):
        scale = rate * (strength + 1.0) / (shape * strength)
        fit = (
            gammaln(shape + 0.5) - gammaln(shape) - 0.5 * np.log(2.0 * math.pi * shape * scale)
            - (shape + 0.5) * np.log1p((x - mean) ** 2 / (2.0 * shape * scale))
        )  # fmt: skip
        fit += logs
        logs = np.concatenate([[logsumexp(fit) - math.log(PHASE)], fit + math.log1p(-1.0 / PHASE)])
        logs -= logsumexp(logs)
        apart = strength * (x - mean) ** 2 / (2.0 * (strength + 1.0))
        mean = np.concatenate([mean[:1], (strength * mean + x) / (strength + 1.0)])
        strength, shape = (np.concatenate([s[:1], s + g]) for s, g in ((strength, 1.0), (shape, 0.5)))
        rate = np.concatenate([rate[:1], rate + apart])
        odds[t] = 0.0 if t < 2 * newest else float(np.exp(logs[:newest]).sum())
    return odds


def _apart(crossings: NDArray[np.intp]) -> Iterator[int]:
    """Those that follow the last one by PAUSE steps or more."""
    last = -PAUSE
    for t in crossings.tolist():
        if t - last >= PAUSE:
            last = t
            yield t


def table(summary: Mapping[str, Any]) -> str:
    """The summary as Markdown."""
    rows = [
        [
            task, name, "" if not x else f"{x['false_alarms_per_10000']:.1f}",
            "" if not x else f"{100 * x['missed']:.0f} %",
            "" if not x or x["median_delay"] is None else f"{x['median_delay']:.0f}",
        ]
        for task, entry in summary.items()
        for name, x in entry["rules"].items()
    ]  # fmt: skip
    text = (
        "Reversed actions by several rules on the same steps, each with the threshold that raises at most one false "
        "alarm in 10,000 steps of a known phase. Made by `python -m benchmarks.detectors`."
    )
    return f"{text}\n\n{markdown(['task', 'rule', 'false alarms', 'missed', 'median delay, steps'], rows)}\n"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
