"""MemorySAC learns what only memory can, in any box of actions, values truncation rightly, keeps its losses apart."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents.builders import Corridor, build
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from envs import TransitionObservation, make_vec
from memagent.agents import EntropyConfig, MemorySAC
from memagent.agents.rows import HeadRows
from memagent.evaluation.protocol import play

UNFLAGGED = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")
WIDE = spaces.Box(np.array([-3.0, 0.0], np.float32), np.array([1.0, 10.0], np.float32))


class Aim(gym.Env):
    """Pays for closeness to a goal in the box, 1 at the goal; episodes of 5 steps. Nothing is seen but the step."""

    def __init__(self, box: spaces.Box, goal: float | np.ndarray) -> None:
        self.action_space, self.goal, self.steps = box, goal, 0
        self.observation_space = spaces.Box(0.0, 5.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        off = 2.0 * (action - self.goal) / (self.action_space.high - self.action_space.low)
        self.steps += 1
        return np.full(1, self.steps, np.float32), 1.0 - float((off**2).sum()), False, self.steps == 5, {}


class Cue(gym.Env):
    """The sign to push in is shown at the first of six steps and pays from the second on: at most 5, blindly 0."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)
        self.sign, self.steps = 1.0, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.sign, self.steps = float(self.np_random.choice((-1.0, 1.0))), 0
        return np.full(1, self.sign, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        pay = 0.0 if self.steps == 0 else self.sign * float(action[0]) / 2.0
        self.steps += 1
        return np.zeros(1, np.float32), pay, self.steps == 6, False, {}


@pytest.mark.parametrize(("kind", "recalls"), [("dnc", True), ("gru", True), ("none", False)])
def test_a_cue_is_followed_with_memory_and_not_without(kind: str, recalls: bool) -> None:
    def make(seed: int) -> DummyVecEnv:
        env = DummyVecEnv([lambda: HideReward(TransitionObservation(Cue())) for _ in range(16)])
        env.seed(seed)
        return env

    agent = build(
        make(0),
        kind=kind,
        width=32,
        hidden_size=32,
        learning_rate=3e-3,
        learning_starts=500,
        batch_size=16,
        gamma=0.8,
        tau=0.05,
        reward_scale=1.0,
        burn_in=0,
        rows=12,
        n_step=1,
        enabled=False,
    )
    agent.learn(8_000)
    score = play(make(99), agent.make_acting(16), 8).mean()
    assert score > 3.5 if recalls else abs(score) < 1.5


class HideReward(gym.ObservationWrapper):
    """Neither the last reward nor the last action is seen: they would tell the sign at every step."""

    transition_layout = {"change": (1, 2), "start": (4, 5)}

    def observation(self, observation: np.ndarray) -> np.ndarray:
        hidden = observation.copy()
        hidden[2:4] = 0.0
        return hidden


@UNFLAGGED
@pytest.mark.parametrize("terminates", [False, True])
def test_values_where_every_episode_truncates_or_terminates(terminates: bool) -> None:
    """Reward 1 for ever is worth 1 / (1 - gamma); until the end, (1 - gamma^(steps left)) / (1 - gamma).

    Entropy is worth next to nothing. Where episodes truncate, an observation must not tell how long they still run.
    """
    gamma, shown = 0.5, 4 if terminates else 2
    env = DummyVecEnv([lambda: Corridor(4, terminates, shown=shown, actions=WIDE) for _ in range(4)])
    agent = build(
        env,
        kind="none",
        gamma=gamma,
        reward_scale=1.0,
        tau=0.05,
        learning_rate=3e-3,
        temperature=1e-6,
        enabled=False,
    )
    agent.learn(5_000)
    steps = np.arange(4)
    obs = np.stack([steps % shown, steps == 0], 1).astype(np.float32)
    features, _ = agent.policy.advance(obs, np.zeros(4, bool), agent.policy.initial_state(4))
    output = agent.head_output(features, torch.zeros(4, 2))
    value = agent.bootstrap_values(features, output).detach().numpy()
    left = 4 - steps if terminates else np.inf
    np.testing.assert_allclose(value, (1 - gamma**left) / (1 - gamma) * np.ones(4), rtol=0.06)


@UNFLAGGED
@pytest.mark.parametrize(
    ("box", "goal"),
    [(WIDE, np.array([0.5, 2.0])), (spaces.Box(5.0, 7.0, (2, 1), np.float32), np.array([[5.3], [6.8]]))],
)
def test_the_best_action_is_found_in_a_box_of_any_bounds_and_shape(box: spaces.Box, goal: np.ndarray) -> None:
    agent = build(
        DummyVecEnv([lambda: Aim(box, goal) for _ in range(4)]),
        kind="none",
        width=32,
        gamma=0.0,
        reward_scale=1.0,
        learning_rate=3e-3,
        temperature=0.1,
        steps_per_update=8,
        batch_size=16,
        n_step=1,
        enabled=False,
    )
    agent.learn(6_000)
    stored = agent.replay_buffer.sample(64, 1.0).action
    assert stored.shape[2:] == box.shape and np.abs(stored).max() <= 1.0
    action, _ = agent.predict(np.array([[1.0]], np.float32), deterministic=True)
    assert action.shape == (1, *box.shape)
    np.testing.assert_allclose((action[0] - goal) / (box.high - box.low), 0.0, atol=0.1)


def gradients(agent: MemorySAC, noise: Tensor) -> dict[str, Tensor]:
    """Of the heads' loss over one and the same batch: by head parameter, and of the features and the temperature."""
    torch.manual_seed(0)
    features = torch.randn(5, 3, agent.policy.features_dim).requires_grad_()
    mask = torch.ones(5, 3, dtype=torch.bool)
    agent.policy.zero_grad()
    output = agent.head_output(features, noise)
    losses, _ = agent.head_losses(HeadRows(features, output, torch.rand(5, 3, 1), torch.randn(5, 3), mask))
    losses.mean().backward()
    heads = {name: p.grad for name, p in agent.policy.heads.named_parameters()}
    return {"features": features.grad, "temperature": agent.policy.log_temperature.grad, **heads}


def test_the_actors_loss_reaches_the_actor_alone() -> None:
    """The sampled actions are in no other loss: new noise changes the gradients of the actor, and of nothing else."""
    agent = build(make_vec("Drift/Pendulum-v0", 1, seed=0), n_step=1)
    first, second = (gradients(agent, noise * torch.ones(5, 3, 1)) for noise in (-0.5, 1.0))
    changed = {name for name in first if not torch.equal(first[name], second[name])}
    assert changed == {name for name in first if name.startswith("actor.")} | {"temperature"}
    assert all(g.abs().sum() > 0 for name, g in first.items())


def test_the_temperature_follows_the_entropy() -> None:
    def trained(target: float) -> float:
        agent = build(
            make_vec("Drift/Pendulum-v0", 4, seed=0), kind="none", target=target, learning_rate=1e-2
        )
        agent.learn(1_000)
        return agent.policy.log_temperature.exp().item()

    assert trained(-6.0) < EntropyConfig().temperature < trained(0.69)  # ln 2 is the most that there is


def test_a_temperature_without_a_rate_stays_also_after_loading(tmp_path: Path) -> None:
    env = make_vec("Drift/Pendulum-v0", 4, seed=0)
    like = build(env, kind="none")
    configs = {"memory": like.memory_config, "replay": like.replay_config, "adapt": like.adapt_config}
    fixed = EntropyConfig(temperature=0.03, learning_rate=0.0)
    agent = MemorySAC("MemoryPolicy", env, learner=like.learner, entropy=fixed, **configs)
    before = agent.policy.log_temperature.item()
    assert before == pytest.approx(np.log(0.03))
    agent.learn(200)
    agent.save(tmp_path / "agent")
    again = MemorySAC.load(tmp_path / "agent", env).learn(200)
    assert again._n_updates > agent._n_updates > 0
    assert agent.policy.log_temperature.item() == again.policy.log_temperature.item() == before


def test_training_actions_are_drawn_and_repeat_with_the_seed() -> None:
    def actions(seed: int) -> np.ndarray:
        agent = build(make_vec("Drift/Pendulum-v0", 2, seed=0), kind="none", learning_starts=0, seed=seed)
        agent.learn(60)
        return agent.replay_buffer.sample(8, 1.0).action

    first = actions(1)
    assert np.array_equal(first, actions(1)) and not np.array_equal(first, actions(2))
    assert first.std() > 0.05


def test_predict_samples_the_actor_unless_it_is_to_be_deterministic() -> None:
    agent = build(make_vec("Drift/Pendulum-v0", 1, seed=0), kind="none")
    obs = np.repeat(agent.observation_space.sample()[None], 4_000, axis=0)
    features, _ = agent.policy.advance(obs, np.ones(len(obs), bool), agent.policy.initial_state(len(obs)))
    mean, log_std = (x[0].item() for x in agent.policy.heads(features[:1]))
    torch.manual_seed(0)
    actions, _ = agent.predict(obs)
    again, _ = agent.predict(obs)
    drawn = np.arctanh(agent.policy.scale_action(actions))
    assert drawn.mean() == pytest.approx(mean, abs=0.1)
    assert drawn.std() == pytest.approx(np.exp(log_std), rel=0.1)
    assert not np.array_equal(actions, again)
    best, _ = agent.predict(obs, deterministic=True)
    np.testing.assert_allclose(agent.policy.scale_action(best), np.tanh(mean), atol=1e-5)


def test_acting_samples_where_it_is_given_a_generator() -> None:
    def acted(sample_with: np.random.Generator | None) -> np.ndarray:
        return agent.make_acting(2, sample_with=sample_with).act(obs)

    agent = build(make_vec("Drift/Pendulum-v0", 2, seed=0), kind="none")
    obs = agent.env.reset()
    first, second = (acted(np.random.default_rng(seed)) for seed in (0, 1))
    assert np.array_equal(first, acted(np.random.default_rng(0))) and not np.isclose(first, second).any()
    np.testing.assert_array_equal(acted(None), agent.predict(obs, deterministic=True)[0])


def test_what_it_cannot_act_in_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"Discrete.*MemoryDQN"):
        MemorySAC("MemoryPolicy", make_vec("Drift/CartPole-v0", 1))
    for low, high in ((-np.inf, np.inf), (1.0, 1.0)):
        box = spaces.Box(low, high, (1,), np.float32)
        with pytest.raises(ValueError, match=r"finite bounds.*TransformAction"):
            MemorySAC("MemoryPolicy", DummyVecEnv([lambda box=box: Corridor(actions=box)]))
    with pytest.raises(ValueError, match="temperature=0"):
        EntropyConfig(temperature=0.0)
    with pytest.raises(ValueError, match="learning_rate=-1"):
        EntropyConfig(learning_rate=-1.0)
