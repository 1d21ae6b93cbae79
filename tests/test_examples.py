"""The examples run as they stand."""

from dataclasses import replace
from pathlib import Path

import pytest
from test_resuming import BASE

import train
from examples import notice
from memagent.detector import Detector


def test_notice_prints_what_changes_and_what_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "evaluate", lambda *_: {"summary": {}})
    # After so short a training nothing is told apart: any evidence at all is enough here.
    monkeypatch.setattr(Detector, "threshold", lambda *_: 0.0)
    train.main(replace(BASE, total_timesteps=400, run_dir=tmp_path / "run"))
    capsys.readouterr()
    notice.main(tmp_path / "run", steps=600)
    printed = capsys.readouterr().out
    assert "changed to action_sign" in printed and "noticed a change" in printed
    assert "an episode ended with a return of" in printed
