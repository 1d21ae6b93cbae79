"""Several seeds by train.py: the same runs as one by one, gone on with where they stopped, never left behind."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from test_cli import SMALL, Run, run, start

from memagent import seeds
from memagent.files import held
from memagent.run_config import RunConfig, preset_config
from memagent.runs import RunError, how_to_go_on, load_config
from memagent.seeds import begin, refuse_other, seed_dirs

__all__ = ["run"]
TINY = ["--env=CartPole-v1", "--num-envs=2", "--memory.kind=none", "--wandb=disabled", "--device=cpu", *SMALL]


def test_each_seed_has_a_run_folder_of_its_own(tmp_path: Path) -> None:
    parent = begin(RunConfig(run_dir=tmp_path / "new" / "all", seed=9), [10, 2])
    assert [path.name for path in seed_dirs(parent)] == ["seed-2", "seed-10"]
    assert [load_config(path).seed for path in seed_dirs(parent)] == [2, 10]
    with pytest.raises(RunError, match="--resume"):
        begin(RunConfig(run_dir=parent), [3])
    assert not seed_dirs(parent / "seed-2") and not seed_dirs(tmp_path / "nowhere")


def test_the_folder_has_the_name_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parent = begin(preset_config("Drift/CartPole-v0", {}), [0, 1, 2])
    assert parent.parent == Path("runs") and parent.name.startswith("CartPole-v0-dnc-3seeds-20")


@pytest.mark.parametrize("seeds", [[1, 1], [-1, 2], [0, 2**32]])
def test_seeds_that_are_none_are_refused(tmp_path: Path, seeds: list[int]) -> None:
    with pytest.raises(RunError, match="--seeds are"):
        begin(RunConfig(run_dir=tmp_path / "all"), seeds)
    assert not (tmp_path / "all").exists()


def test_other_settings_are_none_to_go_on_with(tmp_path: Path) -> None:
    config = RunConfig(run_dir=tmp_path / "all")
    begin(config, [0, 1])
    refuse_other(tmp_path / "all", config, [1, 0])
    with pytest.raises(RunError, match="holds the seeds 0 1, not 2"):
        refuse_other(tmp_path / "all", config, [2])
    with pytest.raises(RunError, match="another total_timesteps"):
        refuse_other(tmp_path / "all", RunConfig(total_timesteps=5), [0, 1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "0", "1", "--seed=2"], "--seed and --seeds were given"),
        (["--jobs", "2"], "--jobs was given without --seeds"),
        (["--seeds", "0", "1", "--jobs", "0"], "--jobs is 0; give 1 or more"),
        (["--resume", "nowhere", "--seeds", "0"], "nowhere is not a run folder"),
        (["--seeds", "0", "1", "--env=Drift/Carpole-v0"], "The environment Drift/Carpole-v0 cannot be made"),
        (["--seeds", "0", "0", "--env=CartPole-v1"], "--seeds are 0 0; give different whole numbers"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("train.py", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {said}") and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_trainings_have_the_group_that_a_person_names_else_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)
    assert seeds._variables(1, tmp_path)["WANDB_RUN_GROUP"] == tmp_path.name
    monkeypatch.setenv("WANDB_RUN_GROUP", "mine")
    assert seeds._variables(1, tmp_path)["WANDB_RUN_GROUP"] == "mine"


def test_how_to_go_on_says_what_needs_trust(tmp_path: Path) -> None:
    trusted = begin(RunConfig(run_dir=tmp_path / "a", env_kwargs={"g": 5.0}, env="Pendulum-v1"), [0])
    plain = begin(RunConfig(run_dir=tmp_path / "b"), [0])
    for folder, ending in ((trusted, " --trust`"), (trusted / "seed-0", " --trust`"), (plain, "b`")):
        assert how_to_go_on(folder).endswith(ending)


def test_a_seed_is_the_run_that_it_is_alone_and_one_that_fails_stops_no_other(
    tmp_path: Path, run: Run
) -> None:
    """Seed 4 has a checkpoint that is none; seed 5 is finished and stays as it is."""
    alone, parent = tmp_path / "alone", tmp_path / "all"
    code, _, _ = run("train.py", *TINY, "--total-timesteps=300", "--seed=3", "--run-dir", alone)
    assert code == 0
    begin(replace(load_config(alone), run_dir=parent), [3, 4, 5])
    (parent / "seed-4" / "checkpoints" / "0000000100").mkdir(parents=True)
    for name in ("status.json", "evaluation.json", "model.zip"):
        shutil.copy(alone / name, parent / "seed-5" / name)
    before = (parent / "seed-5" / "model.zip").stat().st_mtime_ns

    code, out, err = run("train.py", "--resume", parent, "--jobs", "1")
    assert code == 1
    assert "2 of 3 seeds to train" in out and "2 seeds, " in out
    assert "seed 4: ended with exit code 2" in err and "error: failed: seed 4; mend it, then go on" in err
    for name in ("episodes.csv", "evaluation.json"):
        assert (parent / "seed-3" / name).read_bytes() == (alone / name).read_bytes()
    assert json.loads((parent / "seed-3" / "status.json").read_text())["state"] == "finished"
    assert (parent / "seed-5" / "model.zip").stat().st_mtime_ns == before
    assert not (parent / "seed-5" / "output.txt").exists()
    table = [line.split() for line in out.splitlines()]
    mean = json.loads((alone / "evaluation.json").read_text())["summary"]["train"]["unadapted"]
    assert [row[0] for row in table if row and row[0] in ("3", "4", "5", "mean")] == ["3", "5", "mean"]
    assert f"{mean:.1f}" in next(row for row in table if row[:1] == ["mean"])


@pytest.mark.skipif(os.name == "nt", reason="kills by a signal, and looks who holds a folder")
def test_a_training_ends_in_order_when_what_started_it_is_killed(tmp_path: Path) -> None:
    process = start(
        "train.py", *TINY, "--total-timesteps=1000000", "--seeds", "7", "--run-dir=all", cwd=tmp_path
    )
    run_dir = tmp_path / "all" / "seed-7"
    episodes = run_dir / "episodes.csv"
    while process.poll() is None and not (episodes.exists() and len(episodes.read_text().splitlines()) > 20):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while is_held(run_dir):
        time.sleep(0.05)
    assert json.loads((run_dir / "status.json").read_text())["state"] == "interrupted"
    assert (run_dir / "model.zip").is_file() and list((run_dir / "checkpoints").iterdir())
    assert "Interrupted after" in (run_dir / "output.txt").read_text()


def is_held(folder: Path) -> bool:
    try:
        with held(folder):
            return False
    except BlockingIOError:
        return True
