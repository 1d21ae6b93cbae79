"""What is kept of a play around a change."""

import io
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image
from stable_baselines3.common.vec_env import DummyVecEnv

from memagent.evaluation.recording import FRAMES, Inside, jpeg, record


class Counting(gym.Env):
    """Observes the step of its life, pays it, ends every 7 steps, and changes at the steps given."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, *changes: int) -> None:
        self.changes, self.life = changes, 0

    def reset(self, *, seed=None, options=None):
        return np.array([self.life], np.float32), {}

    def step(self, action):
        phase = sum(change <= self.life for change in self.changes)
        told = {"phase": phase, "context": {"force": 10.0 * phase}}
        self.life += 1
        return np.array([self.life], np.float32), float(self.life), self.life % 7 == 0, False, told


def player(actions=3):
    told = []
    return SimpleNamespace(
        act=lambda obs: obs[:, 0].astype(int) % actions,
        observe=lambda *answer: told.append(answer),
        told=told,
    )


def test_the_steps_around_the_first_change_after_a_while_are_kept():
    env, one = DummyVecEnv([lambda: Counting(3, 20, 24)]), player()
    found = record(env, one, before=8, after=6, limit=100)
    assert found.observations[:, 0].tolist() == list(range(12, 26))  # the change at 3 comes too early
    assert found.actions.tolist() == [t % 3 for t in range(12, 26)]
    assert found.rewards.tolist() == list(range(13, 27))
    assert np.flatnonzero(found.ends).tolist() == [13 - 12, 20 - 12]
    # Episodes of 7 steps: the one at the first row began at step 7, whose reward is 8.
    assert (found.first, found.returns[:3].tolist()) == (12, [8 + 9 + 10 + 11 + 12 + 13, 63 + 14, 15])
    assert found.times[:3].tolist() == [5, 6, 0]
    assert found.changes == [8, 12]
    assert [c["force"] for c in found.conditions] == [10.0] * 8 + [20.0] * 4 + [30.0] * 2
    assert len(one.told) == 26
    assert (found.contexts, found.evidence, found.noticed, dict(found.memory)) == (None, None, [], {})


def test_where_nothing_changes_the_last_steps_are_kept():
    found = record(DummyVecEnv([Counting]), player(), before=8, after=6, limit=30)
    assert found.observations[:, 0].tolist() == list(range(16, 30))
    assert found.changes == []


def test_an_environment_that_tells_no_phase_is_played_no_longer_than_is_shown():
    one = player(actions=2)
    found = record(DummyVecEnv([lambda: gym.make("CartPole-v1")]), one, before=8, after=6, limit=30)
    assert len(one.told) == len(found.rewards) == 14
    assert (found.changes, found.conditions) == ([], [{}] * 14)


@pytest.mark.parametrize(
    "told",
    [{"phase": "opening"}, {"phase": None, "context": np.ones(2)}, {"context": {"level": "easy"}}],
    ids=str,
)
def test_what_else_an_environment_has_by_these_names_is_no_drift(told: dict[str, Any]) -> None:
    class Foreign(Counting):
        def step(self, action):
            return (*super().step(action)[:4], told)

    found = record(DummyVecEnv([Foreign]), player(), before=8, after=6, limit=30)
    assert (found.changes, found.conditions) == ([], [{}] * 14)


def test_what_the_agent_believes_is_kept_beside_what_it_saw():
    asked = []

    def inside() -> Inside:
        t = len(asked)
        asked.append(t)
        return Inside(np.array([t, -t]), t / 2, t == 22, {"usage": np.array([t, 0, 1])})

    found = record(DummyVecEnv([lambda: Counting(20)]), player(), inside, before=8, after=6)
    assert found.contexts.tolist() == [[t, -t] for t in range(12, 26)]
    assert found.evidence.tolist() == [t / 2 for t in range(12, 26)]
    assert found.noticed == [22 - 12]
    assert found.memory["usage"].tolist() == [[t, 0, 1] for t in range(12, 26)]


def test_pictures_are_few_and_small():
    drawn = []

    def render():
        drawn.append(None)
        return np.full((400, 800, 3), len(drawn) % 250, np.uint8)

    found = record(DummyVecEnv([lambda: Counting(250)]), player(), render=render, before=200, after=200)
    assert len(found.rewards) == 400
    assert len(found.frames) <= FRAMES < len(found.rewards)
    assert all(0 <= row < 400 for row in found.frames)
    assert np.diff(list(found.frames)).max() <= 3
    picture = Image.open(io.BytesIO(next(iter(found.frames.values()))))
    assert (picture.format, picture.size) == ("JPEG", (320, 160))


def test_a_small_picture_keeps_its_size_and_colour():
    picture = np.asarray(Image.open(io.BytesIO(jpeg(np.full((30, 40, 3), 200, np.uint8)))))
    assert picture.shape == (30, 40, 3)
    assert abs(picture.astype(int) - 200).max() < 8
