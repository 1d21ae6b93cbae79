"""No run of a benchmark is lost; and what benchmarks.continuous makes of them: gaps, recovery, tables, curves, JSON."""

import json
import runpy
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks import continuous, runs
from benchmarks.continuous_tables import summarise, tables
from benchmarks.distributed_simulator import Costs, predict
from benchmarks.runs import CURVE_BINS, Key, Run, draw_curves

TASK = "Drift/PointWind-v0"


def made(
    agent: str,
    score: float,
    after: list[float],
    seed: int = 0,
    sampled: float | None = None,
) -> dict[str, Any]:
    """A run that scores `score` on all contexts; `after` are the rewards after the one change, 5 steps each."""

    def records(mean: float) -> list[dict[str, Any]]:
        return [
            {"context_id": c, "split": split, "adapted": False, "mean_return": mean, "std_return": 0.0}
            for split in ("train", "held_out")
            for c in range(2)
        ]

    return {
        "task": TASK,
        "agent": agent,
        "seed": seed,
        "steps": 100,
        "updates": 7,
        "train_seconds": 3.0,
        "curve": [score] * CURVE_BINS,
        "contexts": records(score),
        "contexts_sampled": None if sampled is None else records(sampled),
        "after_changes": [after],
    }


RUNS = [
    made("random", 0.0, [0.0] * 20),
    made("dnc", 80.0, [0.0] * 8 + [1.0] * 12, sampled=75.0),
    made("dnc", 60.0, [0.0] * 20, seed=1, sampled=85.0),
    made("none", 20.0, [0.0] * 20, sampled=30.0),
    made("oracle", 120.0, [1.0] * 20, sampled=105.0),
]


@pytest.mark.filterwarnings("ignore:.* found in sys.modules")  # a module that other tests have loaded
@pytest.mark.parametrize(
    "name", ["adaptation", "continuous", "controls", "environments", "gpu", "memory", "mutations"]
)
def test_help_measures_nothing_and_writes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(path: Path, *args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"{path} was written")

    monkeypatch.setattr(Path, "write_text", write)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert ended.value.code == 0
    assert "--help" in capsys.readouterr().out


def test_the_gap_between_no_memory_and_the_oracle() -> None:
    summary = summarise(RUNS, steps_per_bin=5)[TASK]
    assert summary["memory_matters"] == pytest.approx(100 / 120, abs=1e-3)
    assert summary["gap_closed"] == 0.5  # (70 - 20) / (120 - 20)
    assert summary["gap_closed_sampled"] == 0.667  # (80 - 30) / (105 - 30)
    assert summary["gap_closed_lstm"] is None
    assert summary["mean_score"] == {"random": 0.0, "dnc": 70.0, "none": 20.0, "oracle": 120.0}


def test_recovery_counts_steps_from_the_change_to_a_window_of_twenty_good_ones() -> None:
    """The DNC's first seed pays from step 40 on: step 60; the second never in its 100 steps."""
    recovery = summarise(RUNS, steps_per_bin=5)[TASK]["recovery"]
    assert recovery["dnc"] == {"changes": 2, "median_steps": 80, "censored_share": 0.5}
    assert recovery["oracle"] == {"changes": 1, "median_steps": 20, "censored_share": 0.0}
    assert recovery["none"]["censored_share"] == 1.0


def test_results_are_read_back_with_tables_and_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuous, "RESULTS", tmp_path / "results" / "continuous.json")
    rate = {
        "task": continuous.SPEED,
        "agent": "dnc",
        "seed": 0,
        "steps": 8,
        "train_seconds": 1.0,
        "steps_per_second": 8.0,
    }
    continuous.save([rate, *RUNS[::-1]])
    data = json.loads(continuous.RESULTS.read_text())
    assert data["runs"] == [*RUNS, rate]  # in the order of tasks, agents and seeds
    assert data["summary"]["throughput"] == {"dnc": 8.0}
    assert set(continuous.STEPS) < set(data["settings"])
    text = continuous.RESULTS.with_suffix(".md").read_text()
    assert text == tables(data["summary"])
    assert (
        "| dnc | 70.0 [60.0, 80.0] | 80.0 [75.0, 85.0] |" in text
        and "the DNC closes 50%, all three by sampled actions 67%" in text
    )
    assert continuous.RESULTS.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_change_in_the_middle_of_an_episode_is_watched_for_a_hundred_steps() -> None:
    """Episodes of 200 steps, a change every 300: at 300 and 900, while that at 600 falls between two episodes."""
    make_env, spaces = continuous.envs.make_vec, []

    def make(num_envs: int, **options: Any) -> Any:
        env = make_env("Drift/PointGoal-v0", num_envs, 0, **options)
        spaces.append(env.action_space)
        return env

    class Still:
        def act(self, obs: np.ndarray) -> np.ndarray:
            return np.zeros((len(obs), 2), np.float32)

        def observe(self, *_: Any) -> None:
            pass

    segments = continuous.after_changes(make, lambda num_envs: Still(), num_envs=3)
    assert np.array(segments).shape == (6, 20)


def test_an_agent_keeps_its_colour_where_another_has_no_runs() -> None:
    axes = Figure().subplots()
    curve: list[float | None] = [1.0] * CURVE_BINS
    draw_curves(axes, {"absent": [], "present": [curve]}, 100)
    assert axes.get_legend_handles_labels()[1] == ["present"]
    assert {line.get_color() for line in axes.lines} == {"C1"}


def test_every_run_is_saved_when_it_is_done_and_a_failing_one_costs_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fast_is_saved = threading.Event()

    def run_apart(module: str, key: Key) -> Run:
        if key[1] == "broken":
            raise subprocess.CalledProcessError(1, [module])
        if key[1] == "slow":
            assert fast_is_saved.wait(timeout=60)
        return {"agent": key[1], "train_seconds": 1.0}

    monkeypatch.setattr(runs, "run_apart", run_apart)
    wanted: list[Key] = [(TASK, agent, 0) for agent in ("known", "slow", "broken", "fast")]
    known: dict[Key, Run] = {(TASK, "known", 0): {"agent": "known", "train_seconds": 1.0}}
    saved: list[list[str]] = []

    def save(done: list[Run]) -> None:
        saved.append([run["agent"] for run in done])
        if "fast" in saved[-1]:
            fast_is_saved.set()

    with pytest.raises(SystemExit, match=r"1 of 3 runs failed.*broken, seed 0\. .*run these anew"):
        runs.complete("nowhere", wanted, known, 2, save)
    assert saved == [["known", "fast"], ["known", "fast", "slow"], ["known", "fast", "slow"]]


def test_a_run_that_is_repeated_stays_until_the_new_one_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_apart(module: str, key: Key) -> Run:
        return {"agent": key[1], "is": "new", "train_seconds": 1.0}

    monkeypatch.setattr(runs, "run_apart", run_apart)
    agents = ("first", "second", "unasked")
    known: dict[Key, Run] = {(TASK, agent, 0): {"agent": agent, "is": "old"} for agent in agents}
    saved: list[list[str]] = []
    wanted: list[Key] = [(TASK, "first", 0), (TASK, "second", 0)]
    runs.complete("nowhere", wanted, known, 1, lambda done: saved.append([r["is"] for r in done]), again=True)
    assert saved[0] == ["new", "old", "old"] and saved[-1] == ["new", "new", "old"]


@pytest.mark.parametrize(
    ("costs", "actors", "cores", "expected"),
    [
        (Costs(0.1, 0.0, 0.0, 0.0, 0.0), 2, 1, 2 * 16 * 8 / 0.1),  # actors that wait, and no updates
        (Costs(0.1, 0.1, 0.0, 0.0, 0.0), 2, 2, 2 * 16 * 8 / 0.1),  # that compute, on a core each
        (Costs(0.1, 0.1, 0.0, 0.0, 0.0), 2, 1, 16 * 8 / 0.1),  # that share a core
        (Costs(0.1, 0.0, 0.0, 0.2, 0.0), 4, 2, 64 / 0.2),  # the learner makes an update for every 64 steps
        (Costs(0.1, 0.0, 0.0, 0.2, 0.8), 4, 2, 64 / 0.3),  # … and publishes after eight of them
    ],
)
def test_the_predicted_speed_is_that_of_what_limits_it(
    costs: Costs, actors: int, cores: int, expected: float
) -> None:
    found = predict(costs, actors=actors, cores=cores, steps=16, num_envs=8, steps_per_update=64)
    assert found == pytest.approx(expected, rel=0.02)
