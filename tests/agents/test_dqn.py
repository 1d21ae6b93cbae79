"""MemoryDQN learns what only memory can, values truncation rightly, and behaves as an SB3 agent."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents.builders import Corridor, build
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from envs import Drift, make_vec
from envs.schedules import Choice, Periodic
from memagent.agents import LearnerConfig, MemoryDQN
from memagent.evaluation.protocol import play
from memagent.memory import MemoryConfig

UNFLAGGED = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")


@pytest.mark.slow
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
        support=16,
        query=0,
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


@pytest.mark.parametrize("kind", ["dnc", "lstm", "none"])
def test_predict_carries_memory_and_survives_saving(tmp_path: Path, kind: str) -> None:
    env = make_vec("Drift/CartPole-v0", 2, seed=0)
    agent = build(env, kind=kind)
    agent.learn(200)
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(6, 2, *env.observation_space.shape)).astype(np.float32)
    start = np.array(
        [[True, True], [False, False], [False, True], [False, False], [False, False], [True, False]]
    )

    def roll(model: MemoryDQN) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        state, actions = None, []
        for o, s in zip(obs, start, strict=True):
            action, state = model.predict(o, state=state, episode_start=s, deterministic=True)
            actions.append(action)
        return np.stack(actions), state

    before, state = roll(agent)
    with torch.no_grad():
        unrolled, last = agent.policy.unroll(
            torch.tensor(obs), torch.tensor(start), agent.policy.initial_state(2)
        )
        np.testing.assert_array_equal(before, agent.policy.heads(unrolled).argmax(-1).numpy())
    for a, b in zip(state, last, strict=True):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-5)
    agent.save(tmp_path / "model.zip")
    loaded = MemoryDQN.load(tmp_path / "model.zip")
    again, state_again = roll(loaded)
    np.testing.assert_array_equal(before, again)
    for a, b in zip(state, state_again, strict=True):
        np.testing.assert_array_equal(a, b)
    single, _ = agent.predict(obs[0, 0])
    assert single.shape == () and single == before[0, 0]


def test_save_load_goes_on_to_the_bit(tmp_path: Path) -> None:
    agent = build(make_vec("Drift/CartPole-v0", 2, seed=0))
    agent.learn(200)
    agent.save(tmp_path / "model.zip")
    agent.save_replay_buffer(tmp_path / "replay.npz")
    twin = MemoryDQN.load(tmp_path / "model.zip", env=make_vec("Drift/CartPole-v0", 2, seed=0))
    twin.load_replay_buffer(tmp_path / "replay.npz")
    agent.replay_buffer.seam()
    for model in (agent, twin):
        model.set_logger(agent.logger)
        model.train(gradient_steps=3, batch_size=8)
    for a, b in zip(agent.policy.state_dict().values(), twin.policy.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    np.testing.assert_array_equal(agent.generator.random(5), twin.generator.random(5))
    twin.learn(100, reset_num_timesteps=False)
    assert twin.num_timesteps >= agent.num_timesteps + 100


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


@pytest.mark.filterwarnings("ignore:rich is experimental")  # SB3's own progress bar
def test_sb3_callbacks_evaluation_and_progress_bar(tmp_path: Path) -> None:
    agent = build(make_vec("Drift/CartPole-v0", 2, seed=0))
    callback = EvalCallback(
        make_vec("Drift/CartPole-v0", 1, seed=5),
        n_eval_episodes=2,
        eval_freq=50,
        log_path=str(tmp_path),
        verbose=0,
    )
    agent.learn(200, callback=callback, progress_bar=True)
    assert len(np.load(tmp_path / "evaluations.npz")["results"]) >= 2
    mean, _ = evaluate_policy(agent, make_vec("Drift/CartPole-v0", 2, seed=5), n_eval_episodes=4)
    assert mean > 0


def test_priorities_follow_the_td_errors() -> None:
    agent = build(make_vec("Drift/CartPole-v0", 2, seed=0), learning_starts=10_000)
    agent.learn(400)
    fresh = agent.replay_buffer.state_dict()["priority"]
    agent.train(gradient_steps=20, batch_size=8)
    changed = agent.replay_buffer.state_dict()["priority"]
    assert len(np.unique(fresh[fresh > 0])) == 1 and len(np.unique(changed[changed > 0])) > 5


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
