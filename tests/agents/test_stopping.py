"""A learning that is stopped and goes on has stored every step it made, and none that it did not make."""

from typing import Any

import numpy as np
import pytest
import torch
from agents.builders import Corridor, build
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

pytestmark = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")


class StopAt(BaseCallback):
    """Stops, or fails, at its n-th call."""

    def __init__(self, calls: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.last, self.error = calls, error

    def _on_step(self) -> bool:
        if self.n_calls == self.last and self.error is not None:
            raise self.error
        return self.n_calls < self.last


def rows(agent: Any, name: str) -> np.ndarray:
    """A field of all rows that environment 0 has stored, from the oldest."""
    return agent.replay_buffer.state_dict()[f"row_{name}"][0]


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 20])
def test_the_step_at_which_a_callback_stops_is_stored(stop: int) -> None:
    stopped, whole = (
        build(Corridor(6), kind="lstm", learning_starts=1000, steps_per_update=1) for _ in range(2)
    )
    stopped.learn(1000, callback=StopAt(stop))
    assert stopped.num_timesteps == stopped.replay_buffer.size() == stop
    stopped.learn(40 - stop, reset_num_timesteps=False)
    whole.learn(40)
    for name in ("obs", "reward", "start", "final", "episode"):
        np.testing.assert_array_equal(rows(stopped, name), rows(whole, name))
    assert stopped._episode_num == whole._episode_num == 40 // 6


@pytest.mark.parametrize("stop", [63, 79, 80, 81, 96, 160])
def test_no_update_is_lost_or_shifted_by_a_stop(stop: int) -> None:
    """An update every 16 steps after 64: before, in and behind them, at the end of a rollout, and at the very end."""
    stopped, whole = (build(Corridor(6), kind="lstm", final_learning_rate=1e-5) for _ in range(2))
    stopped.learn(160, callback=StopAt(stop))
    assert stopped.num_timesteps == stop
    stopped.learn(160 - stop, reset_num_timesteps=False)
    whole.learn(160)
    assert stopped._n_updates == whole._n_updates > 0
    for one, other in zip(stopped.policy.parameters(), whole.policy.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_statistics_know_the_episode_at_which_training_stops() -> None:
    agent = build(DummyVecEnv([lambda: Monitor(Corridor(6))]), kind="lstm")
    for turn in range(3):
        agent.learn(1000, callback=StopTrainingOnMaxEpisodes(1), reset_num_timesteps=turn == 0)
    assert [episode["r"] for episode in agent.ep_info_buffer] == [6.0] * 3
    assert rows(agent, "final").sum() == 3


@pytest.mark.parametrize("error", [RuntimeError("the simulator died"), KeyboardInterrupt()])
def test_after_an_error_in_a_step_learning_goes_on_from_a_reset(error: BaseException) -> None:
    agent = build(Corridor(50), kind="lstm", learning_starts=1000)
    with pytest.raises(type(error)):
        agent.learn(1000, callback=StopAt(5, error))
    agent.learn(10, reset_num_timesteps=False)
    obs, first = rows(agent, "obs")[:, 0], agent.replay_buffer.config.stride
    np.testing.assert_array_equal(obs[:4], np.arange(4))
    np.testing.assert_array_equal(obs[first : first + 10], np.arange(10))  # behind the seam
