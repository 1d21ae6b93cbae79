"""What actors send is what one process stores, with the priorities that its learner would find."""

import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_cli import Run, run

import envs
from evaluate import make_env
from memagent import detector
from memagent.agents import AdaptConfig, ExplorationConfig, LearnerConfig, MemoryAlgorithm
from memagent.agents.base import lifetime_seed
from memagent.distributed.actor import Actor, Environments, Share
from memagent.distributed.cluster import connected
from memagent.distributed.collecting import learner_env
from memagent.distributed.stretches import Stretch, store
from memagent.memory import MemoryConfig
from memagent.replay import ReplayConfig
from memagent.run_config import RunConfig
from memagent.runs import RunError, make_agent

__all__ = ["run"]
ENVIRONMENTS = Environments(make_env, envs.get_state, envs.set_state, envs.is_whole)
CONFIG = RunConfig(
    env="Drift/CartPole-v0",
    num_envs=4,
    actors=2,
    device="cpu",
    memory=MemoryConfig(kind="lstm", hidden_size=8),
    replay=ReplayConfig(capacity=4000, burn_in=2, rows=8, stride=4, n_step=2),
    learner=LearnerConfig(batch_size=4, learning_starts=60, steps_per_update=16),
    adapt=AdaptConfig(support=8),
    exploration=ExplorationConfig(final=0.3, fraction=0.0),
)


def learner(config: RunConfig) -> MemoryAlgorithm:
    return make_agent(config, learner_env(config, ENVIRONMENTS))


def actor(agent: MemoryAlgorithm, config: RunConfig, share: Share, **given: Any) -> Actor:
    own = share.first + np.arange(share.num_envs)
    place, ended = agent.replay_buffer.pos[own], agent._episodes[own]
    return Actor(config, ENVIRONMENTS, share, place, ended, **{"seed": 5} | given)


def weights(agent: MemoryAlgorithm) -> dict[str, np.ndarray]:
    return {name: x.numpy().copy() for name, x in agent.policy.state_dict().items()}


@pytest.mark.parametrize(
    ("env", "memory"),
    [
        ("Drift/CartPole-v0", "none"),
        ("Drift/CartPole-v0", "lstm"),
        ("Drift/Pendulum-v0", "lstm"),
        ("Drift/PointWind-v0", "dnc"),
    ],
)
def test_the_learner_stores_what_one_process_would(
    env: str, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One actor in all environments, with the weights and the exploration of an agent that collects by itself."""
    monkeypatch.setattr(detector, "LOW_PEAK", 0.0)  # an untrained model's evidence hardly rises
    config = replace(CONFIG, env=env, actors=1, memory=MemoryConfig(kind=memory, hidden_size=8))
    alone = make_agent(replace(config, actors=0, seed=5), make_env(config, 4, 5))
    alone.env.seed(lifetime_seed(config.seed))
    alone.learner = replace(alone.learner, steps_per_update=1e9)  # it collects, and makes no update
    agent = learner(config)
    one = actor(agent, config, Share(0, 4))
    one.agent.policy.load_state_dict(alone.policy.state_dict())
    # SAC draws noise for them, which one process draws when it learns.
    one.agent.first_priorities = lambda features, _: np.ones(features.shape[1])  # type: ignore[method-assign]
    for steps in (16, 8, 240):  # to the first end of an episode in all of them
        alone.learn(4 * steps, reset_num_timesteps=alone.num_timesteps == 0)
        stretch, _ = one.collect(weights(alone), 0, agent.num_timesteps, steps)
        agent.num_timesteps += 4 * steps
        store(agent, 0, stretch)
    stored, expected = agent.replay_buffer.state_dict(), alone.replay_buffer.state_dict()
    drawn = {"priority", "measured", "entry", "random", "support_random"}
    for name in expected.keys() - drawn:
        np.testing.assert_array_equal(stored[name], expected[name], err_msg=name)
    np.testing.assert_array_equal(agent._episodes, alone._episodes)
    assert len(agent.replay_buffer) == len(alone.replay_buffer) > 10
    for name in ("step_count", "peak_count"):
        followed = getattr(agent.policy.detector, name)
        assert torch.equal(followed, getattr(alone.policy.detector, name)) and followed.any()


def test_first_priorities_are_those_that_the_learner_finds() -> None:
    """Without adaptation, whose contexts the learner fits anew, and with the weights of the actor."""
    config = replace(CONFIG, adapt=AdaptConfig(enabled=False))
    agent = learner(config)
    one = actor(agent, config, Share(2, 2))
    for _ in range(3):
        stretch, _ = one.collect(weights(agent), 0, 1000, 16)
        store(agent, 2, stretch)
    batch = agent.replay_buffer.sample(64)
    features, rows = agent.features(batch)
    found = agent.first_priorities(features.detach(), rows)
    replay = agent.replay_config
    held = agent.replay_buffer.state_dict()["priority"][batch.window]
    np.testing.assert_allclose(held, (found + replay.priority_epsilon) ** replay.alpha, rtol=1e-4)
    assert len(np.unique(held)) > 5


@pytest.mark.parametrize("lost", [0, 1])
def test_another_actor_goes_on_where_the_last_stretch_ended(lost: int) -> None:
    """As the actor itself would have: `lost` stretches that were not taken in are acted anew."""
    config = replace(CONFIG, learner=replace(CONFIG.learner, learning_starts=0))
    agent = learner(config)
    first = actor(agent, config, Share(0, 2))
    weighty = weights(agent)
    stretch, state = first.collect(weighty, 0, 10**9, 16)
    store(agent, 0, stretch)
    for _ in range(lost):
        first.collect(weighty, 0, 10**9, 16)
    second = actor(agent, config, Share(0, 2), seed=6, state=state, begun=True)
    after, _ = second.collect(weighty, 0, 10**9, 16)
    store(agent, 0, after)  # it fits behind the first one
    np.testing.assert_array_equal(after.rows["obs"][:2], state.last_obs)
    np.testing.assert_array_equal(after.rows["start"][:2], state.acting["episode_start"])
    held = agent.replay_buffer
    assert held.size() == 2 * 2 * 16
    steps, episodes = held._streams._rows["start"], held._streams._rows["episode"]
    of_first = slice(int(held._streams.next_row[0]))
    begins = np.flatnonzero(steps[of_first])
    assert (np.diff(episodes[of_first][begins]) == 1).all()


def test_a_checkpoint_without_one_actors_state_lets_the_others_go_on() -> None:
    pytest.importorskip("ray")
    from memagent.distributed.actors import Actors

    agent = learner(CONFIG)
    stretch, state = actor(agent, CONFIG, Share(0, 2)).collect(weights(agent), 0, 0, 16)
    store(agent, 0, stretch)
    actors = Actors(agent, CONFIG, ENVIRONMENTS)
    actors._slots[0].state = state  # the other's went with its machine
    held = actors.get_state()
    resumed = Actors(agent, CONFIG, ENVIRONMENTS, held["actors"])
    known, lost = (slot.state for slot in resumed._slots)
    assert lost is None
    np.testing.assert_array_equal(known.last_obs, state.last_obs)
    for name, expected in (state.acting | state.held).items():
        np.testing.assert_array_equal((known.acting | known.held)[name], expected, err_msg=name)


def test_a_stretch_that_comes_twice_is_refused() -> None:
    agent = learner(CONFIG)
    one = actor(agent, CONFIG, Share(0, 2))
    stretch, _ = one.collect(weights(agent), 0, 0, 15)
    store(agent, 0, stretch)
    with pytest.raises(ValueError, match="do not follow the last ones; expected each stretch once"):
        store(agent, 0, stretch)


def test_rows_weigh_what_they_hold() -> None:
    """States are sent where windows begin alone, and numbers in the replay's precision."""
    agent = learner(CONFIG)
    stretch, _ = actor(agent, CONFIG, Share(0, 2)).collect(weights(agent), 0, 0, 16)
    assert isinstance(stretch, Stretch)
    assert int(stretch.opens.sum()) == len(stretch.state[0]) < len(stretch.env) / 2
    kinds = {array.dtype for array in stretch.rows.values() if array.dtype.kind == "f"}
    assert kinds == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ray=local"], "--ray was given without --actors or --seeds"),
        (
            ["--ray=local", "--seeds", "0", "1", "--actors=2"],
            "--ray was given for several trainings with --actors",
        ),
    ],
)
def test_what_cannot_be_on_ray_is_one_sentence(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("train.py", "--env=CartPole-v1", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {said}") and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_without_ray_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(RunError, match="Ray is not installed; `pip install 'memagent"),
        connected("local"),
    ):
        pass


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_where_nobody_answers_is_refused_before_ray_tries_for_minutes(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray tries"))
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        address = form.format(bound.getsockname()[1])
        with (
            pytest.raises(RunError, match=f"There is no Ray cluster at '{address}' .*refused"),
            connected(address),
        ):
            pass


def test_environments_are_divided_among_actors() -> None:
    with pytest.raises(ValueError, match="actors is 3, and num_envs is 4; give 0, or a number that divides"):
        replace(CONFIG, actors=3)


def test_what_the_learner_has_steps_no_environment() -> None:
    env = learner_env(CONFIG, ENVIRONMENTS)
    assert env.num_envs == 4 and np.shape(env.reset()) == (4, *env.observation_space.shape)
    with pytest.raises(RuntimeError, match="stepped by actors"):
        env.step(np.zeros(4, np.int64))


def test_the_state_of_the_policy_is_what_the_actor_acts_with() -> None:
    agent = learner(CONFIG)
    one = actor(agent, CONFIG, Share(0, 2))
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            parameter.add_(0.5)
    one.collect(weights(agent), 3, 0, 2)
    for name, value in agent.policy.state_dict().items():
        assert torch.equal(one.agent.policy.state_dict()[name], value) or "peak" in name
