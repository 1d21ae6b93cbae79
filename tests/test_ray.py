"""On a Ray cluster of this machine: several seeds as they are alone, and one training that outlives its actors."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from test_actors import CONFIG, ENVIRONMENTS, learner
from test_cli import SMALL, Run, run

from memagent.agents import MemoryAlgorithm
from memagent.checkpoints import saved
from memagent.distributed.cluster import connected, refuse_unmet
from memagent.distributed.collecting import collecting
from memagent.jobs import Job
from memagent.jobs import run as run_jobs
from memagent.progress import read_episodes
from memagent.run_config import DistributedConfig, RunConfig
from memagent.runs import RunError, load_config
from memagent.seeds import begin, complete, seed_dirs

ray = pytest.importorskip("ray", reason="Ray is not installed; pip install 'memagent[ray]'")
__all__ = ["run"]
ROOT = Path(__file__).parents[1]
TINY = ["--env=CartPole-v1", "--num-envs=2", "--memory.kind=none", "--wandb=disabled", "--device=cpu", *SMALL]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with connected("local", num_cpus=2):
        yield


class Watch(BaseCallback):
    """Kills actors when so many steps are done, keeps the figures of the log, and checks the ratio of updates."""

    def __init__(self, kills: dict[int, int]) -> None:
        super().__init__()
        self.kills, self.ages = dict(kills), list[float]()

    def _on_rollout_end(self) -> None:
        agent = self.model
        assert isinstance(agent, MemoryAlgorithm)
        for step in [step for step in self.kills if step <= agent.num_timesteps]:
            slot = agent.collector._slots[self.kills.pop(step)]
            ray.kill(slot.actor)
        self.ages.append(agent.collector.figures()["actors/weight_age_max"])

    def _on_step(self) -> bool:
        return True


def check_rows(agent: MemoryAlgorithm) -> None:
    """Every step that was counted is stored once, and each stream's episodes follow each other."""
    held, episode = agent.replay_buffer, agent.replay_buffer._streams._rows["episode"]
    assert held.size() == agent.num_timesteps
    for env in range(agent.n_envs):
        own = episode.reshape(agent.n_envs, -1)[env, : held._streams.next_row[env]]
        assert np.isin(np.diff(own), (0, 1)).all()


def test_no_row_is_lost_or_doubled_where_actors_are_killed(cluster: None) -> None:
    settings = DistributedConfig(stretch=8, publish_every=2, max_weight_age=4)
    config = replace(CONFIG, distributed=settings, learner=replace(CONFIG.learner, steps_per_update=8))
    agent, watch = learner(config), Watch({200: 0, 300: 1})
    with collecting(agent, config, ENVIRONMENTS, None):
        agent.learn(480, watch)
        replaced = agent.collector.replaced
    assert agent.num_timesteps >= 480 and replaced == 2
    check_rows(agent)
    every, starts = config.learner.steps_per_update, config.learner.learning_starts
    assert abs(agent._n_updates - (agent.num_timesteps - starts) / every) <= 8
    assert 0 < max(watch.ages) <= settings.max_weight_age


def test_a_training_with_actors_leaves_a_run_and_goes_on_where_it_was_stopped(
    cluster: None, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import memagent.distributed.actors as actors

    folder = tmp_path / "run"
    distributed = ["--num-envs=4", "--actors=1", "--ray=local", "--run-dir", str(folder), "--save-every=200"]
    arguments = [
        "--env=CartPole-v1",
        "--memory.kind=lstm",
        "--wandb=disabled",
        *SMALL,
        "--total-timesteps=600",
    ]
    take = actors.Actors._take

    def fails(self: actors.Actors, *given: object) -> bool:
        if self._agent.num_timesteps >= 400:
            raise OSError("the learner's machine burns")
        return take(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(actors.Actors, "_take", fails)
        assert run("train.py", *arguments, *distributed)[0] == 1
    newest = saved(folder / "checkpoints")[-1]
    assert 200 <= int(newest.name) < 600
    code, out, err = run("train.py", "--resume", folder)
    assert (code, f"step {int(newest.name)} of 600" in out) == (0, True), err
    for name in ("model.zip", "evaluation.json", "report.html", "progress.csv"):
        assert (folder / name).is_file()
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    log = (folder / "progress.csv").read_text().splitlines()
    assert "actors/weight_age" in log[0] and "memory/hidden_norm" in log[0] and "adapt/" not in log[0]
    steps = read_episodes(folder / "episodes.csv")["step"]
    assert (np.diff(steps) >= 0).all() and set(read_episodes(folder / "episodes.csv")["env"]) == {0, 1, 2, 3}


def test_an_environment_that_cannot_be_made_elsewhere_says_so(cluster: None) -> None:
    from memagent.distributed.actors import Actors

    config: RunConfig = replace(CONFIG, env_kwargs={"no_such": 1})
    agent = learner(CONFIG)
    collector = Actors(agent, config, ENVIRONMENTS)
    agent.collector = collector
    with pytest.raises(RunError, match=r"The environment Drift/CartPole-v0 cannot be made: .*no_such"):
        agent.learn(100)
    collector.close()


def test_two_seeds_side_by_side_are_the_runs_that_they_are_alone(
    cluster: None, tmp_path: Path, run: Run
) -> None:
    from memagent.distributed.processes import launcher

    alone = {seed: tmp_path / f"alone-{seed}" for seed in (3, 4)}
    for seed, folder in alone.items():
        assert run("train.py", *TINY, "--total-timesteps=300", f"--seed={seed}", "--run-dir", folder)[0] == 0
    parent = begin(replace(load_config(alone[3]), run_dir=tmp_path / "all"), list(alone))
    assert complete(parent, ROOT / "train.py", launch=launcher(1, 0, retries=0)) == []
    for path, folder in zip(seed_dirs(parent), alone.values(), strict=True):
        for name in ("model.zip", "episodes.csv", "evaluation.json"):
            assert (path / name).read_bytes() == (folder / name).read_bytes()
        assert json.loads((path / "status.json").read_text())["state"] == "finished"


def test_a_command_that_fails_or_is_killed_is_run_again(cluster: None, tmp_path: Path) -> None:
    from memagent.distributed.processes import launcher

    code = (
        "import os, pathlib, sys; tries = pathlib.Path(sys.argv[1]); tries.open('a').write('x');"
        "n = len(tries.read_text()); print('try', n, flush=True);"
        "n == 1 and sys.exit(1); n == 2 and os.kill(os.getpid(), 9)"
    )
    job = Job("one", [sys.executable, "-S", "-c", code, str(tmp_path / "tries")], tmp_path / "said.txt")
    assert run_jobs([job], 1, {}, launcher(1, 0, retries=2)) == {"one": 0}
    assert job.said() == ["try 1", "try 2", "try 3"]
    refused = Job(
        "two", [sys.executable, "-S", "-c", "print('no'); raise SystemExit(2)"], tmp_path / "refused.txt"
    )
    assert run_jobs([refused], 1, {}, launcher(1, 0, retries=2)) == {"two": 2}
    assert refused.said() == ["no"]


def test_one_that_is_told_to_stop_ends_in_order(cluster: None, tmp_path: Path) -> None:
    from memagent.distributed.processes import launcher

    begun, saved = tmp_path / "begun", tmp_path / "saved"
    code = (
        "import sys, pathlib as p; p.Path(sys.argv[1]).touch(); sys.stdin.read(); p.Path(sys.argv[2]).touch()"
    )
    command = [sys.executable, "-S", "-c", code, str(begun), str(saved)]
    process = launcher(1, 0, retries=2)(command, tmp_path / "said.txt", {})
    while not begun.exists():
        time.sleep(0.02)
    process.close_input()
    while process.poll() is None:
        time.sleep(0.02)
    assert saved.exists()


def test_a_training_that_needs_more_than_any_machine_has_is_refused(cluster: None) -> None:
    refuse_unmet({"CPU": 2.0, "GPU": 0.0}, "A training")
    with pytest.raises(
        RunError, match="A training needs 3 CPU, and the cluster's machines have 2 CPU, 0 GPU"
    ):
        refuse_unmet({"CPU": 3.0, "GPU": 0.0}, "A training")
