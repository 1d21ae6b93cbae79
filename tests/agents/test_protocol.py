"""Every agent is an SB3 agent: predict, save, load, callbacks, evaluation, progress bar; its replay has priorities."""

from pathlib import Path

import numpy as np
import pytest
import torch
from agents.builders import build, use_memory
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy

from envs import make_vec
from memagent import context
from memagent.agents import MemoryAlgorithm
from memagent.evaluation.protocol import play

IDS = ("Drift/CartPole-v0", "Drift/Pendulum-v0")


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("kind", ["dnc", "lstm", "gru", "none"])
def test_predict_carries_memory_and_survives_saving(tmp_path: Path, kind: str, name: str) -> None:
    env = make_vec(name, 2, seed=0)
    agent = use_memory(build(env, kind=kind))
    agent.learn(200)
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(6, 2, *env.observation_space.shape)).astype(np.float32)
    start = np.array(
        [[True, True], [False, False], [False, True], [False, False], [False, False], [True, False]]
    )

    def roll(model: MemoryAlgorithm) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        state, actions = None, []
        for o, s in zip(obs, start, strict=True):
            action, state = model.predict(o, state, s, deterministic=True, adapt=False)
            actions.append(action)
        return np.stack(actions), state

    before, state = roll(agent)
    nothing_known = torch.zeros(6, 2, agent.policy.context_dim)
    with torch.no_grad():
        unrolled, last = agent.policy.unroll(
            torch.tensor(obs), nothing_known, torch.tensor(start), agent.policy.initial_state(2)
        )
    flat = unrolled.flatten(0, 1)
    np.testing.assert_allclose(before.reshape(12, -1), agent.policy.actions(flat).reshape(12, -1), atol=1e-5)
    for a, b in zip(state, last, strict=True):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-5)
    agent.save(tmp_path / "model.zip")
    loaded = type(agent).load(tmp_path / "model.zip")
    again, state_again = roll(loaded)
    np.testing.assert_array_equal(before, again)
    for a, b in zip(state, state_again, strict=True):
        np.testing.assert_array_equal(a, b)
    single, _ = agent.predict(obs[0, 0], deterministic=True, adapt=False)
    assert single.shape == env.action_space.shape
    np.testing.assert_allclose(single, before[0, 0], atol=1e-5)


@pytest.mark.parametrize("kind", ["dnc", "none"])
@pytest.mark.parametrize("name", IDS)
def test_a_loop_of_predict_adapts_as_acting_does_to_the_bit(name: str, kind: str) -> None:
    """Within episodes and over their ends, alarms among them: a fit moves z far, and little evidence is enough."""
    changes = {"phase_signal": "detect", "false_alarms": 1e4, "lr": 0.5, "steps_ahead": 3, "support": 20}
    agent = build(make_vec(name, 3, seed=0), kind=kind, **changes)
    env, acting, state = (
        make_vec(name, 3, seed=1, phase_steps=40, change_at="step"),
        agent.make_acting(3),
        None,
    )
    obs, start, kept = env.reset(), np.ones(3, bool), None
    for t in range(150):
        action, state = agent.predict(obs, state, start, deterministic=True)
        np.testing.assert_array_equal(action, acting.act(obs))
        for ours, theirs in zip(state[-len(acting.belief) :], acting.belief, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        if t == 100:
            kept = [obs, [part.copy() for part in state], state]
        obs, reward, start, infos = env.step(action)
        acting.observe(action, reward, start, infos)
    assert acting.belief.context.any() and acting.belief.phase.max() > 0
    earlier, copied, given = kept  # a state that was handed on is not written to
    for part, copy in zip(given, copied, strict=True):
        np.testing.assert_array_equal(part, copy)
    listed = [part.tolist() for part in copied]  # as from JSON
    for ours, theirs in zip(
        agent.predict(earlier, listed)[1], agent.predict(earlier, copied)[1], strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    with pytest.raises(ValueError, match="pass what the last call returned"):
        agent.predict(earlier, given, start, adapt=False)


def test_evaluate_policy_plays_the_adapting_agent() -> None:
    name = "Drift/Pendulum-v0"  # on the cart of an untrained agent two values are so far apart that no context tells
    agent = build(make_vec(name, 2, seed=0), phase_signal="detect", lr=0.5, steps_ahead=3)
    returns, _ = evaluate_policy(agent, make_vec(name, 2, seed=5), 6, return_episode_rewards=True)
    adapting, still = (
        np.sort(play(make_vec(name, 2, seed=5), agent.make_acting(2, adapt=adapt), episodes=3), axis=None)
        for adapt in (True, False)
    )
    np.testing.assert_allclose(np.sort(returns), adapting, atol=0.01)
    assert np.abs(adapting - still).max() > 0.01


@pytest.mark.parametrize("name", IDS)
def test_save_load_goes_on_to_the_bit(tmp_path: Path, name: str) -> None:
    agent = build(make_vec(name, 2, seed=0))
    agent.learn(200)
    agent.save(tmp_path / "model.zip")
    agent.save_replay_buffer(tmp_path / "replay.npz")
    twin = type(agent).load(tmp_path / "model.zip", env=make_vec(name, 2, seed=0))
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


@pytest.mark.parametrize("name", IDS)
@pytest.mark.filterwarnings("ignore:rich is experimental")  # SB3's own progress bar
def test_sb3_callbacks_evaluation_and_progress_bar(tmp_path: Path, name: str) -> None:
    agent = build(make_vec(name, 2, seed=0))
    callback = EvalCallback(
        make_vec(name, 1, seed=5),
        n_eval_episodes=2,
        eval_freq=50,
        log_path=str(tmp_path),
        verbose=0,
    )
    agent.learn(200, callback=callback, progress_bar=True)
    assert len(np.load(tmp_path / "evaluations.npz")["results"]) >= 2
    mean, _ = evaluate_policy(agent, make_vec(name, 2, seed=5), n_eval_episodes=4)
    assert np.isfinite(mean)


@pytest.mark.parametrize("name", IDS)
def test_priorities_follow_the_td_errors(name: str) -> None:
    agent = build(make_vec(name, 2, seed=0), learning_starts=10_000)
    agent.learn(400)
    fresh = agent.replay_buffer.state_dict()["priority"]
    agent.train(gradient_steps=20, batch_size=8)
    changed = agent.replay_buffer.state_dict()["priority"]
    assert len(np.unique(fresh[fresh > 0])) == 1 and len(np.unique(changed[changed > 0])) > 5


@pytest.mark.parametrize("name", IDS)
def test_the_policy_called_gives_first_actions_as_the_heads_do(name: str) -> None:
    agent = build(make_vec(name, 2, seed=0))
    obs = agent.observation_space.sample()[None]
    raw = agent.policy(agent.policy.obs_to_tensor(obs)[0]).detach().cpu().numpy()
    first, _ = agent.predict(obs, deterministic=True, adapt=False)
    np.testing.assert_array_equal(agent.policy.unscale_action(raw), first)


def test_a_training_goes_on_with_a_replay_that_was_emptied() -> None:
    agent = build(make_vec(IDS[0], 2, seed=0))
    agent.learn(200)
    agent.replay_buffer.reset()
    agent.learn(200, reset_num_timesteps=False)
    assert agent.replay_buffer.size() == 208  # rollouts of 16 steps


@pytest.mark.parametrize("compiled", [True, False])
def test_predict_adapts_in_inference_mode_too(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context.compiling, "ENABLED", compiled)
    env = make_vec("Drift/CartPole-v0", 2, seed=0)
    agent = build(env, kind="none")

    def beliefs() -> tuple[np.ndarray, ...]:
        env.seed(1)
        obs, state, start = env.reset(), None, np.ones(2, bool)
        for _ in range(30):
            actions, state = agent.predict(obs, state, start, deterministic=True)
            obs, _, start, _ = env.step(actions)
        assert state is not None
        return state

    outside = beliefs()
    with torch.inference_mode():
        within = beliefs()
    for a, b in zip(outside, within, strict=True):
        np.testing.assert_array_equal(a, b)
