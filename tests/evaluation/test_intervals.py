"""Estimates by hand, and intervals by what they must cover, ignore and agree with."""

import numpy as np
import pytest

from memagent.evaluation import intervals


def test_interquartile_mean_drops_a_quarter_on_each_side_of_all_scores():
    scores = np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 700.0]])
    assert intervals.interval(scores, intervals.interquartile_mean).estimate == pytest.approx(
        (2 + 3 + 4 + 5) / 4
    )
    assert intervals.interval(scores).estimate == pytest.approx(721 / 8)


def test_runs_are_drawn_within_their_context():
    # Contexts differ by 100, runs not at all: with contexts given, nothing is uncertain.
    scores = np.array([[0.0, 100.0, 200.0]] * 4)
    assert intervals.interval(scores) == (100.0, 100.0, 100.0)
    over_contexts = intervals.interval(scores, over="contexts")
    assert over_contexts.low == 0.0 and over_contexts.high == 200.0


def test_whole_runs_carry_what_their_contexts_share():
    # The run is all there is to a score: its interval is as wide as that of one context, whatever their number.
    luck = np.random.default_rng(0).normal(size=(30, 1))
    one, many = (
        intervals.interval(np.tile(luck, (1, n)), over="whole runs", resamples=20_000) for n in (1, 8)
    )
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.03)
    within = intervals.interval(np.tile(luck, (1, 8)), over="runs", resamples=20_000)
    assert within.high - within.low == pytest.approx((one.high - one.low) / np.sqrt(8), rel=0.05)
    assert np.isnan(intervals.interval([[1.0, 2.0]], over="whole runs").low)


def test_a_difference_of_runs_that_are_no_pairs_agrees_with_its_standard_error():
    rng = np.random.default_rng(0)
    x, y = rng.normal(3.0, 1.0, size=(200, 2)), rng.normal(1.0, 2.0, size=(300, 2))
    found = intervals.difference(x, y, resamples=20_000)
    error = 1.96 * np.sqrt(x.mean(1).var() / 200 + y.mean(1).var() / 300)
    assert found.estimate == pytest.approx(x.mean() - y.mean())
    assert found.high - found.low == pytest.approx(2 * error, rel=0.05)
    assert np.isnan(intervals.difference(x, y[:1]).low)
    with pytest.raises(ValueError, match="same contexts"):
        intervals.difference(x, y[:, :1])


def test_contexts_are_drawn_whole():
    # Runs differ by 100 in every context alike: with runs given, nothing is uncertain.
    scores = np.array([[0.0] * 5, [100.0] * 5])
    assert intervals.interval(scores, over="contexts") == (50.0, 50.0, 50.0)
    assert intervals.interval(scores).high > intervals.interval(scores).low


def test_the_interval_of_a_mean_agrees_with_its_standard_error():
    scores = np.random.default_rng(0).normal(5.0, 2.0, size=(400, 1))
    error = 1.96 * scores.std() / np.sqrt(scores.size)
    found = intervals.interval(scores, resamples=20_000)
    assert found.high - found.estimate == pytest.approx(error, rel=0.05)
    assert found.estimate - found.low == pytest.approx(error, rel=0.05)


def test_stratified_interval_agrees_with_its_standard_error():
    scores = np.random.default_rng(0).normal(0.0, 2.0, size=(100, 3)) + np.array([0.0, 50.0, 100.0])
    error = 1.96 * np.sqrt((scores.var(0) / 100).sum()) / 3
    found = intervals.interval(scores, resamples=20_000)
    assert found.high - found.low == pytest.approx(2 * error, rel=0.05)


def test_one_run_is_judged_over_its_contexts():
    scores = [1.0, 2.0, 3.0, 4.0]
    assert intervals.interval(scores) == intervals.interval([scores], over="contexts")


def test_one_number_has_no_interval():
    estimate, low, high = intervals.interval([3.0])
    assert estimate == 3.0 and np.isnan(low) and np.isnan(high)
    assert np.isnan(intervals.interval([[1.0, 2.0]], over="runs").low)


def test_intervals_depend_on_the_seed_alone():
    scores = np.random.default_rng(0).normal(size=(3, 5))
    first, again, other = (intervals.interval(scores, seed=s) for s in (0, 0, 1))
    assert first == again and first != other


def test_pairing_takes_out_what_both_share():
    rng = np.random.default_rng(0)
    hard = rng.normal(0.0, 100.0, size=(3, 6))
    adapted = hard + 5.0 + rng.normal(0.0, 1.0, size=(3, 6))
    paired = intervals.paired_difference(adapted, hard)
    assert 3.0 < paired.low < paired.estimate < paired.high < 7.0
    apart = intervals.interval(adapted)
    assert apart.high - apart.low > 20.0
    with pytest.raises(ValueError, match="same runs and contexts"):
        intervals.paired_difference(adapted, hard[:2])


def test_probability_of_improvement_counts_pairs_within_contexts():
    first = np.array([[1.0, 10.0], [3.0, 20.0]])
    second = np.array([[2.0, 10.0], [2.0, 30.0], [0.0, 5.0]])
    # Context 0: 1 beats {0}, 3 beats all: 4 of 6. Context 1: 10 beats 5 and ties 10, 20 beats 10 and 5: 3.5 of 6.
    found = intervals.probability_of_improvement(first, second)
    assert found.estimate == pytest.approx((4 / 6 + 3.5 / 6) / 2)
    assert 0.0 <= found.low <= found.estimate <= found.high <= 1.0
    assert intervals.probability_of_improvement(first, first).estimate == 0.5
    assert intervals.probability_of_improvement(second + 100, first) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="same contexts"):
        intervals.probability_of_improvement(first, second[:, :1])


@pytest.mark.parametrize("scores", [[], [[1.0, np.nan]], np.zeros((2, 2, 2))])
def test_scores_that_say_nothing_are_refused(scores):
    with pytest.raises(ValueError, match="Scores"):
        intervals.interval(scores)
