"""Does the agent notice by itself that its plant has changed, how soon, and what is that worth?

    python -m benchmarks.detection

judges the agents that benchmarks.adaptation has trained (it keeps them in benchmarks/agents/), and keeps the results in
benchmarks/results/detection.json, detection.md (tables) and detection.png (rewards after a change). Runs that are there
already are not repeated; `--again` does so.

Every agent plays the same stream four times, with the same weights: a new context of the training ranges every 400
steps in the mean, at any step of an episode. "untold": its context stays 0. "none": the context is fitted to the newest
steps. "detect": it notices changes by itself. "info": it is told of them. Then it plays, noticing by itself and told, a
cycle of four contexts in which each comes back three times or more: what does the first episode after a return give?
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

import envs
from benchmarks import adaptation, continuous
from benchmarks.detection_tables import SIGNALS, figure, summarise, tables
from benchmarks.runs import (
    EVALUATION,
    Key,
    Run,
    Wanted,
    command_line,
    complete,
    load,
    machine,
    refuse_unknown,
    write,
)
from memagent.agents import MemoryAlgorithm
from memagent.agents.acting import Acting
from memagent.evaluation.figures import png
from memagent.evaluation.metrics import normalised_score, resumption
from memagent.runs import make_agent

RESULTS = Path(__file__).parent / "results" / "detection.json"
TASKS = adaptation.DRIFTING
KINDS = adaptation.KINDS
SEED, NUM_ENVS, STEPS, PHASE = 777, 32, 2_500, 400
HORIZON = 100  # steps within which a change has to be noticed
CYCLE_ENVS, CYCLE_CONTEXTS, CYCLE_PHASE, CYCLE_VISITS = 4, 4, 5_000, 4
BEFORE, AFTER, BIN = 20, 100, 5  # steps around a change in the picture, and how many make one number

Parameters = Mapping[str, Any]  # a number or an array of each name


def reversed_action(old: Parameters, new: Parameters) -> Any:
    """The action's sign is another."""
    return old["action_sign"] != new["action_sign"]


def turned(old: Parameters, new: Parameters) -> Any:
    """The compass deviates by a quarter turn more or less."""
    return np.cos(old["heading"] - new["heading"]) < 0.0


RADIUS = 0.2  # of the platform, m


def moved(old: Parameters, new: Parameters) -> Any:
    """The platform lies farther away than its radius."""
    return np.hypot(old["goal_x"] - new["goal_x"], old["goal_y"] - new["goal_y"]) > RADIUS


MATTERS: dict[str, Callable[[Parameters, Parameters], Any]] = {
    "Drift/CartPole-v0": reversed_action,
    "Drift/Pendulum-v0": reversed_action,
    "Drift/PointWind-v0": turned,
    "Drift/PointGoal-v0": moved,
}
"""Which changes matter: after them, to act as before does harm."""


@dataclass(frozen=True)
class Options(Wanted):
    """Judge what is missing, then write summary, tables and picture."""

    seeds: int = 3
    """Seeds 0, 1, … of every agent, of which those count that are trained."""
    tasks: tuple[str, ...] = TASKS
    """Tasks to judge on."""
    agents: tuple[str, ...] = ()
    """Memories; none: all of them."""


class Stream(NamedTuple):
    """T steps in E environments."""

    obs: NDArray[np.float32]  # [T, E, O], before the step
    reward: NDArray[np.float64]  # [T, E]
    ended: NDArray[np.bool_]  # [T, E], the step ended an episode
    changed: NDArray[np.bool_]  # [T, E], the step is the first under a new context
    alarm: NDArray[np.bool_]  # [T, E], before the step a change was noticed
    context: Parameters  # [T, E] of each parameter


def main(options: Options) -> None:
    """Judge what is missing, then summarise."""
    refuse_unknown(options.tasks, options.agents, dict.fromkeys(TASKS, KINDS))
    runs: dict[Key, Run] = {(r["task"], r["agent"], r["seed"]): r for r in load(RESULTS)["runs"]}
    asked = [
        (task, kind, seed)
        for seed in range(options.seeds)
        for task in options.tasks
        for kind in KINDS
        if not options.agents or kind in options.agents
    ]
    wanted: list[Key] = [key for key in asked if adaptation.trained(*key).is_file()]
    if len(wanted) < len(asked):
        print(
            f"{len(asked) - len(wanted)} agents are not trained yet; python -m benchmarks.adaptation does so."
        )
    complete("benchmarks.detection", wanted, runs, options.workers, save, options.again)
    print(tables(load(RESULTS)["summary"]))


def run(task: str, kind: str, seed: int) -> Run:
    """Judge one agent."""
    began = time.perf_counter()
    config = adaptation.AGENTS[kind].config(task, seed)
    made = make_agent(config, envs.make_vec(task, 1, seed))
    agent = type(made).load(adaptation.trained(task, kind, seed), device="cpu", adapt=config.adapt)
    streams = {signal: play(task, agent.make_acting(NUM_ENVS, **how)) for signal, how in SIGNALS.items()}
    return {
        "task": task,
        "agent": kind,
        "seed": seed,
        "train_seconds": round(time.perf_counter() - began, 1),
        "score": {signal: round(score(stream), 2) for signal, stream in streams.items()},
        "around_changes": {signal: around(stream) for signal, stream in streams.items()},
        "cycle": {signal: cycle(task, agent, SIGNALS[signal]) for signal in ("detect", "info")},
        "after_changes": after_changes(agent, task) if task in continuous.STEPS else None,
        **noticed(streams["detect"], task),
    }


def after_changes(agent: MemoryAlgorithm, task: str) -> dict[str, list[list[float]]]:
    """Rewards after changes within episodes by signal, as benchmarks.continuous measures them."""

    def make_env(num_envs: int, **options: Any) -> VecEnv:
        return envs.make_vec(task, num_envs, EVALUATION.seed, **options)

    return {
        signal: continuous.after_changes(make_env, partial(agent.make_acting, **how))
        for signal, how in SIGNALS.items()
    }


def cycle(task: str, agent: MemoryAlgorithm, how: Mapping[str, Any]) -> dict[str, list[list[float]]]:
    """A cycle of contexts that change between episodes, CYCLE_VISITS visits to each: returns between random and oracle.

    "resumed" has, of every return of an old context, the first episode and the best mean of ten before; "visits" the
    mean of every visit [environments x contexts, CYCLE_VISITS].
    """
    resumed: list[list[float]] = []
    visits: list[list[float]] = []
    options = {"schedule": "cycle", "num_contexts": CYCLE_CONTEXTS, "phase_steps": CYCLE_PHASE}
    steps = CYCLE_CONTEXTS * CYCLE_VISITS * CYCLE_PHASE
    stream = play(task, agent.make_acting(CYCLE_ENVS, **how), CYCLE_ENVS, steps, options)
    random, oracle = (envs.reference_scores(task)["train"][name] for name in ("random", "oracle"))
    for e in range(CYCLE_ENVS):
        returns, starts = episodes(stream, e)
        scores = normalised_score(returns, random, oracle)
        phase = stream.changed[:, e].cumsum()[starts]
        found = resumption(scores, phase % CYCLE_CONTEXTS)
        resumed += np.stack([found.first, found.best], 1).tolist()
        means = [scores[phase == p].mean() for p in range(CYCLE_CONTEXTS * CYCLE_VISITS)]
        visits += np.reshape(means, (CYCLE_VISITS, CYCLE_CONTEXTS)).T.tolist()
    return {"resumed": np.round(resumed, 3).tolist(), "visits": np.round(visits, 3).tolist()}


def play(
    task: str,
    player: Acting,
    num_envs: int = NUM_ENVS,
    num_steps: int = STEPS,
    options: Mapping[str, Any] = {"schedule": "random", "change_at": "step", "phase_steps": PHASE},
) -> Stream:
    """A stream by one player, unless otherwise told the one of random changes."""
    env = envs.make_vec(task, num_envs, SEED, **options)
    obs, seen, contexts = env.reset(), [], []
    for _ in range(num_steps):
        assert isinstance(obs, np.ndarray)
        action = player.act(obs)
        after, reward, done, infos = env.step(action)
        player.observe(action, reward, done, infos)
        seen.append((obs, reward, done, [i["phase_changed"] for i in infos], player.observed.alarm))
        contexts.append([i["context"] for i in infos])
        obs = after
    env.close()
    places, rewards, ended, changed, alarm = (np.array(part) for part in zip(*seen, strict=True))
    by_name = {name: np.array([[c[name] for c in row] for row in contexts]) for name in contexts[0][0]}
    return Stream(places, rewards, ended, changed, alarm, by_name)


def score(stream: Stream) -> float:
    """The mean return of the episodes that end in the stream, and begin in it."""
    return float(np.mean(np.concatenate([episodes(stream, e)[0] for e in range(stream.reward.shape[1])])))


def episodes(stream: Stream, e: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The returns of the episodes that one environment ended, and the steps at which they began."""
    ends = np.flatnonzero(stream.ended[:, e])
    returns = np.diff(stream.reward[:, e].cumsum()[ends], prepend=0.0)
    return returns, np.concatenate([[0], ends[:-1] + 1])


def noticed(stream: Stream, task: str) -> dict[str, Any]:
    """How soon changes were noticed, and how often there was none.

    A change counts where it is HORIZON steps or more from the one before and after it. Its delay is of steps under the
    new context before the alarm; on PointGoal of those since the craft was first where the old platform was, before
    which nothing can tell. An alarm is false where nothing has changed since the one before it.
    """
    changes, alarms_false = [], 0
    steps, num_envs = stream.changed.shape
    for e in range(num_envs):
        alarms, times = np.flatnonzero(stream.alarm[:, e]), np.flatnonzero(stream.changed[:, e])
        bounds = np.array([0, *times, steps])
        so_far = np.searchsorted(times, alarms)  # changes before each alarm
        alarms_false += int((np.diff(so_far, prepend=0) == 0).sum())
        for before, t, after in zip(bounds[:-2], bounds[1:-1], bounds[2:], strict=True):
            if t - before < HORIZON or after - t < HORIZON:
                continue
            old, new = ({n: v[i, e] for n, v in stream.context.items()} for i in (t - 1, t))
            since = visit(stream, e, t, after, old) if task == "Drift/PointGoal-v0" else t
            if since is None or after - since < HORIZON:
                continue
            later = alarms[(alarms > t) & (alarms <= since + HORIZON)]
            delay = max(1, int(later[0] - since)) if later.size else None
            changes.append([delay, bool(MATTERS[task](old, new))])
    return {"changes": changes, "false_alarms": alarms_false, "steps": steps * num_envs}


def visit(stream: Stream, e: int, begin: int, end: int, old: Mapping[str, float]) -> int | None:
    """The first of the steps `begin` to `end` at which the craft is where the platform was."""
    place = stream.obs[begin:end, e, :2]
    there = np.hypot(place[:, 0] - old["goal_x"], place[:, 1] - old["goal_y"]) <= RADIUS
    return begin + int(there.argmax()) if there.any() else None


def around(stream: Stream) -> list[float]:
    """Mean rewards from BEFORE steps before the changes within episodes to AFTER steps after them, by bins of BIN."""
    rows = []
    for e in range(stream.reward.shape[1]):
        for t in np.flatnonzero(stream.changed[:, e]):
            part = stream.reward[max(t - BEFORE, 0) : t + AFTER, e]
            if len(part) == BEFORE + AFTER:
                rows.append(part.reshape(-1, BIN).mean(1))
    return np.mean(rows, 0).round(3).tolist()


def save(runs: list[Run]) -> None:
    """Write results, tables and picture."""
    ordered = sorted(runs, key=lambda r: (TASKS.index(r["task"]), KINDS.index(r["agent"]), r["seed"]))
    references = [r for r in load(continuous.RESULTS)["runs"] if r["agent"] in ("random", "oracle")]
    summary = summarise(ordered, references, BIN)
    data = {"command": "python -m benchmarks.detection", "machine": machine(), "summary": summary}
    write(RESULTS, data, ordered)
    RESULTS.with_suffix(".md").write_text(tables(summary))
    if continuous_runs := [r for r in ordered if r["after_changes"]]:  # on CartPole every step pays the same
        RESULTS.with_suffix(".png").write_bytes(png(figure(continuous_runs, BEFORE, BIN)))


if __name__ == "__main__":
    command_line(main, run, Options, __doc__)
