"""Acting and training see the same features; heads are fitted to the phase and forgotten with it."""

import numpy as np
import pytest
import torch
from agents.builders import Corridor, build
from stable_baselines3.common.vec_env import DummyVecEnv

from envs import make_vec
from memagent.agents import Acting, MemoryAlgorithm
from memagent.agents.acting import SupportRing

KINDS = ("dnc", "lstm", "none")


@pytest.mark.parametrize("kind", KINDS)
def test_windows_replay_the_features_that_the_agent_acted_on(kind: str) -> None:
    agent = build(make_vec("Drift/CartPole-v0", 3, seed=1), kind=kind, learning_starts=10_000)
    acted: dict[bytes, torch.Tensor] = {}
    observe = Acting.observe

    def record(self: Acting, *args: object) -> None:
        for obs, features in zip(agent._last_obs, self.features, strict=True):
            acted[obs.tobytes()] = features.clone()
        observe(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Acting, "observe", record)
        agent.learn(600)
    batch = agent.replay_buffer.sample(32, 1.0)
    with torch.no_grad():
        features, _ = agent.features(batch)
    b, compared = agent.replay_config.burn_in, 0
    tolerance = 1e-2 if kind == "dnc" else 1e-5  # M and L are stored in half precision
    assert batch.start[1:].any() and batch.final.any()  # resets inside the windows, or the test shows little
    for t, row in enumerate(batch.obs[b:]):
        for column, obs in enumerate(row):
            if not batch.final[b + t, column]:
                torch.testing.assert_close(
                    features[t, column], acted[obs.tobytes()], atol=tolerance, rtol=tolerance
                )
                compared += 1
    assert compared > 200


@pytest.mark.parametrize("scope", ["episode", "phase", "lifetime"])
@pytest.mark.parametrize("kind", ["dnc", "lstm"])
def test_an_unchanged_network_refreshes_states_to_what_they_were_and_a_changed_one_to_others(
    kind: str, scope: str
) -> None:
    env = make_vec("Drift/CartPole-v0", 3, seed=1, phase_steps=60)
    agent = build(env, kind=kind, memory_scope=scope, learning_starts=10_000)
    agent.learn(900)
    acted = stored_states(agent)
    agent.refresh_states()
    refreshed = stored_states(agent)
    for name, states in acted.items():
        np.testing.assert_allclose(refreshed[name], states, atol=2e-3, err_msg=name)
    with torch.no_grad():
        agent.policy.features_extractor.memory.weight_hh.mul_(-1.0)
    agent.refresh_states()
    assert np.abs(stored_states(agent)["h"] - acted["h"]).max() > 0.1


def stored_states(agent: MemoryAlgorithm) -> dict[str, np.ndarray]:
    """By part; those alone that count, as the memory is not emptied at their row."""
    saved = agent.replay_buffer.state_dict()
    counts = ~saved["row_memory_start"][:, :: agent.replay_config.stride]
    return {name.removeprefix("state_"): x[counts] for name, x in saved.items() if name.startswith("state_")}


def test_states_are_refreshed_when_it_is_time_and_where_there_are_any() -> None:
    calls = []
    for kind in KINDS:
        env = make_vec("Drift/CartPole-v0", 2, seed=1)
        agent = build(env, kind=kind, learning_starts=10_000, refresh_every=3)
        agent.learn(200)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(agent.replay_buffer, "refresh", lambda advance, kind=kind: calls.append(kind))
            agent.train(gradient_steps=7, batch_size=2)
    assert calls == ["dnc"] * 3 + ["lstm"] * 3  # before updates 0, 3 and 6


def test_memory_scope_says_how_long_memory_lives() -> None:
    def starts(scope: str) -> np.ndarray:
        env = DummyVecEnv([lambda: Corridor(length=4, phase_every=6)])
        agent = build(env, memory_scope=scope, learning_starts=10_000, stride=1, burn_in=0)
        agent.learn(40)
        batch = agent.replay_buffer.sample(200, 1.0)
        return batch.memory_start[1:].any(), (batch.memory_start == batch.start).all()

    with pytest.warns(UserWarning, match="TransitionObservation"):
        assert starts("episode") == (True, True)
    with pytest.warns(UserWarning, match="TransitionObservation"):
        assert starts("lifetime") == (False, False)
    with pytest.warns(UserWarning, match="TransitionObservation"):
        assert starts("phase") == (True, False)


def test_support_ring_keeps_the_newest_rows_in_order() -> None:
    ring = SupportRing(2, length=4, features_dim=1, action=np.zeros(2, np.int64))
    for t in range(6):
        ring.push(np.array([0]), torch.full((1, 1), float(t)), np.array([t]), 10.0 * t)
    ring.push(np.array([1]), torch.full((1, 1), 7.0), terminal=np.array([True]))
    rows = ring.newest(torch.device("cpu"))
    assert rows.features[:, 0, 0].tolist() == [2, 3, 4, 5]
    assert rows.action[:, 0].tolist() == [2, 3, 4, 5]
    assert rows.reward[:, 0].tolist() == [20, 30, 40, 50]
    assert rows.valid.tolist() == [[True, False], [True, False], [True, False], [True, True]]
    assert rows.final[-1].tolist() == [False, True] and rows.terminal[-1].tolist() == [False, True]


def drive(signal: str) -> list[bool]:
    """Whether the heads are adapted after each of 20 steps; the phase changes at step 10."""
    with pytest.warns(UserWarning, match="TransitionObservation"):
        agent = build(
            DummyVecEnv([lambda: Corridor(length=5)]), phase_signal=signal, adapt_every=8, support=4
        )
    acting = agent.make_acting(1)
    adapted = []
    for t in range(20):
        acting.act(np.array([[t % 5, t % 5 == 0]], np.float32))
        info = {
            "phase": t // 10,
            "terminal_observation": np.array([5, 0], np.float32),
            "TimeLimit.truncated": True,
        }
        acting.observe(np.zeros(1, np.int64), np.ones(1), np.array([t % 5 == 4]), [info])
        heads, meta = acting.heads, agent.policy.head_params()
        adapted.append(heads is not None and any(not torch.equal(heads[k][0], meta[k]) for k in meta))
    return adapted


def test_a_told_change_resets_the_heads_and_an_untold_one_does_not() -> None:
    assert drive("info") == [False] * 7 + [True] * 3 + [False] * 5 + [True] * 5
    assert drive("none") == [False] * 7 + [True] * 13


@pytest.mark.parametrize("name", ["Drift/CartPole-v0", "Drift/Pendulum-v0"])
def test_fitting_lowers_the_loss_on_the_support_of_every_environment(name: str) -> None:
    agent = build(make_vec(name, 3, seed=0), lr=0.01)
    acting = agent.make_acting(3, adapt=True)
    env = make_vec(name, 3, seed=0)
    obs = env.reset()
    for _ in range(40):
        action = acting.act(obs)
        obs, reward, done, infos = env.step(action)
        acting.observe(action, reward, done, infos)
    support = acting._ring.newest(torch.device("cpu"))
    rows = agent.head_rows(*support[:5]).tasks()
    fitted, meta = agent.fit_heads(support), agent.policy.head_params()
    again = agent.fit_heads(support)
    assert all(
        torch.equal(fitted[part], again[part]) for part in meta
    )  # a fit depends on weights and rows alone
    before = torch.func.vmap(agent.head_loss, in_dims=(None, 0))(meta, rows)
    after = torch.func.vmap(agent.head_loss)(fitted, rows)
    assert (after < before).all()
    assert not any(p.requires_grad for p in fitted.values())
