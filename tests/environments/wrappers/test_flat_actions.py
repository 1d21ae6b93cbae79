"""Environments of other spaces become a vector to observe and one action to take, where Gymnasium can make them so."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import envs
from envs.wrappers.flat_actions import combinations

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


class Any(gym.Env):
    """Has the spaces it is asked for; keeps what it is given; never ends."""

    def __init__(self, observations=BOX, actions=None):
        self.observation_space = observations
        self.action_space = spaces.Discrete(2) if actions is None else actions
        self.given = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.given.append(action)
        return self.observation_space.sample(), 1.0, False, False, {}


@pytest.fixture
def made(monkeypatch):
    """Registers `Any` with spaces under an id, and gives the id."""

    def register(**kwargs):
        monkeypatch.setitem(
            gym.registry, "Any-v0", gym.envs.registration.EnvSpec("Any-v0", Any, kwargs=kwargs)
        )
        return "Any-v0"

    return register


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (spaces.Box(0.0, 1.0, ()), 1),
        (spaces.Box(0, 9, (3,), np.int64), 3),
        (spaces.Box(-np.inf, np.inf, (3,), np.float64), 3),
        (spaces.Box(0.0, 1.0, (4, 3)), 12),
        (spaces.Discrete(5, start=2), 5),
        (spaces.Dict(a=spaces.Discrete(3), b=spaces.Dict(c=spaces.Box(0.0, 1.0, (2, 2)))), 7),
        (spaces.Tuple((spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3))), 8),
    ],
)
@pytest.mark.parametrize("api", ["sb3", "gymnasium"])
def test_numbers_are_flattened(made, space, size, api):
    name = made(observations=space)
    bare = envs.make_vec(name, 2, seed=0, api=api, transition_observation=False)
    shape = (bare.observation_space if api == "sb3" else bare.single_observation_space).shape
    assert shape == (size,)
    shown = envs.make_vec(name, 2, seed=0, api=api)
    first = shown.reset() if api == "sb3" else shown.reset()[0]
    assert first.shape == (2, 2 * size + 4)


def test_images_are_left_as_they_are(made):
    image = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    assert envs.make_vec(made(observations=image), 1).observation_space.shape == (8, 8, 3)


@pytest.mark.parametrize(
    "space", [spaces.Text(4), spaces.Dict(x=BOX, t=spaces.Text(4)), spaces.Sequence(spaces.Discrete(3))]
)
def test_what_is_not_of_numbers_is_refused_with_the_way(made, space):
    with pytest.raises(
        ValueError, match=r"leave texts, graphs and sequences out by gymnasium.wrappers.FilterObs"
    ):
        envs.make_vec(made(observations=space), 1)


def test_the_way_leads_there(made):
    name = made(observations=spaces.Dict(x=BOX, t=spaces.Text(4)))
    vec = envs.make_vec(
        name,
        1,
        wrappers=[lambda env: gym.wrappers.FilterObservation(env, ["x"])],
        transition_observation=False,
    )
    assert vec.observation_space.shape == (2,)


@pytest.mark.parametrize(
    ("space", "numbered"),
    [
        (spaces.MultiDiscrete([2, 3], start=[1, -1]), [[1, -1], [1, 0], [1, 1], [2, -1], [2, 0], [2, 1]]),
        (spaces.MultiDiscrete([[2], [2]]), [[[0], [0]], [[0], [1]], [[1], [0]], [[1], [1]]]),
        (spaces.MultiBinary(2), [[0, 0], [0, 1], [1, 0], [1, 1]]),
        (spaces.MultiBinary((2, 1)), [[[0], [0]], [[0], [1]], [[1], [0]], [[1], [1]]]),
    ],
)
def test_every_combination_has_a_number(space, numbered):
    inner = Any(actions=space)
    env = envs.FlatActions(inner)
    assert env.action_space == spaces.Discrete(len(numbered)) and combinations(space) == len(numbered)
    for number in range(len(numbered)):
        env.step(np.int64(number))
    np.testing.assert_array_equal(inner.given, numbered)


def test_make_vec_numbers_combinations_up_to_a_size(made):
    assert envs.make_vec(made(actions=spaces.MultiBinary(10)), 1).action_space == spaces.Discrete(1_024)
    assert isinstance(envs.make_vec(made(actions=spaces.MultiBinary(11)), 1).action_space, spaces.MultiBinary)


@pytest.mark.parametrize("space", [spaces.MultiBinary(11), spaces.MultiDiscrete([100] * 50), BOX])
def test_what_cannot_be_numbered_is_refused_in_a_sentence(space):
    with pytest.raises(ValueError, match="MultiDiscrete or MultiBinary of at most 1,024 combinations"):
        envs.FlatActions(Any(actions=space))


def test_a_time_limit_is_for_environments_that_have_none(made):
    vec = envs.make_vec(made(), 1, time_limit=7)
    vec.reset()
    done = [bool(vec.step([0])[2][0]) for _ in range(14)]
    assert done == [False] * 6 + [True] + [False] * 6 + [True]
    (cartpole,) = envs.make_vec("CartPole-v1", 1, time_limit=7, batched=False).envs
    assert cartpole.spec.max_episode_steps == 500


def test_a_rewards_array_of_one_is_shown_as_its_number():
    class Paid(Any):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, np.array([3.0]), *rest

    env = envs.TransitionObservation(Paid())
    env.reset()
    obs, reward, *_ = env.step(0)
    assert reward == 3.0 and isinstance(reward, float) and obs[-2] == 3.0


def test_wrappers_are_refused_where_they_would_lie_outside():
    with pytest.raises(ValueError, match="takes no wrappers"):
        envs.make_vec("Drift/CartPole-v0", 1, wrappers=[gym.wrappers.FlattenObservation])
