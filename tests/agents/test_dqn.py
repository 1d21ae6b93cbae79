"""MemoryDQN learns what only memory can, values truncation rightly, and behaves as an SB3 agent."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents.builders import Corridor, build
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from envs import Drift, make_vec
from envs.schedules import Choice, Periodic
from memagent.agents import LearnerConfig, MemoryDQN
from memagent.evaluation.protocol import play
from memagent.memory import MemoryConfig

UNFLAGGED = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")


@pytest.mark.parametrize(("kind", "recalls"), [("dnc", True), ("lstm", True), ("none", False)])
def test_recall_is_learned_with_memory_and_not_without(kind: str, recalls: bool) -> None:
    """Chance is 0.5, the best 1.0."""
    agent = build(
        make_vec("Memory/Recall-v0", 16, seed=0),
        kind=kind,
        memory_size=8,
        memory_dim=8,
        num_read_heads=1,
        hidden_size=32,
        width=32,
        learning_rate=3e-3,
        learning_starts=500,
        steps_per_update=16,
        batch_size=16,
        gamma=0.95,
        reward_scale=1.0,
        capacity=20_000,
        burn_in=0,
        rows=16,
        stride=8,
        n_step=3,
        enabled=False,
    )
    agent.learn(16_000)
    score = play(make_vec("Memory/Recall-v0", 16, seed=99), agent.make_acting(16), 8).mean()
    assert score > 0.85 if recalls else score < 0.65


@UNFLAGGED
@pytest.mark.parametrize("terminates", [False, True])
def test_values_where_every_episode_truncates_or_terminates(terminates: bool) -> None:
    """Reward 1 for ever is worth 1 / (1 - gamma); until the end, (1 - gamma^(steps left)) / (1 - gamma)."""
    gamma = 0.5
    shown = (
        4 if terminates else 2
    )  # where episodes truncate, an observation must not tell how long they still run
    env = DummyVecEnv([lambda: Corridor(4, terminates, shown=shown) for _ in range(4)])
    agent = build(
        env, kind="none", gamma=gamma, reward_scale=1.0, tau=0.05, learning_rate=3e-3, enabled=False
    )
    agent.learn(5_000)
    steps = np.arange(4)
    obs = torch.tensor(np.stack([steps % shown, steps == 0], 1), dtype=torch.float32)
    features, _ = agent.policy.advance(obs.numpy(), np.zeros(4, bool), agent.policy.initial_state(4))
    value = agent.policy.heads(features).max(-1).values.detach().numpy()
    left = 4 - steps if terminates else np.inf
    np.testing.assert_allclose(value, (1 - gamma**left) / (1 - gamma) * np.ones(4), rtol=0.06)


@UNFLAGGED
def test_no_window_crosses_the_seam_between_two_calls_of_learn() -> None:
    agent = build(DummyVecEnv([lambda: Corridor(length=1_000)]), learning_starts=10_000)
    agent.learn(50)
    agent.learn(50)
    obs = agent.replay_buffer.sample(200, 1.0).obs[..., 0]
    assert (np.diff(obs, axis=0) == 1).all()
    agent.learn(50, reset_num_timesteps=False)  # the same stream goes on
    obs = agent.replay_buffer.sample(500, 1.0).obs[..., 0]
    assert (np.diff(obs, axis=0) == 1).all() and obs.max() > 90


def test_prediction_loss_falls_on_a_drifting_plant() -> None:
    drift = Drift.draws(
        {"action_sign": Choice((-1.0, 1.0))}, Periodic(100)
    ).to_json()  # noise cannot be predicted
    env = make_vec("Drift/CartPole-v0", 4, seed=0, drift=drift)
    agent = build(env, kind="lstm", enabled=False, learning_starts=10_000)
    agent.learn(1_000)
    losses = []
    for _ in range(150):
        agent.train(gradient_steps=1, batch_size=8)
        losses.append(agent.logger.name_to_value["train/prediction_loss"])
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])


def test_wrong_spaces_and_missing_transition_observation_are_told_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"Box.*Discrete actions"):
        MemoryDQN("MemoryPolicy", make_vec("Drift/Pendulum-v0", 1))
    with pytest.raises(ValueError, match="FlattenObservation"):
        MemoryDQN("MemoryPolicy", gym.make("FrozenLake-v1"))
    with pytest.warns(UserWarning, match="TransitionObservation"):
        MemoryDQN("MemoryPolicy", Monitor(gym.make("CartPole-v1")), memory=MemoryConfig(kind="none"))
    with pytest.raises(ValueError, match="gamma"):
        LearnerConfig(gamma=1.5)
    with pytest.raises(ValueError, match="capacity"):
        build(make_vec("Drift/CartPole-v0", 2), capacity=20)


@pytest.mark.parametrize("envs", [1, 4, 32])
def test_updates_keep_step_with_the_environment_whatever_their_number(envs: int) -> None:
    env = make_vec("Drift/CartPole-v0", envs, seed=0)
    agent = build(env, kind="none", learning_starts=0, capacity=8192, enabled=False, steps_per_update=16)
    agent.learn(2_048)
    before_the_first_window = agent.replay_config.window * envs
    assert agent._n_updates == pytest.approx((2_048 - before_the_first_window) / 16, rel=0.1)
