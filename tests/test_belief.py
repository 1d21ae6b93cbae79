"""What a belief keeps of a phase, against lists: steps are numbered, so every run is arithmetic. And when it ends."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from memagent.belief import Belief, BeliefTracker, Observed
from memagent.context import AdaptConfig, ContextModel, PhaseSignal
from memagent.detector import Detector
from memagent.dynamics import Outcomes, run_size
from memagent.fused_belief import _hash

E, STEPS, HISTORY = 4, 3, 2
SHAPES = (2, 1, 2)  # numbers of an observation, an action and an outcome


class Numbered:
    """E streams whose step n has observation (e, n), action 10 n and outcome (n², 1)."""

    def __init__(
        self, size: int, signal: PhaseSignal = "info", num_envs: int = E, steps: int = STEPS
    ) -> None:
        sizes = {"support": size, "context_dim": 2, "hidden_size": 4, "young": 0}
        config = AdaptConfig(
            phase_signal=signal, steps_ahead=steps, history=HISTORY, evidence_history=HISTORY, **sizes
        )
        row, step = (run_size(SHAPES, k, HISTORY) for k in (steps, 1))
        self.detector = Detector(step, 2, 2, 4)
        self.tracker = BeliefTracker(ContextModel(row, 2, config, None), self.detector, config, SHAPES)
        self.belief = self.tracker.empty(num_envs)
        self.number = np.zeros(num_envs, np.int64)
        self.envs = np.arange(num_envs)
        self.belief.obs[:] = self.obs()

    def obs(self) -> np.ndarray:
        return np.stack((self.envs, self.number), -1).astype(np.float32)

    def step(self, goes_on: np.ndarray) -> Observed:
        n = self.number.astype(np.float32)
        self.number = self.number + 1
        happened = np.stack((n**2, np.ones_like(n)), -1)
        return self.tracker.observe(self.belief, self.obs(), 10 * n[:, None], happened, goes_on)

    def kept(self, env: int) -> list[list[float]]:
        rows = self.tracker.support(self.belief, np.array([env]))
        return sorted(torch.cat((rows.inputs, rows.outcome), -1)[rows.mask].tolist())


def run_of(env: int, steps: list[int], k: int = STEPS) -> list[float]:
    """The last k of consecutive steps, with those before them, the newest first."""
    numbers, past = steps[-k:], steps[:-k][::-1][:HISTORY]
    padding = [0.0] * (HISTORY - len(past))
    changes = [float(n**2) for n in past] + padding
    actions = [10.0 * n for n in past] + padding
    inputs = [env, numbers[0], *(10.0 * n for n in numbers), *changes, *actions]
    return [*inputs, np.float32(np.mean([n**2 for n in numbers])), 1.0]


def lived(seed: int, size: int, signal: PhaseSignal = "info") -> tuple[Numbered, list[list[int]]]:
    """A life in which episodes and phases end; and the runs of each present phase."""
    rng, streams = np.random.default_rng(seed), Numbered(size, signal)
    unbroken, runs = [[] for _ in range(E)], [[] for _ in range(E)]
    for t in range(120):
        goes_on = rng.random(E) > 0.12
        streams.step(goes_on)
        for e in range(E):
            unbroken[e] = [*unbroken[e], t] if goes_on[e] else []
            if len(unbroken[e]) >= STEPS:
                runs[e].append(run_of(e, unbroken[e]))
        new = np.flatnonzero(rng.random(E) < 0.02)
        streams.tracker.begin_anew(streams.belief, new)
        for e in new:
            unbroken[e], runs[e] = [], []
    return streams, runs


@pytest.mark.parametrize("seed", range(5))
def test_exactly_the_runs_of_the_present_phase_are_kept_and_none_crosses_an_end(seed: int) -> None:
    streams, expected = lived(seed, size=200)
    assert min(map(len, expected)) < max(map(len, expected)) < 120  # phases of different ages
    assert streams.belief.num_runs.tolist() == [len(part) for part in expected]
    assert [streams.kept(e) for e in range(E)] == expected


@pytest.mark.parametrize("seed", range(5))
def test_of_many_runs_a_sample_is_kept_or_the_newest(seed: int) -> None:
    size = 6
    (sample, runs), (newest, _) = lived(seed, size), lived(seed, size, "none")
    assert max(map(len, runs)) > 3 * size
    for e in range(E):
        everything, some = runs[e], sample.kept(e)
        assert newest.kept(e) == everything[-size:]
        assert len(some) == min(size, len(everything)) == len({tuple(run) for run in some})
        assert all(run in everything for run in some)


def test_the_hash_draws_every_place_equally_often() -> None:
    """Algorithm R is uniform where draw number n is uniform on 0 … n and independent of the others."""
    numbers = np.arange(100, 20_100)
    share = np.array([int(_hash(np.uint64(n)) % np.uint64(n + 1)) / (n + 1) for n in numbers])
    counts = np.histogram(share, bins=10, range=(0.0, 1.0))[0]
    assert np.abs(counts - 2_000).max() < 4.5 * np.sqrt(1_800)
    assert abs(np.corrcoef(share[:-1], share[1:])[0, 1]) < 0.03


def sign_model() -> tuple[ContextModel, Detector, AdaptConfig]:
    """Trained on plants whose action moves the observation by plus or minus itself, with a little noise."""
    torch.manual_seed(0)
    config = AdaptConfig(
        phase_signal="detect",
        steps_ahead=1,
        history=0,
        evidence_history=0,
        support=32,
        context_dim=2,
        hidden_size=16,
        false_alarms=10.0,
    )
    model, detector = ContextModel(2, 2, config, None), Detector(2, 2, 2, 16)
    optimizer = torch.optim.Adam([*model.parameters(), *detector.parameters()], 1e-2)
    rng = torch.Generator().manual_seed(0)
    for _ in range(600):
        sign = 2.0 * torch.randint(2, (16, 1, 1), generator=rng) - 1
        action, noise = torch.randn(2, 16, 32, 1, generator=rng)
        outcome = torch.cat((sign * action + 0.4 * noise, torch.zeros_like(noise)), -1)
        inputs = torch.cat((torch.zeros(16, 32, 1), action), -1)
        rows = [(x[:, :16], x[:, 16:]) for x in (inputs, outcome)]
        mask = torch.arange(16) < torch.randint(17, (16, 1), generator=rng)
        context = model.fit(Outcomes(rows[0][0], rows[1][0], mask))
        others = Outcomes(rows[0][1], rows[1][1], mask)
        loss = model.loss(context, others).mean() + detector.loss(model.told(context), others).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.observe_scale(context)
    return model, detector, config


def follow_peaks(
    model: ContextModel, detector: Detector, config: AdaptConfig, num_envs: int = 100, steps: int = 200
) -> None:
    """As training does: how high the evidence rises while nothing changes."""
    tracker = BeliefTracker(model, detector, replace(config, phase_signal="info"), (1, 1, 2))
    belief, seen = tracker.empty(num_envs), []
    live(tracker, belief, 1.0, steps, seed=7, seen=seen)
    peaks, stage = (np.concatenate([getattr(one, name) for one in seen]) for name in ("peaks", "stage"))
    detector.observe_peaks(peaks, stage)


def live(
    tracker: BeliefTracker,
    belief: Belief,
    sign: float,
    steps: int,
    seed: int,
    seen: list[Observed] | None = None,
) -> list[int]:
    """Steps of `belief`'s streams under a plant of this sign, at which alarms were raised; adds what each gave."""
    rng, alarms = np.random.default_rng(seed), []
    count = len(belief.obs)
    for t in range(steps):
        action = rng.standard_normal((count, 1)).astype(np.float32)
        change = sign * action + 0.4 * rng.standard_normal((count, 1))
        happened = np.concatenate((change, np.zeros((count, 1))), -1)
        step = tracker.observe(belief, np.zeros((count, 1)), action, happened, np.ones(count, bool))
        alarms += [t] * int(step.alarm.sum())
        if seen is not None:
            seen.append(step)
    return alarms


def test_a_reversed_action_is_noticed_soon_and_an_unchanged_plant_is_left_alone() -> None:
    model, detector, config = sign_model()
    follow_peaks(model, detector, config)
    tracker = BeliefTracker(model, detector, config, (1, 1, 2))
    belief = tracker.empty(20)
    false = live(tracker, belief, 1.0, 200, seed=1)
    assert len(false) <= 12  # of 4,000 steps; 4 are asked for
    before, phases = belief.context.copy(), belief.phase.copy()
    noticed = live(tracker, belief, -1.0, 30, seed=2)
    assert (belief.phase > phases).all() and np.median(noticed) <= 15
    assert (np.abs(belief.context - before).max(-1) > 0.1).all()
    assert (belief.age <= 35).all() and (belief.num_runs <= 35).all()  # what came before is left out


def test_evidence_is_summed_forgotten_and_cut_at_nothing_and_at_what_one_step_may_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Numbered(50, "detect", num_envs=1, steps=1)
    said, score = np.random.default_rng(0).normal(0.0, 3.0, 40), 0.0
    evidence = iter(said.tolist())
    monkeypatch.setattr(
        streams.detector, "evidence", lambda told, steps: torch.full(steps.mask.shape, next(evidence))
    )
    monkeypatch.setattr(streams.detector, "thresholds", lambda false_alarms: np.full(2, 1e9))
    for ratio in said:
        streams.step(np.array([True]))
        score = max(0.0, 0.9 * score + min(max(ratio, -3.0), 3.0))
        assert streams.belief.score[0] == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_new_phase_begins_with_the_runs_since_the_evidence_grew(
    k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence by hand: it falls back to 0 with step 4, grows from step 5 on, and is enough with step 7."""
    streams = Numbered(50, "detect", num_envs=1, steps=k)
    evidence = iter([0.5, 0.5, -3.0, 1.0, -3.0, 1.0, 1.0, 1.0, -3.0])
    seen = []

    def weigh(told: torch.Tensor, steps: Outcomes) -> torch.Tensor:
        seen.append(torch.cat((steps.inputs, steps.outcome), -1).flatten().tolist())
        return torch.full(steps.mask.shape, next(evidence))

    monkeypatch.setattr(streams.detector, "evidence", weigh)
    monkeypatch.setattr(streams.detector, "thresholds", lambda false_alarms: np.full(2, 2.5))
    alarm = 7
    for t in range(alarm + 1):
        streams.step(np.ones(1, bool))
        assert streams.belief.phase[0] == int(t == alarm)
    assert seen == [run_of(0, list(range(t + 1)), 1) for t in range(alarm + 1)]
    first = alarm - 2  # of the three steps that are taken for the new phase's
    within = [run_of(0, list(range(last + 1)), k) for last in range(first + k - 1, alarm + 1)]
    assert streams.kept(0) == within
    assert (streams.belief.age[0], streams.belief.num_runs[0]) == (3, len(within))
    streams.step(np.ones(1, bool))  # its past reaches back to where the phase began
    assert streams.kept(0)[-1] == run_of(0, list(range(first, alarm + 2)), k)


def test_without_detection_no_phase_ends() -> None:
    model, detector, config = sign_model()
    tracker = BeliefTracker(model, detector, replace(config, phase_signal="info"), (1, 1, 2))
    belief = tracker.empty(5)
    assert not live(tracker, belief, 1.0, 60, seed=1) + live(tracker, belief, -1.0, 60, seed=2)
    assert (belief.phase == 0).all() and (belief.score > 0).all()


@pytest.mark.parametrize("shape", [0.0, 0.2, 0.4])
def test_the_threshold_is_that_of_the_peaks_tail(shape: float) -> None:
    random, detector = np.random.default_rng(0), Detector(4, 2, 3, 8)
    uniform, scale, rate = random.random(200_000), 0.6, 0.05  # 0.05 peaks in a step
    heights = -scale * np.log(uniform) if shape == 0.0 else scale * (uniform**-shape - 1.0) / shape
    for some in np.split(0.25 + heights, 200):
        follow(detector, some, round(len(some) / rate), stage=1)
    for false_alarms in (1.0, 20.0):
        exceeded = (0.25 + heights > detector.thresholds(false_alarms)[1]).mean() * rate * 1e4
        assert exceeded == pytest.approx(false_alarms, rel=0.5)


@pytest.mark.parametrize("false_alarms", [1.0, 15.0])
@pytest.mark.parametrize("shape", [0.0, 0.2])
@pytest.mark.parametrize("heavy_at_first", [False, True])
def test_where_alarms_end_phases_the_tail_neither_sinks_nor_stays_heavy(
    heavy_at_first: bool, shape: float, false_alarms: float
) -> None:
    detector, random, rate, scale = Detector(4, 2, 3, 8), np.random.default_rng(0), 0.03, 0.6
    if heavy_at_first:
        detector.peak_square.fill_(8.0)
        detector.peak_excess.fill_(1.0)
    stage, threshold = np.ones(320, np.int64), 9.0
    for _ in range(400):
        uniform = random.random(len(stage))
        heights = 0.25 + (-scale * np.log(uniform) if shape == 0.0 else scale * (uniform**-shape - 1) / shape)
        came = (random.random(len(stage)) < rate) & (heights < threshold)  # higher ones are alarms
        detector.observe_peaks(np.where(came, heights, 0.0).astype(np.float32), stage, false_alarms)
        threshold = detector.thresholds(false_alarms)[1]
    high = threshold - 0.25
    exceeded = (
        1e4 * rate * (np.exp(-high / scale) if shape == 0.0 else (1 + shape * high / scale) ** (-1 / shape))
    )
    assert false_alarms / 2 < exceeded < 2 * false_alarms


def test_where_no_peak_was_ever_seen_none_is_missing() -> None:
    detector = Detector(4, 2, 3, 8)
    detector.peak_rate.zero_()
    detector.observe_peaks(np.zeros(16, np.float32), np.ones(16, np.int64), 1.0)
    assert detector.peak_rate[1] == 0.0 and detector.thresholds(1.0)[1] == 0.25


def follow(detector: Detector, heights: np.ndarray, steps: int, stage: int) -> None:
    """Show peaks that came within some steps of phases at one stage."""
    peaks = np.zeros(steps, np.float32)
    peaks[: len(heights)] = heights
    detector.observe_peaks(peaks, np.full(steps, stage))


def test_the_threshold_rises_as_false_alarms_may_be_rarer_and_as_peaks_grow() -> None:
    detector = Detector(3, 2, 2, 4)
    rare, often = detector.thresholds(1.0), detector.thresholds(100.0)
    assert (rare > often).all()
    follow(detector, np.full(100, 5.0), 1_000, stage=1)
    assert detector.thresholds(1.0)[1] > rare[1]


def test_a_phase_with_few_runs_has_a_tail_of_its_own() -> None:
    detector, count = Detector(3, 2, 2, 4), 400
    before = detector.thresholds(1.0)
    stage = np.arange(count) % 2 - 1  # 0, and -1, which does not count
    detector.observe_peaks(np.full(count, 9.0, np.float32), stage)
    after = detector.thresholds(1.0)
    assert after[0] > before[0] and after[1] == before[1]
    assert (detector.step_count.tolist(), detector.peak_count.tolist()) == ([count / 2, 0], [count / 2, 0])


def test_a_tail_of_few_runs_that_only_an_untrained_model_gave_is_not_used() -> None:
    detector = Detector(3, 2, 2, 4)
    follow(detector, np.full(100, 9.0), 1_000, stage=0)
    follow(detector, np.full(1_000, 0.5), 19_000, stage=1)
    assert detector.thresholds(1.0)[0] > 2 * detector.thresholds(1.0)[1]  # one step in twenty
    follow(detector, np.full(100, 0.5), 1_900, stage=1)
    assert detector.thresholds(1.0)[0] == detector.thresholds(1.0)[1]


def test_a_phase_has_a_threshold_of_its_own_until_its_support_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Numbered(5, "detect", num_envs=1, steps=1)
    monkeypatch.setattr(streams.detector, "thresholds", lambda false_alarms: np.array([50.0, 25.0]))
    monkeypatch.setattr(streams.detector, "evidence", lambda told, steps: torch.ones(steps.mask.shape))
    config = streams.tracker.config
    kept = config.support
    for t in range(kept + 2):
        seen = streams.step(np.ones(1, bool))
        few = t < kept  # runs before this step
        if t >= config.young:
            assert seen.stage.tolist() == [0 if few else 1]
        threshold = 50.0 if t + 1 < kept else 25.0
        assert streams.tracker.evidence(streams.belief)[0] == pytest.approx(
            streams.belief.score[0] / threshold
        )


def test_the_tail_forgets_the_young_models_peaks_and_is_steady() -> None:
    random, thresholds = np.random.default_rng(0), []
    right = 0.25 + 0.5 * np.log(0.1 * 1e4)  # of an exponential tail above 0.25, with 0.1 peaks in a step
    for _ in range(20):
        detector = Detector(3, 2, 2, 4)
        for t in range(600):  # ten peaks in a hundred steps each time; the model is young in the first fifth
            heights = 0.25 + random.exponential(10.0 if t < 120 else 0.5, 10)
            follow(detector, heights, 100, stage=1)
        thresholds.append(detector.thresholds(1.0)[1])
    assert np.mean(thresholds) == pytest.approx(right, rel=0.1)
    assert np.std(thresholds) < 0.15 * right


def test_runs_over_an_episodes_end_are_none_of_a_new_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Numbered(50, "detect", num_envs=1, steps=2)
    monkeypatch.setattr(streams.detector, "evidence", lambda told, steps: torch.ones(steps.mask.shape))
    monkeypatch.setattr(streams.detector, "thresholds", lambda false_alarms: np.full(2, 4.5))
    for goes_on in (True, True, True, False, True, True, True):  # step 3 ends an episode, and is none
        streams.step(np.array([goes_on]))
    assert streams.belief.phase[0] == 1 and streams.belief.age[0] == 6
    unbroken = [[0, 1], [0, 1, 2], [4, 5], [4, 5, 6]]
    assert streams.kept(0) == [run_of(0, steps, 2) for steps in unbroken]


def test_the_detector_is_told_the_context_and_never_shapes_it() -> None:
    model, detector = ContextModel(5, 2, AdaptConfig(context_dim=2), None), Detector(5, 2, 2, 4)
    rows = Outcomes(torch.randn(3, 6, 5), torch.randn(3, 6, 2), torch.ones(3, 6, dtype=torch.bool))
    told = model.fit(rows)
    loss = detector.loss(told, rows)
    loss.sum().backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for p in detector.parameters())
    assert not torch.equal(detector.loss(torch.zeros_like(told), rows), loss)
    assert (detector.evidence(torch.zeros_like(told), rows) == 0).all()
