"""The progress bar and the file of training episodes."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from memagent.memory import DNCState, GRUState, LSTMState, MemoryConfig, NoState, build_memory
from memagent.progress import (
    Records,
    TrainingLog,
    last_step,
    memory_statistics,
    phase_changes,
    read_episodes,
)


class Counting(gym.Env):
    """Episodes of `length` steps with reward 1; a new phase every second episode, two contexts in turn."""

    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, length: int) -> None:
        self.length, self.episodes = length, -1

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.steps, self.episodes = 0, self.episodes + 1
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        phase = self.episodes // 2
        info = {"phase": phase, "context_id": phase % 2}
        return np.zeros(1, np.float32), 1.0, self.steps == self.length, False, info


def test_one_line_per_episode_and_a_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = DummyVecEnv([lambda: Monitor(Counting(3)), lambda: Monitor(Counting(5))])
    agent = DQN("MlpPolicy", env, learning_starts=10_000, buffer_size=100)
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    with TrainingLog(tmp_path / "episodes.csv", total_timesteps=40) as log:
        agent.learn(40, callback=log)
    agent.logger.close()
    episodes = read_episodes(tmp_path / "episodes.csv")
    first, second = (
        {name: column[episodes["env"] == e] for name, column in episodes.items()} for e in (0, 1)
    )
    assert first["step"].tolist() == [6, 12, 18, 24, 30, 36]  # two environments, three steps each
    assert first["phase"].tolist() == [0, 0, 1, 1, 2, 2]
    assert first["context_id"].tolist() == [0, 0, 1, 1, 0, 0]
    assert second["step"].tolist() == [10, 20, 30, 40]
    assert second["return"].tolist() == second["length"].tolist() == [5, 5, 5, 5]
    assert phase_changes(episodes).tolist() == [12, 20, 24]
    bar = capsys.readouterr().err
    assert "40/40" in bar
    assert "return=5.0, phase=2.0" in bar  # the newest episode, at step 40; phases 3 and 1
    assert "rollout/phase" in (tmp_path / "progress.csv").read_text()


def test_the_bar_shows_the_return_of_recent_episodes_and_no_phase_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Episode n of two steps pays n: episodes 39 and 40 of 40 end within the newest twentieth of the steps."""

    class Better(Counting):
        def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
            obs, _, over, *_ = super().step(action)
            return obs, float(over) * (self.episodes + 1), over, False, {}

    agent = DQN(
        "MlpPolicy", DummyVecEnv([lambda: Monitor(Better(2))]), learning_starts=10_000, buffer_size=100
    )
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    with TrainingLog(tmp_path / "episodes.csv", total_timesteps=80) as log:
        agent.learn(80, callback=log)
    agent.logger.close()
    bar = capsys.readouterr().err
    assert "return=39.5" in bar
    assert "phase" not in bar
    assert "rollout/phase" not in (tmp_path / "progress.csv").read_text()


def test_what_came_after_the_last_dump_is_not_lost(tmp_path: Path) -> None:
    env = DummyVecEnv([lambda: Monitor(Counting(5))])
    agent = DQN("MlpPolicy", env, learning_starts=10_000, buffer_size=100)
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    with TrainingLog(tmp_path / "episodes.csv", total_timesteps=20) as log:
        agent.learn(20, callback=log, log_interval=1000)
    agent.logger.close()
    assert len((tmp_path / "progress.csv").read_text().splitlines()) == 2


def test_no_episode_is_no_change(tmp_path: Path) -> None:
    TrainingLog(tmp_path / "episodes.csv", total_timesteps=1).close()
    episodes = read_episodes(tmp_path / "episodes.csv")
    assert episodes["return"].shape == (0,)
    assert phase_changes(episodes).shape == (0,)


def test_memory_statistics_say_how_full_and_how_sharp() -> None:
    config = MemoryConfig(memory_size=4, memory_dim=3, num_read_heads=2, hidden_size=5)
    empty = build_memory(config, 6).initial_state(2)
    assert isinstance(empty, DNCState)
    state = empty._replace(
        u=torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0]]),
        M=torch.tensor([3.0, 4.0, 0.0]).expand(2, 4, 3),
        w_w=torch.tensor([[0.25, 0.25, 0.25, 0.25], [0, 0.75, 0.25, 0]]),
        w_r=torch.tensor([[0, 1.0, 0, 0]]).expand(2, 2, 4),
    )
    expected = {"usage": 0.25, "content_norm": 5.0, "write_peak": 0.5, "read_peak": 1.0}
    assert memory_statistics(state) == pytest.approx(expected)
    lstm = LSTMState(h=torch.tensor([[3.0, 4.0], [0.0, 0.0]]), c=torch.zeros(2, 2))
    assert memory_statistics(lstm) == pytest.approx({"hidden_norm": 2.5})
    assert memory_statistics(GRUState(lstm.h)) == pytest.approx({"hidden_norm": 2.5})
    assert memory_statistics(NoState()) == {}


def test_json_and_tensorboard_go_on_behind_the_rows_of_an_earlier_process(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    formats = ("csv", "json", "tensorboard")

    def write(steps: range, state: dict) -> dict:
        with Records(tmp_path, 100, steps.start, state, formats) as records:
            for step in steps:
                records.logger.record("time/total_timesteps", step)
                records.logger.record("loss", step / 2)
                records.logger.record("hidden", 1.0, exclude="json")
                records.logger.dump(step)
                if step == 3:
                    state = records.get_state()
        return state

    state = write(range(1, 8), {})  # killed behind the checkpoint at step 3
    write(range(4, 6), state)  # and again, sooner
    write(range(4, 9), state)
    rows = [json.loads(line) for line in (tmp_path / "progress.json").read_text().splitlines()]
    assert rows == [{"time/total_timesteps": step, "loss": step / 2} for step in range(1, 9)]
    assert last_step(tmp_path / "progress.csv") == 8
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("loss")] == list(range(1, 9))
