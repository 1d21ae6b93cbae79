"""The benchmark of the memory probes: how episodes become harder, and what its runs say."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import envs
from benchmarks import probes
from benchmarks.probes import Harder


def difficulties(env: Any) -> list[int]:
    return env.get_attr("difficulty")


def finish(harder: Harder, share: float, episodes: int) -> None:
    """Episodes end, one a step, with such a share of right answers."""
    for _ in range(episodes):
        harder.locals = {"infos": [{}, {"share_right": share}]}
        harder.num_timesteps += 2
        assert harder._on_step()


def test_episodes_become_harder_as_they_are_mastered() -> None:
    env = envs.make_vec("Memory/Pairs-v0", 4, seed=0)
    harder = Harder(2, 10)
    harder.init_callback(SimpleNamespace(get_env=lambda: env, logger=None))  # type: ignore[arg-type]
    harder._on_training_start()
    assert difficulties(env) == [2, 2, 2, 2]
    finish(harder, 0.8, 300)
    assert harder.reached == 2  # not enough of them right
    finish(harder, 1.0, 51)
    assert difficulties(env) == [2, 2, 3, 3]
    finish(harder, 1.0, 198)
    assert harder.reached == 3  # answers to the easier ones do not count
    finish(harder, 1.0, 200 * 20)
    assert difficulties(env) == [2, 5, 7, 10]
    assert list(harder.reached_at) == [2, 3, 4, 5, 6, 7, 8, 10]
    assert list(harder.reached_at.values()) == sorted(harder.reached_at.values())


def made_up(task: str, kind: str, seed: int, score: float) -> dict[str, Any]:
    scores = {str(d): score for d in probes.PROBES[task].judged}
    costs = {"parameters": 1_000, "train_cpu_seconds": 10.0 + seed, "reached_at": {"2": 0, "16": 500}}
    return {"task": task, "kind": kind, "seed": seed, "scores": scores, **costs}


def test_what_the_runs_say(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "RESULTS", tmp_path / "probes.json")
    probes.save(
        [
            made_up("Memory/Repeat-v0", "lstm", 0, 0.5),
            *(made_up("Memory/Pairs-v0", "dnc", seed, score) for seed, score in ((1, 0.8), (0, 1.0))),
        ]
    )
    data = probes.load(tmp_path / "probes.json")
    of = data["summary"]["Memory/Pairs-v0"]["16"]["dnc"]
    assert of["seeds"] == [1.0, 0.8] and of["mean"] == pytest.approx(0.9)
    assert 0.8 <= of["low"] < 0.9 < of["high"] <= 1.0
    assert "low" not in data["summary"]["Memory/Repeat-v0"]["16"]["lstm"]
    assert data["costs"]["Memory/Pairs-v0"]["dnc"]["reached"] == [16, 16]
    text = (tmp_path / "probes.md").read_text()
    assert "| 16 | 0.90 [0.80, 1.00] |" in text and "| back |" not in text
    assert (tmp_path / "probes.png").read_bytes().startswith(b"\x89PNG")


def test_all_memories_have_as_many_parameters() -> None:
    for task in probes.PROBES:
        counts = []
        for kind in ("dnc", "lstm", "gru"):
            config = probes.config_of(task, kind)
            agent = probes.make_agent(config, envs.make_vec(task, 1, 0))
            counts.append(sum(p.numel() for p in agent.policy.parameters()))
        assert np.ptp(counts) < 0.02 * min(counts)
