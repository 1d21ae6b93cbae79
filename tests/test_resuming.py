"""A run that is stopped or killed and goes on ends as one that never stopped, in the same files."""

import csv
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from agents.builders import SMALL, Corridor, build

import envs
import train
from memagent.agents import AdaptConfig, LearnerConfig
from memagent.agents.checkpoint import read_table
from memagent.archive import digest
from memagent.checkpoints import saved
from memagent.files import held
from memagent.memory import MemoryConfig
from memagent.replay import ReplayConfig
from memagent.run_config import RunConfig
from memagent.runs import RunError
from memagent.stopping import StopOnSignal

STEPS, STOP, KILL, EVERY = 1_200, 600, 780, 590
CLOCK = ("time/fps", "time/time_elapsed", "time/evaluation_share")
BASE = RunConfig(
    total_timesteps=STEPS,
    num_envs=4,
    phase_steps=60,
    wandb="disabled",
    save_every=EVERY,
    memory=MemoryConfig(kind="none", hidden_size=16),
    replay=ReplayConfig(capacity=1_200, burn_in=2, rows=8, stride=4, n_step=2),
    learner=LearnerConfig(batch_size=4, learning_starts=100, steps_per_update=32),
    adapt=AdaptConfig(context_dim=3, steps_ahead=3, train_support=6, support=8, young=4),
)
CASES = {
    "dqn, dnc": replace(BASE, memory=MemoryConfig(**SMALL)),
    "sac, lstm": replace(BASE, env="Drift/Pendulum-v0", memory=MemoryConfig(kind="lstm", hidden_size=16)),
    "dqn, gru": replace(BASE, memory=MemoryConfig(kind="gru", hidden_size=16)),
    "dqn, phases detected": replace(BASE, adapt=replace(BASE.adapt, phase_signal="detect")),
    "sac, phases detected": replace(
        BASE,
        env="Drift/PointWind-v0",
        total_timesteps=480,
        save_every=190,
        adapt=replace(BASE.adapt, phase_signal="detect"),
    ),
    "environments apart, memory refreshed and for life": replace(
        BASE,
        env="Memory/Recall-v0",
        phase_steps=None,
        total_timesteps=480,
        save_every=190,
        memory=MemoryConfig(kind="lstm", hidden_size=16),
        learner=replace(
            BASE.learner, memory_scope="lifetime", refresh_every=5, learning_starts=300, exploration_steps=3.0
        ),
    ),
}


class Killed(BaseException):
    """Nothing of the program runs after it."""


class Stops(StopOnSignal):
    """Interrupts the training at a step, or kills it."""

    at, kills = 0, False

    def _on_step(self) -> bool:
        if self.num_timesteps == type(self).at:
            if self.kills:
                raise Killed
            self.received = signal.SIGINT
        return super()._on_step()


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents are not judged, and trainings can be stopped."""
    monkeypatch.setattr(train, "evaluate", lambda *_: {"summary": {}})
    monkeypatch.setattr(train, "StopOnSignal", Stops)
    monkeypatch.setattr(Stops, "at", 0)


def stopped(config: RunConfig, at: int, kills: bool) -> Path:
    """The folder of a training that was stopped at a step."""
    Stops.at, Stops.kills = at, kills
    with pytest.raises(Killed if kills else SystemExit):
        train.main(config)
    Stops.at = 0
    assert config.run_dir is not None
    return config.run_dir


def rows(run_dir: Path) -> list[dict[str, str]]:
    """progress.csv without what a clock said."""
    with (run_dir / "progress.csv").open() as file:
        return [{name: row[name] for name in row if name not in CLOCK} for row in csv.DictReader(file)]


def assert_same(one: Path, other: Path) -> None:
    for name in ("model.zip", "episodes.csv", "status.json", "phase_scores.json", "best_model.zip"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert rows(one) == rows(other)
    newest, twin = (saved(folder / "checkpoints")[-1] for folder in (one, other))
    assert newest.name == twin.name
    for path in newest.iterdir():
        assert path.read_bytes() == (twin / path.name).read_bytes(), path.name


@pytest.mark.parametrize("case", CASES)
def test_straight_and_resumed_end_in_the_same_files(case: str, tmp_path: Path, quiet: None) -> None:
    """In mid-episode and mid-phase, and stopped between two updates, or killed behind a checkpoint."""
    config = CASES[case]
    straight = replace(config, run_dir=tmp_path / "straight")
    train.main(straight)
    share = config.total_timesteps / STEPS
    for how, at in (("stopped", round(share * STOP)), ("killed", round(share * KILL))):
        folder = stopped(replace(config, run_dir=tmp_path / how), at, kills=how == "killed")
        assert json.loads((folder / "status.json").read_text())["state"] != "trained"
        train.resume(folder)
        assert_same(tmp_path / "straight", folder)
        with pytest.raises(RunError, match="is finished"):
            train.resume(folder)


def test_a_training_killed_before_its_first_checkpoint_begins_anew(
    tmp_path: Path, quiet: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(BASE, total_timesteps=400, save_every=300)
    train.main(replace(config, run_dir=tmp_path / "straight"))
    folder = stopped(replace(config, run_dir=tmp_path / "killed"), 200, kills=True)
    capsys.readouterr()
    train.resume(folder)
    assert f"{folder} holds no checkpoint, and training begins anew." in capsys.readouterr().out
    assert_same(tmp_path / "straight", folder)


def test_an_agent_that_was_to_be_judged_is_not_trained_again(
    tmp_path: Path, quiet: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    config = replace(BASE, total_timesteps=300, run_dir=tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(train, "evaluate", killed)
        with pytest.raises(Killed):
            train.main(config)
    before = (tmp_path / "run" / "model.zip").read_bytes()
    monkeypatch.setattr(train, "learn", killed)
    train.resume(tmp_path / "run")
    assert "Training is over" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"
    assert (tmp_path / "run" / "model.zip").read_bytes() == before


@pytest.fixture
def folder(tmp_path: Path, quiet: None) -> Path:
    """A run that was interrupted, with three checkpoints."""
    config = replace(BASE, total_timesteps=800, save_every=100, run_dir=tmp_path / "run")
    return stopped(config, 400, kills=False)


def test_the_newest_whole_checkpoint_is_taken(
    folder: Path, quiet: None, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, whole, newest = saved(folder / "checkpoints")
    file = newest / "training.safetensors"
    broken = bytearray(file.read_bytes())
    broken[-5] ^= 1
    file.write_bytes(broken)
    train.resume(folder)
    said = capsys.readouterr().out.splitlines()[0]
    assert f"{newest} was not loaded: its training.safetensors is not what was written" in said
    assert f"goes on from step {int(whole.name)} of 800, saved in {whole}" in said


BREAKS: dict[str, Callable[[Path], Any]] = {
    "the model": lambda path: (path / "model.zip").write_bytes(b"PK"),
    "no arrays": lambda path: (path / "training.safetensors").unlink(),
    "the rest": lambda path: (path / "training.json").write_text('{"format": "memagent"}'),
    "no JSON": lambda path: (path / "training.json").write_text("{"),
    "another step": lambda path: _edit(path, steps=7),
}


def _edit(path: Path, **changes: Any) -> None:
    table = json.loads((path / "training.json").read_text())
    (path / "training.json").write_text(json.dumps(table | changes))


def _link(path: Path) -> None:
    (path / "model.zip").rename(path / "other.zip")
    (path / "model.zip").symlink_to("other.zip")


BREAKS["a link"] = _link


@pytest.mark.parametrize("case", BREAKS)
def test_a_folder_without_a_whole_checkpoint_is_one_sentence_and_stays_as_it_is(
    case: str, folder: Path, tmp_path: Path, quiet: None
) -> None:
    for path in saved(folder / "checkpoints"):
        BREAKS[case](path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"was not loaded: .*Nothing else in .* can be gone on from") as caught:
        train.resume(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_has_one_training_at_a_time(folder: Path, quiet: None) -> None:
    with held(folder), pytest.raises(RunError, match="is being trained by another process"):
        train.resume(folder)


def test_only_the_newest_and_the_best_checkpoints_stay(folder: Path) -> None:
    paths = saved(folder / "checkpoints")
    returns = [read_table(path)["recent_return"] for path in paths]
    assert 2 <= len(paths) <= 3
    assert len(paths) == 2 or returns[0] == max(returns)


def test_resume_takes_no_other_settings(folder: Path, quiet: None) -> None:
    with pytest.raises(RunError, match="leave --seed 3 out"):
        train.start(["--resume", str(folder), "--seed", "3"])
    with pytest.raises(RunError, match="is not a run folder"):
        train.start(["--resume", str(folder / "nowhere")])


def test_a_state_that_the_environments_cannot_have_is_one_sentence(folder: Path, quiet: None) -> None:
    for path in saved(folder / "checkpoints"):
        table = read_table(path)
        table["extra"]["env"] = {"envs": []}
        (path / "training.json").write_text(json.dumps(table | {"sha256": digest(table)}))
    with pytest.raises(RunError, match=r"is in no state that .* names") as caught:
        train.resume(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_an_evaluation_that_would_be_lost_is_refused_before_the_training(folder: Path, quiet: None) -> None:
    (folder / "evaluation.json").write_text('{"settings": {"contexts": 2}}')
    before = (folder / "progress.csv").read_bytes()
    with pytest.raises(RunError, match=r"holds an evaluation with other settings, .*; remove it first"):
        train.resume(folder)
    assert (folder / "progress.csv").read_bytes() == before


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_full_disk_hides_neither_the_error_nor_the_way_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interrupted: bool
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for name in ("save_agent", "save_status", "write_text"):
        monkeypatch.setattr(train, name, full)
    stop = StopOnSignal()
    stop.received = signal.SIGINT if interrupted else None
    with pytest.raises(SystemExit) as ended:
        train.end(build(envs.make_vec("CartPole-v1"), kind="none"), folder, stop, None)
    said = capsys.readouterr().err
    assert ended.value.code == (130 if interrupted else 1)
    assert "it was not saved in this state, and" in said and "is the newest that was" in said
    if interrupted:
        assert f"go on with `python train.py --resume {folder}`" in said
    else:
        assert "error: OSError: [Errno 28] No space left on device" in said and "Traceback" in said


def test_files_that_lost_rows_are_refused(folder: Path, quiet: None) -> None:
    (folder / "episodes.csv").write_text("step,env,phase,context_id,return,length\r\n")
    with pytest.raises(SystemExit) as ended:
        train.resume(folder)
    assert ended.value.code == 1
    assert "has 0 rows, expected the" in (folder / "error.txt").read_text()


def test_environments_that_save_no_state_begin_new_episodes(
    tmp_path: Path, quiet: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        gym.registry, "Corridor-v0", gym.envs.registration.EnvSpec("Corridor-v0", lambda: Corridor(40))
    )
    config = replace(BASE, env="Corridor-v0", phase_steps=None, total_timesteps=600, run_dir=tmp_path / "run")
    folder = stopped(config, 400, kills=False)  # each of the four in the 20th step of its third episode
    capsys.readouterr()
    train.resume(folder)
    assert (
        "Corridor-v0 does not save its state: its environments begin new episodes." in capsys.readouterr().out
    )
    assert json.loads((folder / "status.json").read_text())["steps"] >= 600
    with (folder / "episodes.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["env"] == "0"]
    assert steps == [160, 320, 560]
    shutil.rmtree(folder)
