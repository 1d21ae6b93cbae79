"""Any model with SB3's `predict` plays, and so do random actions."""

import numpy as np
import pytest
from agents.builders import Corridor
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import envs
from memagent.evaluation.players import PredictPlayer, RandomPlayer
from memagent.evaluation.protocol import play


class Counting:
    """Its recurrent state counts the steps of each episode; acts by 1 once it is two steps in, else by 0."""

    def __init__(self) -> None:
        self.deterministic = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert observation.shape[0] == len(episode_start)
        self.deterministic.append(deterministic)
        (count,) = state or (np.zeros(len(observation), np.int64),)
        count = np.where(episode_start, 0, count)
        return (count >= 2).astype(np.int64), (count + 1,)


class PaidForOne(Corridor):
    """Pays the action."""

    def step(self, action):
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float(action), terminated, truncated, info


def test_recurrent_state_is_carried_on_and_emptied_where_an_episode_starts() -> None:
    lengths = [3, 5]
    env = DummyVecEnv([lambda n=n: Monitor(PaidForOne(n, actions=spaces.Discrete(2))) for n in lengths])
    model = Counting()
    returns = play(env, PredictPlayer(model, 2, deterministic=False), episodes=4)
    assert returns.tolist() == [[1.0] * 4, [3.0] * 4]  # all steps but each episode's first two
    assert set(model.deterministic) == {False}


def test_a_recurrent_model_acts_as_when_its_predict_is_called_by_hand() -> None:
    """Two environments at once against each alone."""
    id_ = "Drift/CartPole-v0"
    small = {"lstm_hidden_size": 8, "net_arch": [8]}
    made = envs.make_vec(id_, 1, 0)
    model = RecurrentPPO("MlpLstmPolicy", made, n_steps=8, seed=0, device="cpu", policy_kwargs=small)
    env = envs.make_vec(id_, 2, seed=3)
    player, obs, rows = PredictPlayer(model, 2), env.reset(), []
    for _ in range(60):
        action = player.act(obs)
        rows.append((obs, action, player.episode_start))
        obs, reward, done, infos = env.step(action)
        player.observe(action, reward, done, infos)
    starts = np.array([start for _, _, start in rows])
    assert starts[0].all() and starts[1:].any()  # episodes ended on the way
    for e in range(2):
        state = None
        for obs, action, start in rows:
            expected, state = model.predict(obs[e : e + 1], state, start[e : e + 1], deterministic=True)
            assert expected[0] == action[e]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=-1),
        spaces.Box(np.float32([-2, 0]), np.float32([1, 5])),
        spaces.MultiBinary(4),
    ],
)
def test_random_actions_are_of_the_space_and_of_the_seed_alone(space: spaces.Space) -> None:
    space.seed(9)
    first = [RandomPlayer(space, 5, seed=1).act(np.zeros((5, 2))) for _ in range(2)]
    assert first[0].shape == (5, *space.shape) and np.array_equal(first[0], first[1])
    player = RandomPlayer(space, 5, seed=1)
    drawn = [action for _ in range(40) for action in player.act(np.zeros((5, 2)))]
    assert all(space.contains(action) for action in drawn)
    assert len({action.tobytes() for action in drawn}) > 2
    twin = type(space)(space.low, space.high) if isinstance(space, spaces.Box) else None
    if twin is not None:
        twin.seed(9)
        assert np.array_equal(space.sample(), twin.sample())  # the space's own generator is where it was
