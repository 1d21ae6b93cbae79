"""Environments drifted by other libraries train with our agents: the real NS-Gym, and a small one that talks as CARL.

CARL itself needs an older Gymnasium. `CarlLike` observes and reports as its environments do: a Dict of "obs" and
"context", `info["context_id"]`, a new context at each reset, in turn.
"""

from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.env_checker import check_env as sb3_check
from stable_baselines3.common.vec_env import DummyVecEnv

from envs import ForeignStream, TransitionObservation
from memagent import LearnerConfig, MemoryConfig, MemoryDQN, ReplayConfig

KEYS = {"phase", "context_id", "phase_changed", "context", "steps_since_change"}


class CarlLike(gym.Wrapper):
    """CartPole under two gravities in turn, in the words of CARL."""

    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self.contexts = {0: {"gravity": 9.8}, 1: {"gravity": 20.0}}
        self.context_id = 1
        about = spaces.Dict({"gravity": spaces.Box(-np.inf, np.inf, (1,), np.float32)})
        self.observation_space = spaces.Dict({"obs": self.env.observation_space, "context": about})

    def _told(self, observation, info):
        context = {
            name: np.array([value], np.float32) for name, value in self.contexts[self.context_id].items()
        }
        return {"obs": observation, "context": context}, {**info, "context_id": self.context_id}

    def reset(self, *, seed=None, options=None):
        self.context_id = 1 - self.context_id
        self.unwrapped.gravity = self.contexts[self.context_id]["gravity"]
        return self._told(*self.env.reset(seed=seed, options=options))

    def step(self, action):
        observation, *rest, info = self.env.step(action)
        observation, info = self._told(observation, info)
        return observation, *rest, info


def ns_gym_cartpole(period=5, **kwargs):
    """CartPole whose cart gains half a kilogram every `period` steps of an episode, by NS-Gym itself."""
    pytest.importorskip("ns_gym", reason="pip install --no-deps ns-gym")
    from ns_gym.schedulers import PeriodicScheduler
    from ns_gym.update_functions import IncrementUpdate
    from ns_gym.wrappers import NSClassicControlWrapper

    heavier = IncrementUpdate(PeriodicScheduler(period=period), k=0.5)
    return NSClassicControlWrapper(
        gym.make("CartPole-v1"),
        {"masscart": heavier},
        change_notification=True,
        delta_change_notification=True,
        **kwargs,
    )


MAKERS = {"ns-gym": ns_gym_cartpole, "carl": CarlLike}


def play(env, steps, seed):
    """The infos of alternating pushes, resets included, each with whether it is a reset's."""
    _, info = env.reset(seed=seed)
    infos = [(True, dict(info))]
    for t in range(steps):
        *_, terminated, truncated, info = env.step(t % 2)
        infos.append((False, dict(info)))
        if terminated or truncated:
            infos.append((True, dict(env.reset()[1])))
    return infos


@pytest.mark.parametrize("kind", MAKERS)
def test_the_keys_are_ours_and_observations_are_the_base_environments(kind):
    env = ForeignStream(MAKERS[kind]())
    assert env.observation_space == gym.make("CartPole-v1").observation_space
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space and set(info) >= KEYS
    observation, reward, *_, info = env.step(0)
    assert observation in env.observation_space and type(reward) is float and set(info) >= KEYS


@pytest.mark.parametrize("kind", MAKERS)
def test_sb3s_checker_passes(
    kind,
):  # Gymnasium's makes environments again from their spec, which NS-Gym has not
    sb3_check(TransitionObservation(ForeignStream(MAKERS[kind]())))


@pytest.mark.parametrize("kind", MAKERS)
def test_phases_count_changes_and_ids_return_with_their_contexts(kind):
    infos = play(ForeignStream(MAKERS[kind]()), 300, seed=0)
    for (_, before), (was_reset, now) in pairwise(infos):
        changed = now["context"] != before["context"]
        assert now["phase"] == before["phase"] + changed
        assert now["phase_changed"] == changed or (not was_reset and before["phase_changed"])
        if changed:
            assert now["steps_since_change"] == 0
    ids = {info["context_id"]: info["context"] for _, info in infos}
    assert all(info["context"] == ids[info["context_id"]] for _, info in infos)
    assert len({str(context) for context in ids.values()}) == len(ids) < infos[-1][1]["phase"]


def test_an_ns_gym_change_is_told_with_the_step_it_rules():
    env = ForeignStream(ns_gym_cartpole(period=5))
    infos = play(env, 8, seed=0)  # NS-Gym changes before its steps 0 and 5
    assert [info["phase_changed"] for _, info in infos] == [
        False,
        True,
        False,
        False,
        False,
        False,
        True,
        False,
        False,
    ]
    assert [info["context"]["masscart"] for _, info in infos] == [1.0, *[1.5] * 5, *[2.0] * 3]
    assert [info["steps_since_change"] for _, info in infos] == [0, 0, 1, 2, 3, 4, 0, 1, 2]
    assert env.unwrapped.masscart == 2.0


def test_an_ns_gym_parameter_that_is_no_attribute_is_told_by_its_change():
    pytest.importorskip("ns_gym")
    from ns_gym.schedulers import PeriodicScheduler
    from ns_gym.update_functions import IncrementUpdate
    from ns_gym.wrappers import MujocoWrapper

    heavier = IncrementUpdate(PeriodicScheduler(period=2), k=0.25)
    env = ForeignStream(MujocoWrapper(gym.make("Hopper-v5"), {"torso_mass": heavier}))
    env.reset(seed=0)
    told = [env.step(np.zeros(3, np.float32))[-1]["context"]["torso_mass"] for _ in range(4)]
    assert told == [0.25, 0.25, 0.5, 0.5]
    assert env.reset()[1]["context"]["torso_mass"] == 0.0


def test_ns_gyms_reward_records_become_numbers():
    env = ForeignStream(ns_gym_cartpole(scalar_reward=False))
    env.reset(seed=0)
    assert env.step(0)[1] == 1.0


def test_a_seed_starts_a_new_lifetime():
    env = ForeignStream(CarlLike())
    play(env, 100, seed=0)
    info = env.reset(seed=1)[1]
    assert info["phase"] == info["context_id"] == info["steps_since_change"] == 0
    assert not info["phase_changed"]


def stream(kind):
    return lambda: TransitionObservation(ForeignStream(MAKERS[kind]()))


@pytest.mark.parametrize("kind", MAKERS)
def test_our_agent_trains_on_it(kind):
    seen = []
    agent = MemoryDQN(
        "MemoryPolicy",
        DummyVecEnv([stream(kind)] * 2),
        memory=MemoryConfig(memory_size=6, memory_dim=5, num_read_heads=2, hidden_size=16),
        learner=LearnerConfig(learning_starts=64, steps_per_update=16, batch_size=4),
        replay=ReplayConfig(capacity=2048, burn_in=2, rows=10, stride=4),
        seed=0,
    )
    agent.learn(320, callback=lambda local, _: seen.extend(i["phase"] for i in local["infos"]) or True)
    assert agent.num_timesteps == 320 and agent._n_updates > 0
    assert max(seen) > 3


@pytest.mark.parametrize("kind", MAKERS)
def test_plain_sb3_trains_on_it(kind):
    agent = DQN("MlpPolicy", stream(kind)(), learning_starts=20, seed=0).learn(60)
    assert agent.num_timesteps == 60


def test_what_speaks_neither_dialect_is_refused_in_a_sentence():
    with pytest.raises(
        ValueError, match='expected "Ground Truth Env Change" of NS-Gym or "context_id" of CARL'
    ):
        ForeignStream(gym.make("CartPole-v1")).reset()
    with pytest.raises(ValueError, match="and not state or obs: name the key to observe"):
        ForeignStream(Strange())
    assert ForeignStream(Strange(), observed="camera").observation_space.shape == (1,)


class Strange(gym.Wrapper):
    """Observes under a key of its own."""

    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self.observation_space = spaces.Dict({"camera": spaces.Box(0, 1, (1,))})
