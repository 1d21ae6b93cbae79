"""What benchmarks.adaptation makes of its runs: gains over agents trained without, tables, borrowed runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces

from benchmarks import adaptation, continuous
from benchmarks.adaptation_tables import summarise, tables
from benchmarks.runs import CURVE_BINS
from memagent.memory import MemoryConfig

TASK = "Drift/CartPole-v0"


def made(task: str, agent: str, seed: int, unadapted: float, adapted: float | None = None) -> dict[str, Any]:
    """A run; on held-out contexts it scores half as much, and one more on every further context."""
    scores = [(False, unadapted), *([(True, adapted)] if adapted is not None else [])]
    return {
        "task": task,
        "agent": agent,
        "seed": seed,
        "steps": 100,
        "updates": 7,
        "train_seconds": 3.0,
        "train_cpu_seconds": 2.0,
        "curve": [unadapted] * CURVE_BINS,
        "contexts": [
            {
                "context_id": c,
                "split": split,
                "adapted": kind,
                "mean_return": part * score + c,
                "std_return": 0.0,
            }
            for split, part in (("train", 1.0), ("held_out", 0.5))
            for kind, score in scores
            for c in range(3)
        ],
    }


RUNS = [
    made(TASK, "none", 0, 10.0, 90.0),
    made(TASK, "none", 1, 20.0, 100.0),
    made(TASK, "none", 2, 20.0, 500.0),  # no agent without adaptation has this seed: no part of the gain
    made(TASK, "none without adaptation", 0, 40.0),
    made(TASK, "none without adaptation", 1, 60.0),
    made(TASK, "oracle", 0, 200.0),
    made("ablation", "1 step", 0, 0.0, 7.0),
    {
        "task": "costs",
        "agent": "dnc",
        "seed": 0,
        "update_ms": {"with": 60.0, "without": 50.0},
        "acting_ms": {"with": 1.5, "without": 1.0},
    },
]


def test_the_gain_is_over_agents_trained_without_of_the_same_seeds() -> None:
    none = summarise(RUNS)[TASK]["none"]
    assert none["train"]["unadapted"] == 51.0  # (40 + 60) / 2, and 0, 1, 2 on the three contexts
    assert none["train"]["adapted"] == 231.0
    assert none["train"]["zero_context"] == pytest.approx(17.7)
    assert none["train"]["gain"][0] == 45.0  # (90 - 40 + 100 - 60) / 2
    assert none["held_out"]["gain"][0] == 22.5
    assert none["seeds"] == {"adapted": 3, "unadapted": 2}


def test_what_was_not_run_is_left_out() -> None:
    summary = summarise(RUNS)
    assert "gain" not in summary[TASK]["dnc"].get("train", {})
    assert summary[TASK]["oracle"]["train"]["unadapted"]["estimate"] == 201.0
    assert summary["ablation"]["1 step"]["train"]["seeds"] == [8.0]
    assert summary["costs"]["dnc"]["update"]["ratio"] == 1.2
    assert summary["costs"]["dnc"]["acting"]["ratio"] == 1.5
    text = tables(summary)
    assert "| oracle |  | 201 [" in text and "60.0 / 50.0 = 1.2" in text


def test_results_are_written_with_the_runs_of_other_benchmarks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = made("Drift/Pendulum-v0", "lstm", 0, -200.0) | {"after_changes": None}
    (tmp_path / "continuous.json").write_text(
        json.dumps({"runs": [theirs, theirs | {"agent": "RecurrentPPO"}]})
    )
    monkeypatch.setattr(continuous, "RESULTS", tmp_path / "continuous.json")
    monkeypatch.setattr(adaptation, "RESULTS", tmp_path / "adaptation.json")
    adaptation.save([*reversed(RUNS)])
    data = json.loads((tmp_path / "adaptation.json").read_text())
    assert {(r["agent"], r["seed"]) for r in data["runs"]} == {(r["agent"], r["seed"]) for r in RUNS}
    assert data["summary"]["Drift/Pendulum-v0"]["lstm"]["train"]["unadapted"] == -199.0
    assert (tmp_path / "adaptation.md").read_text() == tables(data["summary"])
    assert (tmp_path / "adaptation.png").read_bytes().startswith(b"\x89PNG")


def test_variants_differ_from_the_preset_in_what_their_name_says() -> None:
    steps = adaptation.VARIANTS["10 steps"].config(TASK)
    assert steps.meta.num_steps == 10 and steps.adapt.enabled and steps.memory.kind == "none"
    assert not adaptation.AGENTS["dnc without adaptation"].config(TASK).adapt.enabled
    assert adaptation.borrowed("Drift/Pendulum-v0", "oracle") and not adaptation.borrowed(TASK, "oracle")


def test_a_context_told_to_the_heads_alone_stands_beside_features_that_do_not_know_it() -> None:
    behind = adaptation.ToldBehindMemory(
        spaces.Box(-1.0, 1.0, (5,)),
        features_dim=12,
        context_dim=4,
        memory=MemoryConfig(kind="lstm", hidden_size=8),
    )
    start, state = torch.zeros(3, 2, dtype=torch.bool), behind.initial_state(2)
    x = torch.randn(3, 2, 5 + 4)
    other = torch.cat((x[..., :5], torch.randn(3, 2, 4)), -1)
    features, _ = behind.unroll(x, start, state)
    changed, _ = behind.unroll(other, start, state)
    assert behind.features_dim == 12 and behind.context_dim == 4
    torch.testing.assert_close(features[..., :8], changed[..., :8], rtol=0, atol=0)
    torch.testing.assert_close(changed[..., 8:], other[..., 5:], rtol=0, atol=0)
