"""The examples run as they stand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_resuming import BASE

import train
from examples import deploy, memory_in_ppo, notice, own_environment, train_and_evaluate
from memagent.detector import Detector


def test_notice_prints_what_changes_and_what_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "evaluate", lambda *_: {"summary": {}})
    # After so short a training nothing is told apart: any evidence at all is enough here.
    monkeypatch.setattr(Detector, "thresholds", lambda *_: np.full(2, 1e-9))
    train.main(replace(BASE, total_timesteps=400, run_dir=tmp_path / "run"))
    capsys.readouterr()
    notice.main(tmp_path / "run", steps=600)
    printed = capsys.readouterr().out
    assert "changed to action_sign" in printed and "noticed a change" in printed
    assert "an episode ended with a return of" in printed


def test_an_agent_trains_is_judged_and_deployed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = train_and_evaluate.train(2_100)
    assert agent._n_updates > 0
    lengths = [train_and_evaluate.judge(agent, adapt, contexts=2, steps=100) for adapt in (False, True)]
    assert all(5 < length <= 200 for length in lengths)
    agent.save(tmp_path / "agent.zip")
    capsys.readouterr()
    deploy.main(tmp_path / "agent.zip", steps=200)
    assert "an episode ended with a return of" in capsys.readouterr().out


def test_an_environment_of_ones_own_drifts(capsys: pytest.CaptureFixture[str]) -> None:
    own_environment.main(300)
    printed = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("step ") for line in printed) == 10
    assert printed[-1].startswith("step 100: leak 0.")


def test_the_memory_serves_ppo(capsys: pytest.CaptureFixture[str]) -> None:
    memory_in_ppo.main(100)
    assert "return " in capsys.readouterr().out


def test_the_examples_are_short() -> None:
    paths = [path for path in Path(notice.__file__).parent.glob("*.py") if path.stem != "__init__"]
    assert len(paths) == 5
    assert all(sum(map(bool, path.read_text().splitlines())) <= 50 for path in paths)
