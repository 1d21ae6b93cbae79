"""Schedules against their closed form or their distribution, in any order of asking, and through JSON."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from envs.schedules import (
    Between,
    Choice,
    Constant,
    Decay,
    Draw,
    Geometric,
    Listed,
    OrnsteinUhlenbeck,
    Periodic,
    Ramp,
    RandomWalk,
    Sigmoid,
    Sine,
    Square,
    Steps,
    Uniform,
    from_json,
    to_json,
)

seeds = st.integers(0, 2**63 - 1)
times = st.one_of(
    st.builds(Periodic, st.integers(1, 300)),
    st.builds(Listed, st.lists(st.integers(1, 500), unique=True).map(sorted).map(tuple)),
    st.builds(Geometric, st.floats(1, 300), st.sampled_from(["", "wind"])),
    st.builds(lambda low, more: Between(low, low + more), st.integers(1, 100), st.integers(0, 100)),
)
numbers = st.floats(-10, 10)
holds = st.integers(1, 40)
sources = st.one_of(
    st.builds(Choice, st.lists(numbers, min_size=1, max_size=4).map(tuple), st.booleans()),
    st.builds(Uniform, st.just(((-2.0, -1.0), (3.0, 7.0))), st.booleans()),
)
schedules = st.one_of(
    st.builds(Constant, numbers),
    st.builds(Steps, st.lists(numbers, min_size=1, max_size=4).map(tuple), times, st.booleans()),
    st.builds(Draw, sources, times, st.none() | st.integers(1, 4)),
    st.builds(Ramp, numbers, numbers, st.integers(0, 300), st.integers(1, 300), holds),
    st.builds(Sigmoid, numbers, numbers, st.floats(-100, 400), st.floats(0.5, 50), holds),
    st.builds(Sine, numbers, numbers, st.floats(1, 500), st.floats(0, 1), holds),
    st.builds(Square, numbers, numbers, st.integers(4, 300), st.sampled_from([0.25, 0.5, 0.75])),
    st.builds(Decay, numbers, numbers, st.floats(1, 500), holds),
    st.builds(RandomWalk, st.floats(-1, 1), st.floats(0, 9), st.just(-1.5), st.just(2.0), holds),
    st.builds(
        OrnsteinUhlenbeck, numbers, st.floats(0, 9), st.floats(1, 99), st.just(-10), st.just(10.5), holds
    ),
)


def test_constant_is_its_value_at_every_step():
    path = Constant(3.5).bind(0, "mass")
    assert [path.value(t) for t in (0, 7, 10**9)] == [3.5] * 3
    assert path.next_change(0) is None


@pytest.mark.parametrize(
    ("cycle", "expected"),
    [(True, [1, 1, 2, 2, 3, 3, 1, 1, 2]), (False, [1, 1, 2, 2, 3, 3, 3, 3, 3])],
)
def test_steps_take_their_values_in_turn(cycle, expected):
    schedule = Steps((1, 2, 3), Periodic(2), cycle=cycle)
    assert [schedule.value(t) for t in range(9)] == expected


def test_steps_at_listed_times_change_at_those_steps():
    schedule = Steps((0, 1, 2, 3), Listed((1, 4, 9)), cycle=False)
    assert [schedule.value(t) for t in range(11)] == [0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3]
    assert schedule.bind(0, "").next_change(4) == 9
    assert schedule.bind(0, "").next_change(9) is None


def test_geometric_gaps_have_the_geometric_distribution():
    mean, n = 20.0, 4_000
    pieces = Geometric(mean).bind(seed=11)
    gaps = np.diff([pieces.start(k) for k in range(n + 1)])
    assert gaps.min() == 1
    # bins of about equal probability; the last one is open
    edges = [1, 4, 8, 13, 19, 27, 39, 60]
    cdf = stats.geom(1 / mean).cdf
    expected = n * np.diff([*(cdf(e - 1) for e in edges), 1.0])
    observed = np.histogram(gaps, [*edges, np.inf])[0]
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    # memoryless: the length of a gap says nothing about the next
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / np.sqrt(n)


def test_geometric_times_of_one_stream_are_shared_and_of_two_are_not():
    starts = [[Geometric(50, s).bind(3).start(k) for k in range(20)] for s in ("", "", "wind")]
    assert starts[0] == starts[1] != starts[2]


def test_uniform_draws_are_uniform_in_each_interval_and_balanced_over_them():
    source = Uniform(((0, 1), (10, 12)), balanced=True)
    values = np.array([source.draw(5, "mass", k) for k in range(2_000)])
    low, high = values[values <= 1], values[values >= 10]
    assert len(low) == len(high) == 1_000
    assert stats.kstest(low, stats.uniform(0, 1).cdf).pvalue > 1e-3
    assert stats.kstest(high, stats.uniform(10, 2).cdf).pvalue > 1e-3


def test_independent_choices_are_even_and_uncorrelated():
    source = Choice((-1, 1))
    signs = np.array([source.draw(5, "action_sign", k) for k in range(4_000)])
    assert abs(signs.mean()) < 4 / np.sqrt(4_000)
    assert abs((signs[1:] * signs[:-1]).mean()) < 4 / np.sqrt(4_000)


def test_balanced_choices_use_every_value_once_per_block():
    source = Choice((1, 2, 3), balanced=True)
    blocks = np.array([source.draw(0, "goal", k) for k in range(30)]).reshape(10, 3)
    assert (np.sort(blocks, axis=1) == [1, 2, 3]).all()
    assert len({tuple(block) for block in blocks}) > 1


def test_recurring_draws_come_round_in_turn():
    schedule = Draw(Uniform(((0, 1),)), Periodic(10), recurring=3)
    values = [schedule.value(t, seed=2, name="mass") for t in range(0, 90, 10)]
    assert values[:3] == values[3:6] == values[6:]
    assert len(set(values)) == 3


def test_names_and_seeds_draw_independently():
    schedule = Draw(Uniform(((0, 1),)), Periodic(1))
    a, b, c = (
        [schedule.bind(seed, name).value(t) for t in range(500)]
        for seed, name in ((0, "mass"), (0, "length"), (1, "mass"))
    )
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.2
    assert abs(np.corrcoef(a, c)[0, 1]) < 0.2


@settings(max_examples=60, deadline=None)
@given(schedule=schedules, seed=seeds, steps=st.lists(st.integers(0, 3_000), min_size=1, max_size=8))
def test_a_value_does_not_depend_on_what_was_asked_before(schedule, seed, steps):
    path = schedule.bind(seed, "mass")
    assert [path.value(t) for t in steps] == [schedule.value(t, seed, "mass") for t in steps]


@settings(max_examples=60, deadline=None)
@given(schedule=schedules, seed=seeds, step=st.integers(0, 2_000))
def test_nothing_changes_before_the_next_change(schedule, seed, step):
    path = schedule.bind(seed, "mass")
    change = path.next_change(step)
    end = min(step + 50 if change is None else change, step + 50)
    assert change is None or change > step
    assert {path.value(t) for t in range(step, end)} == {path.value(step)}


@settings(max_examples=60, deadline=None)
@given(schedule=schedules, seed=seeds)
def test_json_round_trip(schedule, seed):
    back = from_json(json.loads(json.dumps(to_json(schedule))))
    assert back == schedule
    assert [back.value(t, seed, "m") for t in (0, 99, 999)] == [
        schedule.value(t, seed, "m") for t in (0, 99, 999)
    ]


@settings(max_examples=60, deadline=None)
@given(schedule=schedules, seed=seeds, step=st.integers(0, 5_000))
@example(schedule=Decay(5.0, -3.82788844581789, 1.0), seed=0, step=0)  # its closed form rounds past 5
def test_values_stay_within_the_bounds(schedule, seed, step):
    low, high = schedule.bounds
    assert low <= schedule.value(step, seed, "mass") <= high


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Periodic(0), "at least 1 step"),
        (lambda: Periodic(-3), "at least 1 step"),
        (lambda: Periodic(1.5), r"Periodic\(every=1.5\): .*a whole number"),
        (lambda: Periodic("x"), r"Periodic\(every='x'\): .*a whole number"),
        (lambda: Listed((1.5, 3)), "whole numbers"),
        (lambda: Between(1, 2.5), "whole numbers"),
        (lambda: Draw(Choice((1,)), Periodic(1), recurring=1.5), "whole number"),
        (lambda: Listed((3, 3)), "increase"),
        (lambda: Listed((0, 3)), "increase"),
        (lambda: Geometric(0.5), "at least 1 step"),
        (lambda: Choice(()), "at least one value"),
        (lambda: Uniform(((2, 1),)), "low <= high"),
        (lambda: Steps((), Periodic(1)), "at least one value"),
        (lambda: Draw(Choice((1,)), Periodic(1), recurring=0), "at least 1 value"),
        (lambda: from_json({"kind": "Zigzag"}), "Unknown schedule kind 'Zigzag'"),
        (lambda: from_json({"kind": "Constant", "value": 1}), "no field"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_ramp_is_a_straight_line_between_its_ends():
    ramp = Ramp(1.0, 3.0, begin=10, duration=4)
    assert [ramp.value(t) for t in (0, 10, 11, 12, 13, 14, 10**6)] == [1, 1, 1.5, 2, 2.5, 3, 3]
    path = ramp.bind(0, "")
    assert path.next_change(13) == 14 and path.next_change(14) is None


def test_a_sigmoid_is_the_logistic_function():
    t = np.arange(0, 400, 7)
    sigmoid = Sigmoid(2.0, -1.0, centre=150, width=12.0)
    expected = 2.0 - 3.0 / (1 + np.exp(-(t - 150) / 12.0))
    np.testing.assert_allclose([sigmoid.value(int(step)) for step in t], expected, rtol=1e-12)
    assert sigmoid.value(10**9) == -1.0 and sigmoid.bind(0, "").next_change(10**9) is None


def test_a_sine_stays_centred_over_a_long_lifetime():
    sine = Sine(5.0, 2.0, period=250, phase=0.25)
    t = np.arange(1000)
    np.testing.assert_allclose(
        [sine.value(int(s)) for s in t], 5 + 2 * np.cos(2 * np.pi * t / 250), atol=1e-12
    )
    late = np.array([sine.value(10**9 + s) for s in range(250)])  # a whole number of periods later
    assert late.mean() == pytest.approx(5.0, abs=1e-9) and (late.min(), late.max()) == pytest.approx((3, 7))


def test_a_square_wave_has_its_duty():
    wave = Square(0.0, 1.0, period=8, duty=0.25)
    assert [wave.value(t) for t in range(17)] == [1, 1, 0, 0, 0, 0, 0, 0] * 2 + [1]
    path = wave.bind(0, "")
    assert [path.next_change(t) for t in (0, 1, 2, 7, 8)] == [2, 2, 8, 8, 10]


def test_decay_halves_every_half_life():
    decay = Decay(10.0, 2.0, half_life=30)
    assert [decay.value(30 * k) for k in range(5)] == [10, 6, 4, 3, 2.5]
    assert decay.value(10**6) == 2.0


def test_curves_are_held():
    held = Decay(10.0, 2.0, half_life=30, hold=30)
    assert [held.value(t) for t in (0, 29, 30, 59, 60)] == [10, 10, 6, 6, 4]
    assert held.bind(0, "").next_change(31) == 60


def test_gaps_between_have_their_range_and_are_uniform():
    path = Draw(Uniform(((0, 1),)), Between(5, 9)).bind(3, "x")
    changes = [0]
    while len(changes) < 4_001:
        changes.append(path.next_change(changes[-1]))
    counts = np.bincount(np.diff(changes), minlength=10)
    assert counts[:5].sum() == 0 and counts.size == 10
    assert stats.chisquare(counts[5:]).pvalue > 1e-3


def test_a_random_walk_has_normal_increments_and_stays_within_its_bounds():
    free = RandomWalk(0.0, 0.5, -1e6, 1e6, hold=3).bind(1, "x")
    values = np.array([free.value(3 * k) for k in range(3_000)])
    assert values[0] == 0.0 and free.value(4) == free.value(5) == values[1]
    assert stats.kstest(np.diff(values), "norm", (0, 0.5)).pvalue > 1e-3
    tight = RandomWalk(0.5, 0.3, 0.0, 1.0).bind(1, "x")
    inside = np.array([tight.value(k) for k in range(0, 40_000, 20)])
    assert stats.kstest(inside, "uniform").pvalue > 1e-3  # a walk between mirrors is everywhere alike


def test_an_ornstein_uhlenbeck_process_is_stationary_with_its_correlation():
    schedule = OrnsteinUhlenbeck(2.0, 0.5, time_constant=20, low=-100, high=100)
    starts = [schedule.value(0, seed) for seed in range(500)]
    assert stats.kstest(starts, "norm", (2.0, 0.5)).pvalue > 1e-3
    path = schedule.bind(0, "x")
    values = np.array([path.value(t) for t in range(60_000)])
    assert values.mean() == pytest.approx(2.0, abs=0.05) and values.std() == pytest.approx(0.5, abs=0.03)
    assert np.corrcoef(values[:-20], values[20:])[0, 1] == pytest.approx(np.exp(-1), abs=0.05)
    held = OrnsteinUhlenbeck(2.0, 0.5, time_constant=20, low=-100, high=100, hold=20).bind(0, "x")
    sampled = np.array([held.value(20 * k) for k in range(20_000)])
    assert np.corrcoef(sampled[:-1], sampled[1:])[0, 1] == pytest.approx(np.exp(-1), abs=0.03)
    cut = OrnsteinUhlenbeck(2.0, 0.5, 20, 1.8, 2.2).bind(0, "x")
    seen = [cut.value(t) for t in range(2_000)]
    assert (min(seen), max(seen)) == (1.8, 2.2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Ramp(0, 1, 0, 0),
        lambda: Sigmoid(0, 1, 0, 0),
        lambda: Sine(0, 1, 0),
        lambda: Sine(0, 1, 5, hold=0),
        lambda: RandomWalk(0.0, 0.5, -1, 1, hold=1e3),
        lambda: Square(0, 1, 2, 0.1),
        lambda: Decay(0, 1, 0),
        lambda: RandomWalk(3, 1, 0, 1),
        lambda: OrnsteinUhlenbeck(3, 1, 5, 0, 1),
        lambda: OrnsteinUhlenbeck(0, 1, 0, 0, 1),
        lambda: Between(0, 4),
    ],
)
def test_impossible_schedules_are_refused_in_a_sentence(wrong):
    with pytest.raises(ValueError, match=r"expected .+\."):
        wrong()
