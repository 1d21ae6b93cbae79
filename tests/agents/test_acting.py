"""Acting and training see the same features and runs; a context is fitted to its phase and forgotten with it."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from agents.builders import Corridor, build, use_memory
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from torch import Tensor

from envs import make_vec
from memagent.agents import Acting, MemoryAlgorithm
from memagent.agents.rows import Windows
from memagent.dynamics import Outcomes
from memagent.replay import SupportRows

KINDS = ("dnc", "lstm", "gru", "none")
UNFLAGGED = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")
DRIFTING = ("Drift/CartPole-v0", "Drift/Pendulum-v0")


class Record:
    """What an agent acted on and came to, by observation: features and contexts of rows, contexts of final rows."""

    def __init__(self, agent: MemoryAlgorithm, patch: pytest.MonkeyPatch) -> None:
        self.features: dict[bytes, Tensor] = {}
        self.contexts: dict[bytes, Tensor] = {}
        observe = Acting.observe

        def record(acting: Acting, action: Any, reward: Any, done: Any, infos: Sequence[Any]) -> None:
            for e, obs in enumerate(agent._last_obs):
                self.features[obs.tobytes()] = acting.features[e].clone()
                self.contexts[obs.tobytes()] = acting.context[e].clone()
            observe(acting, action, reward, done, infos)
            for e in np.flatnonzero(done):
                final = infos[e]["terminal_observation"].tobytes()
                self.contexts[final] = acting.context[e].clone()

        patch.setattr(Acting, "observe", record)

    def contexts_of(self, obs: np.ndarray) -> Tensor:
        """[L, B, O] -> [L, B, Z]."""
        return torch.stack([torch.stack([self.contexts[o.tobytes()] for o in row]) for row in obs])


@pytest.mark.parametrize("scope", ["episode", "lifetime"])
@pytest.mark.parametrize("kind", KINDS)
def test_windows_replay_the_features_that_the_agent_acted_on(kind: str, scope: str) -> None:
    """Under the contexts that acting had; they grow with their phase."""
    env = make_vec("Drift/CartPole-v0", 3, seed=1, phase_steps=60)
    agent = use_memory(build(env, kind=kind, memory_scope=scope, learning_starts=10_000, lr=0.5))
    with pytest.MonkeyPatch.context() as patch:
        record = Record(agent, patch)
        agent.learn(900)
    batch = agent.replay_buffer.sample(32, 1.0)
    x, contexts = Windows.of(batch, agent.device), record.contexts_of(batch.obs)
    forgotten = tuple(np.zeros_like(part) for part in batch.state)
    with torch.no_grad():
        features, without, blank = (
            agent._features(x, context, state)
            for context, state in (
                (contexts, batch.state),
                (0.0 * contexts, batch.state),
                (contexts, forgotten),
            )
        )
        assert torch.equal(agent.features(batch)[0], without)
    b, compared = agent.replay_config.burn_in, 0
    tolerance = 1e-2 if kind == "dnc" else 1e-5  # M and L are stored in half precision
    # Ends of episodes and changes of phase and context inside the windows, features that hang on context and memory:
    # or the test shows little.
    assert batch.memory_start[1:].any() and batch.final.any() and (np.diff(batch.stretch, axis=0) > 0).any()
    assert (contexts.diff(dim=0).abs() > 0.05).any() and (contexts == 0.0).all(-1).any()
    assert (features - without).abs().max() > 3.0 * tolerance
    assert kind == "none" or (features - blank).abs().max() > 3.0 * tolerance
    for t, row in enumerate(batch.obs[b:]):
        for column, obs in enumerate(row):
            if not batch.final[b + t, column]:
                expected = record.features[obs.tobytes()]
                torch.testing.assert_close(features[t, column], expected, atol=tolerance, rtol=tolerance)
                compared += 1
    assert compared > 200


@pytest.mark.parametrize("scope", ["episode", "phase", "lifetime"])
@pytest.mark.parametrize("kind", ["dnc", "lstm", "gru"])
def test_an_unchanged_network_refreshes_states_to_what_they_were_and_a_changed_one_to_others(
    kind: str, scope: str
) -> None:
    env = make_vec("Drift/CartPole-v0", 3, seed=1, phase_steps=60)
    agent = build(env, kind=kind, memory_scope=scope, learning_starts=10_000, enabled=False)
    agent.learn(900)
    acted = stored_states(agent)
    agent.refresh_states()
    refreshed = stored_states(agent)
    for name, states in acted.items():
        np.testing.assert_allclose(refreshed[name], states, atol=2e-3, err_msg=name)
    with torch.no_grad():
        for name, weight in agent.policy.features_extractor.memory.named_parameters():
            if "weight_hh" in name:
                weight.mul_(-1.0)
    agent.refresh_states()
    assert np.abs(stored_states(agent)["h"] - acted["h"]).max() > 0.1


def stored_states(agent: MemoryAlgorithm) -> dict[str, np.ndarray]:
    """By part; those alone that count, as the memory is not emptied at their row."""
    saved = agent.replay_buffer.state_dict()
    counts = ~saved["row_memory_start"][:, :: agent.replay_config.stride]
    return {name.removeprefix("state_"): x[counts] for name, x in saved.items() if name.startswith("state_")}


def number_contexts(agent: MemoryAlgorithm, patch: pytest.MonkeyPatch) -> None:
    """Let the context of a stretch be told from its numbers alone: (environment, stretch, 1) / 3."""
    model, observed = agent.policy.context_model, agent.observation_space.shape[0]

    def support(
        envs: np.ndarray, stretches: np.ndarray, *, size: int, steps: int, span: np.ndarray | None
    ) -> SupportRows:
        obs = np.zeros((steps + 1, len(envs), size, observed), np.float32)
        obs[..., 0], obs[..., 1] = envs[:, None], stretches[:, None]
        action, reward = np.zeros((steps, len(envs), size), np.int64), np.zeros((steps, len(envs), size))
        start, mask = np.zeros((len(envs), size), np.int64), np.ones((len(envs), size), bool)
        return SupportRows(obs, action, reward.astype(np.float32), start, mask)

    def infer(rows: Outcomes) -> Tensor:
        numbers = rows.inputs[:, 0, :2]
        return torch.cat((numbers, torch.ones(len(numbers), 1)), -1) / 3.0

    patch.setattr(agent.replay_buffer, "support", support)
    patch.setattr(model, "infer", infer)


@pytest.mark.parametrize("steps", [450, 1500])  # the ring is not full, and it is, and has lost old stretches
def test_states_are_refreshed_under_the_contexts_of_their_rows(steps: int) -> None:
    """Against a loop over the rows of each stream, from the oldest state on, which stays."""
    env = make_vec("Drift/CartPole-v0", 3, seed=1, phase_steps=40)
    agent = build(env, kind="lstm", memory_scope="lifetime", learning_starts=10_000, capacity=900)
    agent.learn(steps)
    before = deepcopy(agent.replay_buffer.state_dict())
    with pytest.MonkeyPatch.context() as patch:
        number_contexts(agent, patch)
        agent.refresh_states()
    after, compared, extractor = agent.replay_buffer.state_dict(), 0, agent.policy.features_extractor
    stride, rows = agent.replay_config.stride, 300
    for env_number in range(3):
        count = int(before["next_row"][env_number])
        start = -(-max(0, count - rows) // stride) * stride
        place = start % rows // stride
        state = tuple(torch.tensor(before[f"state_{part}"][env_number, place][None]) for part in "hc")
        state = type(extractor.initial_state(1))(*state)
        for row in range(start, count):
            if row % stride == 0:
                place = row % rows // stride
                for part, expected in zip("hc", state, strict=True):
                    stored = after[f"state_{part}"][env_number, place]
                    np.testing.assert_allclose(stored, expected[0].numpy(), atol=1e-5)
                compared += 1
            at = (env_number, row % rows)
            stretch = float(before["row_stretch"][at])
            told = torch.tensor([env_number, stretch, 1.0]) / 3.0
            obs, begins = (
                torch.from_numpy(before["row_obs"][at]),
                torch.tensor(before["row_memory_start"][at]),
            )
            with torch.no_grad():
                _, state = agent.policy.unroll(obs[None, None], told[None, None], begins[None, None], state)
    assert compared > 100
    assert before["row_stretch"].min() > 0 or steps == 450
    assert np.abs(after["state_h"] - before["state_h"]).max() > 0.05


def test_refreshing_right_behind_a_seam_finds_nothing_to_do() -> None:
    """Where a loaded replay ends in a seam, there are windows to learn from, and no stream that goes on."""
    agent = build(make_vec("Drift/CartPole-v0", 2, seed=1), kind="lstm", refresh_every=1)
    agent.learn(200)
    before = stored_states(agent)["h"]
    agent.replay_buffer.seam()
    agent.train(gradient_steps=1, batch_size=2)
    np.testing.assert_array_equal(stored_states(agent)["h"], before)


def test_states_are_refreshed_when_it_is_time_and_where_there_are_any() -> None:
    calls = []
    for kind in KINDS:
        env = make_vec("Drift/CartPole-v0", 2, seed=1)
        agent = build(env, kind=kind, learning_starts=10_000, refresh_every=3)
        agent.learn(200)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(agent.replay_buffer, "refresh", lambda advance, kind=kind: calls.append(kind))
            agent.train(gradient_steps=7, batch_size=2)
    assert calls == [kind for kind in KINDS if kind != "none" for _ in range(3)]  # before updates 0, 3 and 6


def test_memory_scope_says_how_long_memory_lives() -> None:
    def starts(scope: str) -> np.ndarray:
        env = DummyVecEnv([lambda: Corridor(length=4, phase_every=6)])
        agent = build(env, memory_scope=scope, learning_starts=10_000, stride=1, burn_in=0, enabled=False)
        agent.learn(40)
        batch = agent.replay_buffer.sample(200, 1.0)
        return batch.memory_start[1:].any(), (batch.memory_start == batch.start).all()

    with pytest.warns(UserWarning, match="TransitionObservation"):
        assert starts("episode") == (True, True)
    with pytest.warns(UserWarning, match="TransitionObservation"):
        assert starts("lifetime") == (False, False)
    with pytest.warns(UserWarning, match="TransitionObservation"):
        assert starts("phase") == (True, False)


def run_through(acting: Acting, steps: int, change: int = 13) -> Iterator[tuple[int, np.ndarray]]:
    """A `Corridor` of 5 steps with random actions, step `change` is a new phase's first; yields before each `act`."""
    rng, truncated = np.random.default_rng(0), np.array([5.0, 0.0], np.float32)
    for t in range(steps):
        obs = np.array([[t % 5, t % 5 == 0]], np.float32)
        yield t, obs
        action = rng.integers(3, size=1)
        info = {"phase": int(t >= change), "terminal_observation": truncated, "TimeLimit.truncated": True}
        acting.observe(action, np.ones(1), np.array([t % 5 == 4]), [info])


def corridor_agent(**changes: Any) -> MemoryAlgorithm:
    return use_memory(build(DummyVecEnv([lambda: Corridor(length=5)]), **{"lr": 0.5} | changes))


@UNFLAGGED
@pytest.mark.parametrize("change", [13, 14])  # within an episode, and at its last step
@pytest.mark.parametrize("scope", ["episode", "phase", "lifetime"])
@pytest.mark.parametrize("kind", ["dnc", "lstm", "gru"])
def test_a_told_change_forgets_the_runs_the_context_and_the_memory(
    kind: str, scope: str, change: int
) -> None:
    """What the first step of a phase does is the first that is known of it."""
    agent = corridor_agent(kind=kind, memory_scope=scope)
    acting, fresh = agent.make_acting(1), agent.make_acting(1)
    known = {}
    for t, obs in run_through(acting, 20, change):
        acting.act(obs)
        known[t] = bool(acting.context.any())
        if t == change:
            assert acting.belief.num_runs[0] >= 5
        if t == change + 1:
            fresh.act(obs)
            assert acting.belief.num_runs[0] == 0
            torch.testing.assert_close(acting.features, fresh.features)
    # Runs are of 3 steps: the first ones are those of steps 0 to 2 and, of the new phase, 15 to 17.
    assert known == {t: 3 <= t <= change or t >= 18 for t in range(20)}


@UNFLAGGED
@pytest.mark.parametrize(("scope", "emptied"), [("episode", False), ("phase", True), ("lifetime", False)])
@pytest.mark.parametrize("kind", ["dnc", "lstm", "gru"])
def test_an_untold_change_keeps_runs_and_context_and_leaves_memory_to_its_scope(
    kind: str, scope: str, emptied: bool
) -> None:
    agent = corridor_agent(kind=kind, memory_scope=scope, phase_signal="none", support=50)
    acting, counts = agent.make_acting(1), []
    for t, obs in run_through(acting, 20):
        context = acting.context.clone()
        acting.act(obs)
        counts.append(int(acting.belief.num_runs[0]))
        assert bool(acting.context.any()) == (t >= 3)
        if t == 14:
            assert acting.memory_start[0] == emptied
            assert context.any()
    runs_of_an_episode = [
        0,
        0,
        0,
        1,
        2,
    ]  # what the last step did is not seen
    assert counts == [2 * (t // 5) + runs_of_an_episode[t % 5] for t in range(20)]


@UNFLAGGED
@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ("info", [*range(1, 9), 10, 12, 15, 18, 22, 27, 33, 41, 51, 63, 78, 97, 121]),
        ("none", [*range(1, 33), *range(34, 200, 2)]),  # whenever a sixteenth of the 32 that are kept is new
    ],
)
def test_a_context_is_fitted_after_every_run_at_first_and_then_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch, signal: str, expected: list[int]
) -> None:
    agent = corridor_agent(phase_signal=signal, young=8, support=32)
    fitted, used = [], []

    def infer(rows: Outcomes) -> Tensor:
        fitted.append(int(acting.belief.num_runs[0]))
        used.append(int(rows.mask.sum()))
        return torch.full((1, 3), float(len(fitted)))

    monkeypatch.setattr(agent.policy.context_model, "infer", infer)
    acting = agent.make_acting(1)
    for t, obs in run_through(acting, 13 + 205):
        acting.act(obs)
        assert acting.context[0, 0].item() in (0.0, len(fitted))
        if t == 13:
            before = len(fitted)
    told = signal == "info"
    assert fitted[before if told else 0 :] == [n for n in expected if n <= acting.belief.num_runs[0]]
    assert len(fitted) > 20 and used == [min(n, 32) for n in fitted]


@UNFLAGGED
def test_environments_are_fitted_each_for_itself() -> None:
    """Environment 1 begins an episode at every second step, so that it never has a run."""
    agent = corridor_agent()
    acting, told = agent.make_acting(2), agent.make_acting(1)
    for t in range(12):
        obs = np.array([[t % 6, t % 6 == 0], [t % 2, t % 2 == 0]], np.float32)
        acting.act(obs)
        told.act(obs[:1])
        torch.testing.assert_close(acting.features[:1], told.features)
        torch.testing.assert_close(acting.context[:1], told.context)
        done = np.array([t % 6 == 5, t % 2 == 1])
        info = {"phase": 0, "terminal_observation": np.array([6.0, 0.0], np.float32)}
        acting.observe(np.array([t % 3, 0]), np.ones(2), done, [info, info])
        told.observe(np.array([t % 3]), np.ones(1), done[:1], [info])
    assert acting.context[0].any() and not acting.context[1].any()


@UNFLAGGED
@pytest.mark.parametrize("enabled", [False, True])
def test_without_adaptation_the_context_stays_zero(enabled: bool) -> None:
    agent = corridor_agent(enabled=enabled, kind="lstm")
    acting, state = agent.make_acting(1, adapt=not enabled), agent.policy.initial_state(1)
    for t, obs in run_through(acting, 12):
        acting.act(obs)
        features, state = agent.policy.advance(obs, np.array([t % 5 == 0]), state)
        assert torch.equal(acting.features, features)
        assert acting.context.shape == (1, 3 if enabled else 0) and not acting.context.any()


@pytest.mark.parametrize("kind", KINDS)
def test_actions_depend_on_the_context(kind: str) -> None:
    agent = build(make_vec("Drift/Pendulum-v0", 2, seed=0), kind=kind)
    obs = agent.env.reset()
    actions = []
    for number in (0.0, 1.0, -1.0):
        acting = agent.make_acting(2)
        acting.belief.context[1] = number
        actions.append(acting.act(obs))
    assert np.ptp([a[0] for a in actions]) == 0.0
    assert np.ptp([a[1] for a in actions]) > 1e-4  # an untrained net heeds it little


@UNFLAGGED
@pytest.mark.parametrize("name", [*DRIFTING, "Corridor"])
def test_acting_keeps_the_runs_that_the_replay_offers_of_the_phase(name: str) -> None:
    env = stream_of(name)
    agent = build(
        env, kind="none", learning_starts=10_000, support=300, steps_ahead=4, history=0, evidence_history=0
    )
    agent.learn(1_000)
    replay, acting = agent.replay_buffer, agent.acting
    stretches = replay.state_dict()["stretch_number"]
    assert (stretches > 0).all()
    for e, stretch in enumerate(stretches):
        offered = in_order(agent._drawn(np.array([e]), np.array([stretch]), 300).runs)
        kept = in_order(acting.tracker.support(acting.belief, np.array([e])))
        assert len(kept) == acting.belief.num_runs[e] > 5
        # The replay knows what an episode's last step did, acting does not.
        distance = np.abs(kept[:, None] - offered[None]).max(-1)
        assert (distance.min(1) < 1e-4).all() and len(kept) <= len(offered)
        ends = int(replay.state_dict()["stretch_number"][e] >= 0) + int(agent._episodes[e])
        assert len(offered) - len(kept) <= ends
    assert agent._episodes.max() > (stretches.max() if name != "Drift/Pendulum-v0" else 0)


def stream_of(name: str) -> VecEnv:
    if name == "Corridor":
        return DummyVecEnv([lambda n=n: Corridor(length=5 + n, phase_every=60) for n in range(3)])
    return make_vec(name, 3, seed=1, phase_steps={"Drift/CartPole-v0": 120, "Drift/Pendulum-v0": 150}[name])


def in_order(rows: Outcomes) -> np.ndarray:
    """Inputs and outcomes of the rows that count, sorted."""
    every = torch.cat((rows.inputs, rows.outcome), -1)[rows.mask].numpy()
    return every[np.lexsort(every.T)]


@pytest.mark.parametrize("name", DRIFTING)
def test_the_runs_of_a_recorded_stream_are_those_that_acting_kept(name: str) -> None:
    agent = build(make_vec(name, 2, seed=0), phase_signal="none", support=300)
    acting, env, steps = agent.make_acting(2), make_vec(name, 2, seed=0), 120
    obs, stream = env.reset(), []
    for _ in range(steps):
        action = acting.act(obs)
        after, reward, done, infos = env.step(action)
        acting.observe(action, reward, done, infos)
        stream.append((obs, action, reward, done))
        obs = after
    seen, acted, paid, ended = (np.stack(part) for part in zip(*stream, strict=True))
    recorded = agent.runs_of(seen, acted, paid, ended)
    kept = acting.tracker.support(acting.belief, np.arange(2))
    for e in range(2):
        ours = Outcomes(*(part[e] for part in kept))
        theirs = in_order(Outcomes(*(part[:, e] for part in recorded)))
        assert len(theirs) > 60
        np.testing.assert_allclose(in_order(ours), theirs, rtol=1e-5, atol=1e-5)


@UNFLAGGED
def test_rewards_are_modelled_in_their_unit_wherever_runs_come_from() -> None:
    """Every step of the corridor pays 1."""
    changes = {"kind": "none", "learning_starts": 10_000, "reward_scale": 0.5, "phase_signal": "none"}
    for unit, expected in ((None, 0.5), (0.1, np.arcsinh(0.5 / 0.1))):
        agent = build(DummyVecEnv([lambda: Corridor(20)]), reward_unit=unit, **changes)
        agent.learn(50)
        drawn = agent._drawn(*agent.replay_buffer.stretches(), 6)
        obs, action, over = (
            np.zeros((20, 1, 2), np.float32),
            np.zeros((20, 1), np.int64),
            np.zeros((20, 1), bool),
        )
        kept = agent.acting.tracker.support(agent.acting.belief, np.zeros(1, np.int64))
        for runs in (drawn.runs, drawn.steps, agent.runs_of(obs, action, np.ones((20, 1)), over), kept):
            paid = runs.outcome[..., -1][runs.mask]
            assert len(paid) > 2
            torch.testing.assert_close(paid, torch.full_like(paid, expected))


@pytest.mark.parametrize("name", DRIFTING)
def test_fitting_lowers_the_loss_on_the_support_of_every_environment(name: str) -> None:
    agent = build(make_vec(name, 3, seed=0), lr=0.05, support=100)
    acting, env = agent.make_acting(3), make_vec(name, 3, seed=0)
    obs = env.reset()
    for _ in range(60):
        action = acting.act(obs)
        obs, reward, done, infos = env.step(action)
        acting.observe(action, reward, done, infos)
    model, support = agent.policy.context_model, acting.tracker.support(acting.belief, np.arange(3))
    contexts = agent.policy.context_model.infer(support)
    assert torch.equal(contexts, model.infer(support))  # a fit depends on weights and rows alone
    with torch.no_grad():
        before, after = (
            (model.loss(context, support) * support.mask).sum(-1) / support.mask.sum(-1)
            for context in (torch.zeros_like(contexts), contexts)
        )
    assert (after < before).all()


def test_a_new_stream_begins_with_nothing() -> None:
    agent = build(make_vec("Drift/CartPole-v0", 2, seed=0), kind="lstm", learning_starts=10_000, lr=0.5)
    agent.learn(100)
    assert agent.acting.context.any() and agent.acting.belief.num_runs.min() > 20
    agent.learn(16)  # both environments are reset, and do 8 steps: of 7, it is known what they did
    assert agent.acting.belief.num_runs.max() <= 5
    agent.acting.reset()
    assert not agent.acting.context.any() and not agent.acting.belief.num_runs.any()
    agent.learn(100)
    count = agent.acting.belief.num_runs.copy()
    agent.learn(2, reset_num_timesteps=False)
    assert (agent.acting.belief.num_runs >= count).all()


@pytest.mark.parametrize("signal", ["info", "detect", "none"])
def test_a_memory_of_phases_reads_their_label_unless_the_agent_finds_out_by_itself(signal: str) -> None:
    agent = build(make_vec(DRIFTING[0], 2, seed=0), kind="lstm", phase_signal=signal, memory_scope="phase")
    acting = agent.make_acting(2)
    for phases in ((0, 0), (0, 1)):
        acting.act(np.zeros((2, *agent.observation_space.shape), np.float32))
        infos = [{"phase": phase} for phase in phases]
        acting.observe(np.zeros(2, np.int64), np.zeros(2), np.zeros(2, bool), infos)
    assert acting.memory_start.tolist() == [False, signal != "detect"]
