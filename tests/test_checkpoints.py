"""When checkpoints are written, which stay, and what an agent of one goes on with."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents.builders import Corridor, build
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from memagent.agents import MemoryAlgorithm, MemoryDQN
from memagent.agents.checkpoint import read_table, read_whole
from memagent.archive import ArchiveError
from memagent.checkpoints import Checkpoints, saved
from memagent.files import UNFINISHED, whole_folder

pytestmark = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")


def corridors(count: int = 4) -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(Corridor(6)) for _ in range(count)])


def steps(folder: Path) -> list[int]:
    return [int(path.name) for path in saved(folder)]


def test_they_come_every_so_many_steps_and_at_an_early_end(tmp_path: Path) -> None:
    agent = build(corridors(), kind="none", learning_starts=10_000)  # rollouts of 16 steps
    agent.learn(350, Checkpoints(tmp_path, 100, keep=9))
    assert steps(tmp_path) == [112, 208, 304]  # the first rollout's begin at or after 100, 200, 300

    class Ends(Checkpoints):
        def _on_step(self) -> bool:
            return self.num_timesteps < 420

    agent.learn(350, Ends(tmp_path, None, keep=9), reset_num_timesteps=False)
    assert steps(tmp_path) == [112, 208, 304, 420]


def test_they_come_after_so_many_minutes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = build(corridors(), kind="none", learning_starts=10_000)  # rollouts of 16 steps
    monkeypatch.setattr(time, "monotonic", lambda: 0.6 * agent.num_timesteps)  # 100 steps in a minute
    agent.learn(350, Checkpoints(tmp_path, None, keep=9, minutes=1.2))
    assert steps(tmp_path) == [128, 256]
    agent.learn(350, Checkpoints(tmp_path, 200, keep=9, minutes=1.2), reset_num_timesteps=False)
    assert steps(tmp_path) == [128, 256, 400, 528, 608]


def test_the_newest_stay_and_the_best(tmp_path: Path) -> None:
    agent = build(corridors(), kind="none")
    checkpoints = Checkpoints(tmp_path, None, keep=2)
    checkpoints.init_callback(agent)
    for step, value in enumerate([3.0, 9.0, 9.0, 1.0, 2.0, 5.0]):
        agent.num_timesteps = step
        agent.ep_info_buffer = [{"r": value, "l": 6}]  # type: ignore[assignment]
        checkpoints.write()
        assert step in steps(tmp_path)
    assert steps(tmp_path) == [2, 4, 5]
    assert read_table(saved(tmp_path)[0])["recent_return"] == 9.0
    agent.ep_info_buffer = []  # type: ignore[assignment]
    agent.num_timesteps = 6
    checkpoints.write()
    assert steps(tmp_path) == [2, 5, 6]


def test_a_step_that_has_one_is_written_again_only_if_it_is_broken(tmp_path: Path) -> None:
    agent = build(corridors(), kind="none")
    checkpoints = Checkpoints(tmp_path, None, keep=2)
    checkpoints.init_callback(agent)
    rest = checkpoints.write() / "training.json"
    before = rest.stat().st_mtime_ns
    checkpoints.write()
    assert rest.stat().st_mtime_ns == before
    for broken in ("training.json", "training.safetensors", "model.zip"):
        (rest.parent / broken).write_text("{}")
        checkpoints.write()
        assert read_whole(rest.parent)["steps"] == 0


def test_what_was_left_unfinished_is_removed(tmp_path: Path) -> None:
    (tmp_path / f".000000100.77{UNFINISHED}").mkdir()
    (tmp_path / f".000000100.77{UNFINISHED}" / "model.zip").touch()
    build(corridors(), kind="none").learn(10, Checkpoints(tmp_path, None, keep=1))
    assert not list(tmp_path.iterdir())


def test_what_interrupts_the_writing_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = build(corridors(), kind="none")
    agent.save_checkpoint(tmp_path / "1")

    def fail(*args: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("memagent.agents.checkpoint.save_file", fail)
        with pytest.raises(OSError, match="no space left"):
            agent.save_checkpoint(tmp_path / "2")
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "3"):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_numbers_gone_bad_and_what_json_cannot_say_are_refused(tmp_path: Path) -> None:
    agent = build(corridors(), kind="none")
    with pytest.raises(ArchiveError, match=r"was not written: .*not JSON serializable"):
        agent.save_checkpoint(tmp_path / "1", {"env": object()})
    with torch.no_grad():
        next(agent.policy.parameters()).fill_(float("nan"))
    with pytest.raises(ArchiveError, match=r"1 was not written: the tensor .* holds NaN"):
        agent.save_checkpoint(tmp_path / "1")
    assert not list(tmp_path.iterdir())


class Told(Corridor):
    """A corridor that goes on where it is told."""

    def get_state(self) -> dict[str, int]:
        return {"time": self.time, "total": self.total}

    def set_state(self, state: dict[str, int]) -> None:
        self.time, self.total = state["time"], state["total"]


@pytest.mark.parametrize("actions", [spaces.Discrete(3), spaces.Box(-2.0, 1.0, (1,), np.float32)])
@pytest.mark.parametrize("signal", ["info", "detect", "none"])
def test_an_agent_goes_on_in_python_without_transitions_in_its_observations(
    actions: spaces.Space, signal: str, tmp_path: Path
) -> None:
    """Where the observation does not show the last action, it is carried along."""

    def make() -> DummyVecEnv:
        return DummyVecEnv([lambda: Told(7, phase_every=30, actions=actions) for _ in range(2)])

    env = make()
    agent = build(env, kind="lstm", phase_signal=signal, memory_scope="phase")
    agent.learn(150)
    agent.save_checkpoint(tmp_path / "1", {"env": [e.get_state() for e in env.envs]}, mid_episode=True)
    agent.learn(150, reset_num_timesteps=False)
    other = make()
    loaded, extra = type(agent).load_checkpoint(tmp_path / "1", other)
    for single, state in zip(other.envs, extra["env"], strict=True):
        single.set_state(state)
    loaded.learn(150, reset_num_timesteps=False)
    for name, one in (("a", agent), ("b", loaded)):
        one.save_checkpoint(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": 3}, "saved replay has the sizes"),
        ({"capacity": 2048}, "saved replay has the sizes"),
        ({"kind": "none"}, "its settings describe another agent"),
        ({"support": 9}, "has other shapes in belief_inputs, belief_outcome"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    build(corridors(2), kind="lstm").learn(100).save_checkpoint(tmp_path / "1")
    other = dict(change)
    env = corridors(other.pop("count", 2))
    twin: MemoryAlgorithm = build(env, **{"kind": "lstm"} | other)
    settings = {name: getattr(twin, at) for name, (at, _) in MemoryDQN.configs.items() if name != "learner"}
    with pytest.raises(ArchiveError, match=said) as caught:
        MemoryDQN.load_checkpoint(tmp_path / "1", env, **settings)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["steps_since_update", "action_space", "process", "texts", "mid_episode"])
def test_a_checkpoint_that_lies_is_refused(name: str, tmp_path: Path) -> None:
    """Under a right digest, as one makes it who means to deceive."""
    from memagent.archive import digest

    build(corridors(2), kind="lstm").learn(100).save_checkpoint(tmp_path / "1")
    table = read_table(tmp_path / "1") | {name: {"bit_generator": "x"}}
    (tmp_path / "1" / "training.json").write_text(json.dumps(table | {"sha256": digest(table)}))
    with pytest.raises(ArchiveError, match="1 was not loaded: ") as caught:
        MemoryDQN.load_checkpoint(tmp_path / "1", corridors(2))
    assert len(str(caught.value).splitlines()) == 1
