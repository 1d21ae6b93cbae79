"""What a belief keeps of a phase, against lists: steps are numbered, so every row is arithmetic. And when it ends."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from memagent.belief import Belief, BeliefTracker
from memagent.context import AdaptConfig, ContextModel, PhaseSignal
from memagent.dynamics import Outcomes
from memagent.fused_belief import _hash

E, HISTORY = 4, 3


class Numbered:
    """E streams whose step n has observation (e, n), action 10 n and outcome (n², 1)."""

    def __init__(
        self, size: int, signal: PhaseSignal = "info", num_envs: int = E, history: int = HISTORY
    ) -> None:
        config = AdaptConfig(
            phase_signal=signal, history=history, support=size, context_dim=2, hidden_size=4
        )
        self.model = ContextModel(3 + 2 * history, 2, config, None)
        self.tracker = BeliefTracker(self.model, config, (2, 1, 2))
        self.belief = self.tracker.empty(num_envs)
        self.number = np.zeros(num_envs, np.int64)
        self.envs = np.arange(num_envs)
        self.belief.obs[:] = self.obs()

    def obs(self) -> np.ndarray:
        return np.stack((self.envs, self.number), -1).astype(np.float32)

    def step(self, goes_on: np.ndarray) -> None:
        n = self.number.astype(np.float32)
        self.number = self.number + 1
        happened = np.stack((n**2, np.ones_like(n)), -1)
        self.tracker.observe(self.belief, self.obs(), 10 * n[:, None], happened, goes_on)

    def kept(self, env: int) -> list[list[float]]:
        rows = self.tracker.support(self.belief, np.array([env]))
        return sorted(torch.cat((rows.inputs, rows.outcome), -1)[rows.mask].tolist())


def row_of(env: int, steps: list[int]) -> list[float]:
    """The last of consecutive steps, with those before it."""
    *before, now = steps
    past = before[::-1][:HISTORY]
    padding = [0.0] * (HISTORY - len(past))
    changes = [float(n**2) for n in past] + padding
    actions = [10.0 * n for n in past] + padding
    return [env, now, 10.0 * now, *changes, *actions, float(now**2), 1.0]


def lived(seed: int, size: int, signal: PhaseSignal = "info") -> tuple[Numbered, list[list[int]]]:
    """A life in which episodes and phases end; and the rows of each present phase."""
    rng, streams = np.random.default_rng(seed), Numbered(size, signal)
    unbroken, rows = [[] for _ in range(E)], [[] for _ in range(E)]
    for t in range(120):
        goes_on = rng.random(E) > 0.12
        streams.step(goes_on)
        for e in range(E):
            unbroken[e] = [*unbroken[e], t] if goes_on[e] else []
            if goes_on[e]:
                rows[e].append(row_of(e, unbroken[e]))
        new = np.flatnonzero(rng.random(E) < 0.02)
        streams.tracker.begin_anew(streams.belief, new)
        for e in new:
            unbroken[e], rows[e] = [], []
    return streams, rows


@pytest.mark.parametrize("seed", range(5))
def test_exactly_the_steps_of_the_present_phase_are_kept_and_no_history_crosses_an_end(seed: int) -> None:
    streams, expected = lived(seed, size=200)
    assert min(map(len, expected)) < max(map(len, expected)) < 120  # phases of different ages
    assert streams.belief.num_steps.tolist() == [len(part) for part in expected]
    assert [streams.kept(e) for e in range(E)] == expected


@pytest.mark.parametrize("seed", range(5))
def test_of_many_steps_a_sample_is_kept_or_the_newest(seed: int) -> None:
    size = 6
    (sample, rows), (newest, _) = lived(seed, size), lived(seed, size, "none")
    assert max(map(len, rows)) > 3 * size
    for e in range(E):
        everything, some = rows[e], sample.kept(e)
        assert newest.kept(e) == everything[-size:]
        assert len(some) == min(size, len(everything)) == len({tuple(row) for row in some})
        assert all(row in everything for row in some)


def test_the_hash_draws_every_place_equally_often() -> None:
    """Algorithm R is uniform where draw number n is uniform on 0 … n and independent of the others."""
    numbers = np.arange(100, 20_100)
    share = np.array([int(_hash(np.uint64(n)) % np.uint64(n + 1)) / (n + 1) for n in numbers])
    counts = np.histogram(share, bins=10, range=(0.0, 1.0))[0]
    assert np.abs(counts - 2_000).max() < 4.5 * np.sqrt(1_800)
    assert abs(np.corrcoef(share[:-1], share[1:])[0, 1]) < 0.03


def sign_model() -> tuple[ContextModel, AdaptConfig]:
    """Trained on plants whose action moves the observation by plus or minus itself, with a little noise."""
    torch.manual_seed(0)
    config = AdaptConfig(
        phase_signal="detect", history=0, support=32, context_dim=2, hidden_size=16, false_alarms=10.0
    )
    model = ContextModel(2, 2, config, None)
    optimizer, rng = torch.optim.Adam(model.parameters(), 1e-2), torch.Generator().manual_seed(0)
    for _ in range(600):
        sign = 2.0 * torch.randint(2, (16, 1, 1), generator=rng) - 1
        action, noise = torch.randn(2, 16, 32, 1, generator=rng)
        outcome = torch.cat((sign * action + 0.4 * noise, torch.zeros_like(noise)), -1)
        inputs = torch.cat((torch.zeros(16, 32, 1), action), -1)
        rows = [(x[:, :16], x[:, 16:]) for x in (inputs, outcome)]
        mask = torch.arange(16) < torch.randint(17, (16, 1), generator=rng)
        context = model.fit(Outcomes(rows[0][0], rows[1][0], mask))
        loss = model.loss(context, Outcomes(rows[0][1], rows[1][1], mask)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.observe_scale(context)
    return model, config


def live(tracker: BeliefTracker, belief: Belief, sign: float, steps: int, seed: int) -> list[int]:
    """Steps of `belief`'s streams under a plant of this sign, at which alarms were raised."""
    rng, alarms = np.random.default_rng(seed), []
    count = len(belief.obs)
    for t in range(steps):
        action = rng.standard_normal((count, 1)).astype(np.float32)
        change = sign * action + 0.4 * rng.standard_normal((count, 1))
        happened = np.concatenate((change, np.zeros((count, 1))), -1)
        seen = tracker.observe(belief, np.zeros((count, 1)), action, happened, np.ones(count, bool))
        alarms += [t] * int(seen.alarm.sum())
    return alarms


def test_a_reversed_action_is_noticed_soon_and_an_unchanged_plant_is_left_alone() -> None:
    model, config = sign_model()
    tracker = BeliefTracker(model, config, (1, 1, 2))
    belief = tracker.empty(20)
    false = live(tracker, belief, 1.0, 200, seed=1)
    assert len(false) <= 4  # of 4,000 steps
    before, phases = belief.context.copy(), belief.phase.copy()
    noticed = live(tracker, belief, -1.0, 30, seed=2)
    assert (belief.phase > phases).all() and np.median(noticed) <= 15
    assert (np.abs(belief.context - before).max(-1) > 0.1).all()
    assert (belief.age <= 35).all() and (belief.num_steps <= 35).all()  # what came before is left out


def test_a_new_phase_begins_with_the_steps_since_the_evidence_grew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence by hand: it falls back to 0 at step 4, grows from step 5 on, and is enough at step 7."""
    streams = Numbered(50, "detect", num_envs=1)
    evidence = iter([0.5, 0.5, -3.0, 1.0, -3.0, 1.0, 1.0, 1.0, -3.0])
    monkeypatch.setattr(
        streams.model, "evidence_against", lambda told, rows: torch.full(rows.mask.shape, next(evidence))
    )
    monkeypatch.setattr(streams.model, "alarm_threshold", lambda false_alarms: 2.5)
    for t in range(8):
        streams.step(np.ones(1, bool))
        assert streams.belief.phase[0] == int(t == 7)
    before = [list(range(6)), list(range(7)), list(range(8))]
    assert streams.kept(0) == [row_of(0, steps) for steps in before]
    assert (streams.belief.age[0], streams.belief.num_steps[0]) == (3, 3)
    streams.step(np.ones(1, bool))  # its past reaches back to where the phase began, at step 5
    assert streams.kept(0)[-1] == row_of(0, [5, 6, 7, 8])


def test_without_detection_no_phase_ends() -> None:
    model, config = sign_model()
    tracker = BeliefTracker(model, replace(config, phase_signal="info"), (1, 1, 2))
    belief = tracker.empty(5)
    assert not live(tracker, belief, 1.0, 60, seed=1) + live(tracker, belief, -1.0, 60, seed=2)
    assert (belief.phase == 0).all() and (belief.score > 0).all()


def test_the_threshold_rises_as_false_alarms_may_be_rarer_and_as_peaks_grow() -> None:
    model = ContextModel(3, 2, AdaptConfig(context_dim=2), None)
    rare, often = model.alarm_threshold(1.0), model.alarm_threshold(100.0)
    assert rare > often
    model.observe_peaks(torch.full((100,), 5.0), 1_000)
    assert model.alarm_threshold(1.0) > rare
