"""Agents act within their action space and say what they cannot take; what environments tell is taken or named."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents.builders import Corridor, build
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

import envs
from memagent.agents import MemoryDQN, MemorySAC
from memagent.agents.acting import Held
from memagent.policies import MemoryActorCriticPolicy
from memagent.told import told_phases

pytestmark = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")


class Recorder(Corridor):
    """Keeps the actions that it is given; says what it is told to."""

    def __init__(self, actions: spaces.Space, reward: Any = 1.0, info: Any = None) -> None:
        super().__init__(length=5, actions=actions)
        self.given: list[Any] = []
        self.reward = reward
        self.info = info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict]:
        self.given.append(np.copy(action))
        obs, _, terminated, truncated, info = super().step(action)
        return obs, self.reward, terminated, truncated, info if self.info is None else {"phase": self.info}


@pytest.mark.parametrize("start", [-1, 1, 10])
@pytest.mark.parametrize("shown", [False, True])
def test_discrete_actions_may_begin_anywhere(start: int, shown: bool) -> None:
    space = spaces.Discrete(3, start=start)
    env = Recorder(space)
    agent = build(envs.TransitionObservation(env) if shown else env, kind="none")
    agent.learn(200)
    legal = list(range(start, start + 3))
    assert sorted({int(action) for action in env.given}) == legal
    assert agent.predict(np.zeros(agent.observation_space.shape, np.float32), adapt=False)[0] in legal
    stored = agent.replay_buffer.sample(32, 1.0)
    assert sorted(np.unique(stored.action[~stored.final]).tolist()) == [0, 1, 2]


def saturated(space: spaces.Box, signs: np.ndarray) -> np.ndarray:
    """What the policy's heads make of actions at the ends of [-1, 1]."""
    observed = spaces.Box(-1.0, 1.0, (2,), np.float32)
    policy = MemoryActorCriticPolicy(observed, space, lambda _: 1e-3)
    return policy.unscale_action(signs.astype(np.float32))


def test_saturated_actions_are_the_bounds_to_the_last_bit() -> None:
    generator = np.random.default_rng(0)
    for dtype in (np.float16, np.float32, np.float64):
        low = generator.uniform(-3.0, 3.0, 200).astype(dtype)
        high = (low + generator.uniform(0.01, 5.0, 200).astype(dtype)).astype(dtype)
        space, signs = spaces.Box(low, high, dtype=dtype), generator.choice([-1.0, 1.0], 200)
        found = saturated(space, signs)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.where(signs > 0, high, low))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
def test_whole_numbers_are_acted_with_and_stored_as_they_were_done(dtype: type) -> None:
    space = spaces.Box(0, 5, (2,), dtype)
    np.testing.assert_array_equal(saturated(space, np.array([[-0.72, 0.7], [0.28, -1.0]])), [[1, 4], [3, 0]])
    env = Recorder(space)
    agent = build(env, kind="none")
    agent.learn(150)
    assert all(space.contains(action) for action in env.given)
    stored = agent.replay_buffer.sample(32, 1.0)
    levels = 2.5 * (stored.action[~stored.final] + 1.0)
    np.testing.assert_allclose(levels, levels.round(), atol=1e-5)


def test_a_box_of_the_whole_range_of_its_type_is_scaled_without_overflow() -> None:
    policy = MemoryActorCriticPolicy(
        spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Box(-128, 127, (3,), np.int8), lambda _: 1e-3
    )
    np.testing.assert_allclose(
        policy.scale_action(np.array([-128, 127, 0], np.int8)), [-1, 1, 1 / 255], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("space", "advice"),
    [
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), "no network here reads images"),
        (spaces.Box(0.0, 1.0, (4, 3)), "FlattenObservation"),
        (spaces.Dict(x=spaces.Box(0.0, 1.0, (2,))), "FlattenObservation"),
        (spaces.Text(4), "leave texts, graphs and sequences out"),
    ],
)
def test_observations_that_are_no_vector_are_refused_before_anything_is_made(
    space: spaces.Space, advice: str
) -> None:
    env = Corridor()
    env.observation_space = space
    with pytest.raises(ValueError, match=rf"observation space .*{advice}"):
        MemoryDQN("MemoryPolicy", env)


def test_a_gymnasium_vector_environment_is_named_with_the_way() -> None:
    env = envs.make_vec("CartPole-v1", 2, api="gymnasium")
    with pytest.raises(ValueError, match=r"SB3's VecEnv: take envs.make_vec without api='gymnasium'"):
        MemoryDQN("MemoryPolicy", env)


@pytest.mark.parametrize("reward", [np.array([2.0]), np.array([[2.0]], np.float32), 2, torch.tensor(2.0)])
@pytest.mark.parametrize("shown", [False, True])
def test_a_reward_may_be_an_array_of_one_number(reward: Any, shown: bool) -> None:
    env = Recorder(spaces.Discrete(2), reward)
    agent = build(envs.TransitionObservation(env) if shown else env, kind="none", reward_scale=0.5)
    agent.learn(100)
    stored = agent.replay_buffer.sample(16, 1.0)
    assert set(stored.reward[~stored.final].tolist()) == {1.0}


@pytest.mark.parametrize("shown", [False, True])
def test_several_rewards_are_refused_in_a_sentence(shown: bool) -> None:
    env = Recorder(spaces.Discrete(2), np.array([1.0, 2.0]))
    agent = build(envs.TransitionObservation(env) if shown else env, kind="none")
    with pytest.raises(ValueError, match=r"reward is \[1. 2.\], expected one number"):
        agent.learn(100)


@pytest.mark.parametrize(
    "phase", ["red", None, 0.25, float("nan"), -1, 2**64, np.array([1, 2]), np.array([3])]
)
def test_what_is_no_whole_number_is_no_phase(phase: Any) -> None:
    assert told_phases([{"phase": phase}, {}, {"phase": np.int32(2)}]).tolist() == [0, 0, 2]
    agent = build(Recorder(spaces.Discrete(2), info=phase), kind="none")
    agent.learn(100)
    assert agent.acting.phase.tolist() == [0]


def test_an_environments_reset_need_not_take_options() -> None:
    class Plain(Corridor):
        def reset(self, seed: int | None = None) -> tuple[np.ndarray, dict]:
            return super().reset(seed=seed)

    agent = build(Plain()).learn(80)
    assert agent._n_updates > 0


def test_a_vector_environment_without_last_observations_is_named() -> None:
    class Foreign(DummyVecEnv):
        def step_wait(self) -> Any:
            obs, reward, done, infos = super().step_wait()
            for info in infos:
                info.pop("terminal_observation", None)
            return obs, reward, done, infos

    agent = build(Foreign([Corridor, lambda: Corridor(length=3)]))
    with pytest.raises(ValueError, match=r"Environment 1 ended an episode.* no terminal_observation"):
        agent.learn(100)


def test_a_default_of_float64_is_no_agents_business(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        agent = build(envs.make_vec("Pendulum-v1", 2, seed=0), refresh_every=1)
        agent.learn(200)
        action, state = agent.predict(np.zeros((3, 9), np.float32))
        agent.predict(np.zeros((3, 9), np.float32), state)
        agent.save(tmp_path / "agent.zip")
        agent.policy.save(tmp_path / "policy.zip")
        loaded = (
            type(agent).load(tmp_path / "agent.zip").policy,
            type(agent.policy).load(tmp_path / "policy.zip"),
        )
    finally:
        torch.set_default_dtype(torch.float32)
    assert agent._n_updates > 0 and action.dtype == np.float32
    assert {p.dtype for policy in (agent.policy, *loaded) for p in policy.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [np.int8, np.int32])
def test_actions_are_of_the_spaces_own_type(dtype: type) -> None:
    class Strict(Corridor):
        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
            assert self.action_space.contains(action)
            return super().step(action)

    agent = build(DummyVecEnv([lambda: Strict(actions=spaces.Discrete(3, start=1, dtype=dtype))]))
    agent.learn(200)  # at random, explored and greedy ones
    assert agent.predict(np.zeros(2, np.float32), adapt=False)[0].dtype == dtype


class Ramp(Corridor):
    """Observes 50, 51, …; every reward is 100."""

    def _obs(self) -> np.ndarray:
        return np.array([50.0 + self.time, 1.0], np.float32)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, _, *rest = super().step(action)
        return obs, 100.0, *rest


def test_originals_are_stored_and_normalised_when_they_are_drawn() -> None:
    venv = VecNormalize(DummyVecEnv([Ramp, Ramp]))
    agent = build(venv, kind="none", reward_scale=0.1, enabled=True)
    agent.learn(200)
    stored = agent.replay_buffer.sample(16, 1.0)
    first = stored.obs[stored.start]
    np.testing.assert_allclose(first, np.broadcast_to([50.0, 1.0], first.shape), rtol=1e-6)
    last = stored.obs[stored.final]  # SB3 gives it normalised, and it is turned back
    np.testing.assert_allclose(last[:, 0], 54.0, rtol=1e-4)
    np.testing.assert_allclose(stored.reward[~stored.final], 10.0, rtol=1e-6)
    seen = agent._windows(stored)
    expected = venv.normalize_obs(stored.obs)
    np.testing.assert_allclose(seen.obs.numpy(), expected, rtol=1e-6)
    paid = 0.1 * venv.normalize_reward(np.array([100.0]))
    np.testing.assert_allclose(seen.reward.numpy()[~stored.final], paid[0], rtol=1e-5)
    assert abs(paid[0]) < 0.2


def test_normalised_parts_of_an_observation_are_not_read_as_what_they_were() -> None:
    venv = VecNormalize(envs.make_vec("Drift/CartPole-v0", 2, seed=0))
    with pytest.warns(UserWarning, match="VecNormalize, which scales what TransitionObservation shows"):
        agent = build(venv, kind="none")
    assert agent.transition_layout is None
    agent.learn(100)


def test_where_rewards_alone_are_normalised_context_models_learn_those_that_acting_shows_them() -> None:
    env = VecNormalize(envs.make_vec("Drift/Pendulum-v0", 2, seed=0), norm_obs=False)
    agent = build(env, kind="none")
    assert agent.transition_layout is not None
    agent.learn(200)
    assert agent.acting.belief is not None
    acted = agent.acting.belief.outcome[0, :, -1]
    learned = agent._drawn(np.zeros(1, np.int64), np.zeros(1, np.int64), 8).runs.outcome[0, :, -1]
    assert abs(learned.mean().item() / acted.mean() - 1.0) < 0.5  # scaled by VecNormalize it is 0.01 of it


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (lambda env: gym.wrappers.RescaleAction(env, np.float32(-0.5), np.float32(0.5)), "action"),
        (gym.wrappers.NormalizeReward, "reward"),
        (gym.wrappers.NormalizeObservation, "action"),
        (lambda env: gym.wrappers.TransformReward(env, lambda reward: reward + 1.0), "reward"),
    ],
)
def test_a_wrapper_around_what_shows_the_last_step_is_refused(wrap: Any, name: str) -> None:
    agent = build(wrap(gym.make("Drift/Pendulum-v0")), kind="none")
    with pytest.raises(ValueError, match=f"TransitionObservation shows the {name} .* put it outside"):
        agent.learn(10)


def test_vec_normalize_inside_a_stack_of_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="put VecNormalize outside"):
        build(VecFrameStack(VecNormalize(DummyVecEnv([Ramp])), 3))


def test_what_is_tried_is_kept_for_as_many_steps_as_asked_on_average() -> None:
    held, generator = Held(), np.random.default_rng(0)
    drawn = np.arange(4_000.0)
    kept = np.array([held("noise", np.full(8, number), 5.0, generator) for number in drawn])  # [steps, E]
    changes = (np.diff(kept, axis=0) != 0).mean(0)
    np.testing.assert_allclose(changes, 1 / 5, atol=0.03)
    assert len(np.unique(changes)) > 1  # each environment in its own time
    at_once = [held("noise", np.full(8, number), 1.0, generator)[0] for number in range(5)]
    assert at_once == [0, 1, 2, 3, 4]


def test_random_actions_and_noise_never_stand_in_for_each_other() -> None:
    env = Recorder(spaces.Box(100.0, 101.0, (1,), np.float32))
    agent = build(env, kind="none", learning_starts=48, exploration_steps=1e9)
    for _ in range(2):  # the second time begins with random actions again
        agent.learn(96)
    assert all(env.action_space.contains(action) for action in env.given)
    random, sampled, again, _ = np.ravel(env.given).reshape(4, 48)
    assert np.unique(random) == np.unique(again)
    assert not np.isclose(sampled, 101.0).any()  # which noise of 100 would saturate to


def test_random_actions_are_kept_as_asked() -> None:
    env = Recorder(spaces.Box(-1.0, 1.0, (1,), np.float32))
    agent = build(env, kind="none", learning_starts=600, exploration_steps=20.0)
    assert isinstance(agent, MemorySAC)
    agent.learn(500)
    changes = (np.diff(np.concatenate(env.given)) != 0).mean()
    assert 0.02 < changes < 0.09


def test_less_than_one_step_of_exploration_is_refused() -> None:
    with pytest.raises(ValueError, match=r"exploration_steps=0.5; give 1 or more"):
        build(gym.make("CartPole-v1"), exploration_steps=0.5)
