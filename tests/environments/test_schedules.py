"""Schedules against their closed form or their distribution, in any order of asking, and through JSON."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from envs.schedules import (
    Choice,
    Constant,
    Draw,
    Geometric,
    Listed,
    Periodic,
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
)
numbers = st.floats(-10, 10)
sources = st.one_of(
    st.builds(Choice, st.lists(numbers, min_size=1, max_size=4).map(tuple), st.booleans()),
    st.builds(Uniform, st.just(((-2.0, -1.0), (3.0, 7.0))), st.booleans()),
)
schedules = st.one_of(
    st.builds(Constant, numbers),
    st.builds(Steps, st.lists(numbers, min_size=1, max_size=4).map(tuple), times, st.booleans()),
    st.builds(Draw, sources, times, st.none() | st.integers(1, 4)),
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
def test_values_stay_within_the_bounds(schedule, seed, step):
    low, high = schedule.bounds
    assert low <= schedule.value(step, seed, "mass") <= high


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Periodic(0), "at least 1 step"),
        (lambda: Listed((3, 3)), "increase"),
        (lambda: Listed((0, 3)), "increase"),
        (lambda: Geometric(0.5), "at least 1 step"),
        (lambda: Choice(()), "at least one value"),
        (lambda: Uniform(((2, 1),)), "low <= high"),
        (lambda: Steps((), Periodic(1)), "at least one value"),
        (lambda: Draw(Choice((1,)), Periodic(1), recurring=0), "at least 1"),
        (lambda: from_json({"kind": "Sine"}), "Unknown schedule kind 'Sine'"),
        (lambda: from_json({"kind": "Constant", "value": 1}), "no field"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
