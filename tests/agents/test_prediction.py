"""The prediction loss looks k steps ahead, and never past an episode's end."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents.builders import build
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from memagent.agents import LearnerConfig

UNFLAGGED = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")
PUSHES = spaces.Box(-1.0, 1.0, (1,), np.float32)


class Cart(gym.Env):
    """An action moves the cart by as much and pays twice as much; episodes of 7 steps begin far from each other."""

    def __init__(self, actions: spaces.Space) -> None:
        self.action_space, self.observation_space = actions, spaces.Box(-1e6, 1e6, (1,), np.float32)
        self.place, self.episode, self.steps = 0.0, 0, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        self.place = 100.0 * self.episode
        return np.full(1, self.place, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        push = float(np.ravel(action)[0])
        self.place, self.steps = self.place + push, self.steps + 1
        return np.full(1, self.place, np.float32), 2.0 * push, False, self.steps == 7, {}


class Told(torch.nn.Module):
    """Predicts by the actions alone: [..., k A] -> change and reward, the mean of the pushes and twice that."""

    def __init__(self, pushes: Tensor, steps: int) -> None:
        super().__init__()
        self.pushes, self.steps, self.scale = pushes, steps, 1.0

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        push = (action.unflatten(-1, (self.steps, -1)) @ self.pushes).mean(-1)
        return self.scale * torch.stack((push, 2.0 * push), -1)


@UNFLAGGED
@pytest.mark.parametrize("steps", [1, 3, 5])
@pytest.mark.parametrize(("actions", "pushes"), [(PUSHES, [1.0]), (spaces.Discrete(3), [0.0, 1.0, 2.0])])
def test_who_adds_up_the_actions_predicts_exactly_whatever_episodes_a_window_holds(
    actions: spaces.Space, pushes: list[float], steps: int
) -> None:
    env = DummyVecEnv([lambda: Cart(actions) for _ in range(2)])
    agent = build(env, kind="none", prediction_steps=steps, learning_starts=10_000, reward_scale=1.0)
    agent.learn(200)
    told = agent.policy.prediction = Told(torch.tensor(pushes), steps)
    features, x = agent.features(agent.replay_buffer.sample(64, 1.0))
    assert x.final[:-1].any(0).float().mean() > 0.5  # most windows hold the end of an episode
    assert agent._prediction_loss(features, x).item() == pytest.approx(0.0, abs=1e-8)
    told.scale = 2.0
    assert agent._prediction_loss(features, x).item() > 0.1


@UNFLAGGED
def test_looking_further_than_a_window_is_refused() -> None:
    env = DummyVecEnv([lambda: Cart(PUSHES)])
    with pytest.raises(ValueError, match="prediction_steps is 12 and a window has 12 rows"):
        build(env, prediction_steps=12)
    with pytest.raises(ValueError, match="prediction_steps=0"):
        LearnerConfig(prediction_steps=0)
