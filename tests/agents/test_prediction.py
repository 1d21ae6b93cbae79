"""The prediction loss looks k steps ahead, the decoding loss all over an episode, and neither past its end."""

import io
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents.builders import build
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from envs import TransitionObservation
from memagent.agents import LearnerConfig
from memagent.agents.rows import Windows

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


@UNFLAGGED
@pytest.mark.parametrize(("actions", "pushes"), [(PUSHES, [1.0]), (spaces.Discrete(3), [0.0, 1.0, 2.0])])
def test_a_decoder_is_told_place_and_action_and_asked_for_no_step_that_was_not_taken(
    actions: spaces.Space, pushes: list[float]
) -> None:
    env = DummyVecEnv([lambda: Cart(actions) for _ in range(2)])
    agent = build(env, kind="none", decoded_rows=5, learning_starts=10_000, reward_scale=1.0)
    agent.learn(200)
    features, x = agent.features(agent.replay_buffer.sample(64, 1.0))
    told = Told(torch.tensor(pushes), 1)
    seen = []

    def decode(features: Tensor, given: Tensor) -> Tensor:
        seen.append(given)
        return told(features, given[..., 1:])

    assert agent._decoding_loss(decode, features, x).item() == pytest.approx(0.0, abs=1e-8)
    assert seen[0].shape[:3] == (len(x.reward) - 1, 5, 64)
    places = x.obs[..., 0]
    assert torch.isin(seen[0][..., 0], places).all() and (seen[0][0] == seen[0][-1]).all()
    told.scale = 2.0
    assert agent._decoding_loss(decode, features, x).item() > 0.1


@UNFLAGGED
@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ("info", [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        ("none", [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]),
    ],
)
def test_rows_tell_of_their_own_episode_and_of_the_phase_that_is_told(
    signal: str, expected: list[list[int]]
) -> None:
    agent = build(DummyVecEnv([lambda: Cart(PUSHES)]), kind="none", phase_signal=signal)
    final = torch.tensor(
        [False, False, True, False, False, False]
    )  # the episode's last observation: no step from it
    phase = torch.tensor([0, 0, 0, 0, 1, 1])
    x = Windows(**dict.fromkeys(Windows._fields, torch.zeros(6, 1)))._replace(
        final=final[:, None], phase=phase[:, None]
    )
    same = agent._same_plant(x, torch.tensor([0, 2, 3, 4]))
    assert same[..., 0].tolist() == [[bool(pair) for pair in row] for row in expected]


class Signed(gym.Env):
    """What a step pays is where one is, times the episode's hidden sign; every step leads to a random place."""

    def __init__(self) -> None:
        self.action_space, self.observation_space = PUSHES, spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.sign, self.place, self.steps = 1.0, 0.0, 0

    def _look(self) -> np.ndarray:
        self.place = self.np_random.uniform(-1.0, 1.0)
        return np.full(1, self.place, np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.sign, self.steps = self.np_random.choice([-1.0, 1.0]), 0
        return self._look(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward, self.steps = self.sign * self.place, self.steps + 1
        return self._look(), reward, False, self.steps == 20, {}


def reward_error(kind: str) -> float:
    """What is left of the rewards' squared size, 1 / 3, when a trained decoder tells them from late features."""
    env = DummyVecEnv([lambda: TransitionObservation(Signed(), change_scale=1.0) for _ in range(4)])
    agent = build(env, kind=kind, enabled=False, decoded_rows=4, learning_starts=10_000, reward_scale=1.0)
    agent.learn(2_000)
    agent.train(gradient_steps=600, batch_size=16)
    features, x = agent.features(agent.replay_buffer.sample(256, 1.0))
    there, action, outcome = agent._transitions(x)
    with torch.no_grad():
        told = agent.policy.decoder(features[6].expand(6, -1, -1), torch.cat((there, action), -1)[:6])
    earlier = agent._same_plant(x, torch.arange(6))[6]
    return 3.0 * (told - outcome[:6])[..., -1].square()[earlier].mean().item()


def test_a_memory_learns_to_tell_what_was_paid_elsewhere_and_none_cannot() -> None:
    assert reward_error("lstm") < 0.2
    assert reward_error("none") > 0.5


def test_an_agent_that_decodes_is_saved_whole_and_others_have_no_decoder() -> None:
    env = DummyVecEnv([lambda: TransitionObservation(Signed())])
    assert build(env).policy.decoder is None
    with pytest.raises(ValueError, match="decoded_rows=-1"):
        LearnerConfig(decoded_rows=-1)
    agent = build(env, kind="lstm", decoded_rows=2)
    agent.learn(400)
    assert agent.logger.name_to_value["train/decoding_loss"] > 0
    stream = io.BytesIO()
    agent.save(stream)
    loaded = type(agent).load(stream, env=env, device="cpu")
    kept = agent.policy.decoder.state_dict()
    assert all(torch.equal(kept[name], part) for name, part in loaded.policy.decoder.state_dict().items())
