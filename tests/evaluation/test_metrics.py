"""Every metric against numbers worked out by hand."""

import math

import numpy as np
import pytest

from memagent.evaluation import metrics

# Phase by context. Context 0 peaks in phase 1 (0.9) and ends at 0.5; context 1 starts at 0.6 and ends at 0.8.
NAN = math.nan
SCORES = np.array([[0.8, 0.1, NAN], [0.9, 0.6, 0.2], [0.5, 0.8, 0.7]])
IN_TURN = [0, 1, 2]


def test_normalised_score_puts_random_at_0_and_oracle_at_1():
    scores = metrics.normalised_score([-900.0, -150.0, -525.0], random=-900.0, oracle=-150.0)
    np.testing.assert_allclose(scores, [0.0, 1.0, 0.5])


def test_normalised_score_refuses_an_oracle_at_random():
    with pytest.raises(ValueError, match="above the random"):
        metrics.normalised_score([1.0], random=2.0, oracle=2.0)


def test_forgetting_counts_from_the_best_before_the_end():
    # Context 0: max(0.8, 0.9) - 0.5; context 1: max(0.6) - 0.8, a gain.
    assert metrics.forgetting(SCORES, IN_TURN) == pytest.approx((0.4 - 0.2) / 2)


def test_what_was_not_scored_is_left_out():
    holes = SCORES.copy()
    holes[1] = NAN  # context 0: 0.8 - 0.5; context 1 has nothing to compare with
    assert metrics.forgetting(holes, IN_TURN) == pytest.approx(0.3)
    assert metrics.backward_transfer(holes, IN_TURN) == pytest.approx(-0.3)
    assert metrics.forward_transfer(holes, IN_TURN, [0, 0, 0]) == pytest.approx(0.1)
    assert metrics.forgetting(SCORES, [-1, -1, 2]) is None


def test_backward_transfer_is_the_change_since_a_contexts_own_phase():
    assert metrics.backward_transfer(SCORES, IN_TURN) == pytest.approx(((0.5 - 0.8) + (0.8 - 0.6)) / 2)


def test_forward_transfer_is_the_score_before_training_above_random_actions():
    # Context 1 before its phase: 0.1 above -0.3; context 2: 0.2 above 0.4.
    assert metrics.forward_transfer(SCORES, IN_TURN, [9.0, -0.3, 0.4]) == pytest.approx((0.4 - 0.2) / 2)


def test_a_context_that_returns_was_last_trained_in_its_newest_phase():
    scores = [[0.5, 0.0], [0.2, 0.6], [0.7, 0.3], [0.1, 0.9]]
    trained = [0, 1, 0, 1]
    assert metrics.backward_transfer(scores, trained) == pytest.approx(0.1 - 0.7)
    assert metrics.forgetting(scores, trained) == pytest.approx(0.7 - 0.1)
    assert metrics.forward_transfer(scores, trained, [0.0, 0.25]) == pytest.approx(0.0 - 0.25)


@pytest.mark.parametrize("metric", [metrics.forgetting, metrics.backward_transfer])
def test_one_phase_has_nothing_to_forget(metric):
    assert metric([[1.0]], [0]) is None


@pytest.mark.parametrize(
    ("shape", "trained"), [((2, 3), [0]), ((2, 2), [0, 2]), ((2,), [0, 1]), ((0, 0), [])]
)
def test_scores_that_do_not_fit_their_phases_are_refused(shape, trained):
    with pytest.raises(ValueError, match="phase by context"):
        metrics.forgetting(np.zeros(shape), trained)


def test_steps_to_a_threshold_end_with_the_first_window_that_reaches_it():
    steps, returns = [10, 20, 30, 40, 50], [0.0, 4.0, 6.0, 6.0, 0.0]
    assert metrics.steps_to_threshold(steps, returns, 5.0, window=2) == 30
    assert metrics.steps_to_threshold(steps, returns, 6.0, window=2) == 40
    assert metrics.steps_to_threshold(steps, returns, 6.5, window=2) is None
    assert metrics.steps_to_threshold(range(40), [9.0] * 40, 9.0) == 19  # reached to the last bit
    assert metrics.steps_to_threshold(steps, returns, 0.0, window=6) is None


def test_recovery_is_the_first_full_window_above_the_threshold():
    # Random 0, oracle 10: recovered at a windowed mean of 9. Changes at 3, 8 and 13; windows of 2 steps.
    stream = [10, 10, 10, 0, 8, 9, 9, 9, 0, 10, 0, 10, 0, 10, 10]
    result = metrics.recovery_time(stream, [3, 8, 13], random=0.0, oracle=10.0, window=2)
    assert result.steps.tolist() == [4, 5, 2]  # 9, 9 ends 4 steps after 3; 8 … 12 never; the last at once
    assert result.censored.tolist() == [False, True, False]
    assert result.censored_share == pytest.approx(1 / 3)


def test_recovery_works_on_negative_scores_with_references_per_change():
    stream = [-1.0] * 2 + [-10.0, -5.0, -2.0] + [-10.0, -5.0, -2.0]
    result = metrics.recovery_time(stream, [2, 5], random=[-10, -10], oracle=[-1, -4], window=1, share=0.5)
    assert result.steps.tolist() == [2, 2]  # thresholds -5.5 and -7
    assert metrics.recovery_time(stream, [2, 5], random=-10, oracle=-1, window=1).censored.all()  # -1.9


def test_recovery_is_censored_when_the_phase_is_shorter_than_the_window():
    result = metrics.recovery_time([1.0] * 4, [2], random=0.0, oracle=1.0, window=3)
    assert result.steps.tolist() == [2] and result.censored.tolist() == [True]


@pytest.mark.parametrize("changes", [[0], [3, 3], [3, 2], [9]])
def test_changes_must_rise_inside_the_stream(changes):
    with pytest.raises(ValueError, match="Changes must rise"):
        metrics.recovery_time(np.zeros(9), changes, 0.0, 1.0, window=1)


def test_resumption_compares_with_the_best_of_earlier_visits():
    contexts = [0, 0, 1, 1, 0, 1, 1, 0]
    returns = [1.0, 3.0, 5.0, 7.0, 2.0, 4.0, 8.0, 9.0]
    result = metrics.resumption(returns, contexts, window=2)
    assert result.context.tolist() == [0, 1, 0]
    np.testing.assert_allclose(result.first, [2.0, 4.0, 9.0])
    np.testing.assert_allclose(result.best, [2.0, 6.0, 2.5])  # (1+3)/2, (5+7)/2, max of (1+3)/2 and (3+2)/2


def test_resumption_without_a_return_is_empty_and_short_histories_use_what_there_is():
    assert metrics.resumption([1.0, 2.0], [0, 1]).first.size == 0
    np.testing.assert_allclose(metrics.resumption([1.0, 2.0, 3.0], [0, 1, 0], window=10).best, [1.0])


def record(context_id: int, split: str, adapted: bool, mean_return: float) -> dict:
    return {"context_id": context_id, "split": split, "adapted": adapted, "mean_return": mean_return}


RECORDS = [
    record(1, "train", False, 150.0),
    record(0, "train", False, 300.0),
    record(0, "train", True, 310.0),
    record(1, "train", True, 190.0),
    record(7, "held_out", False, 50.0),
]


def test_summary_is_the_mean_over_contexts_and_none_where_nothing_was_played():
    assert metrics.summarise(RECORDS) == {
        "train": {"adapted": 250.0, "unadapted": 225.0},
        "held_out": {"adapted": None, "unadapted": 50.0},
    }


def test_a_context_played_by_two_runs_counts_once():
    both = [
        record(0, "train", False, [1.0]),
        record(0, "train", False, [3.0]),
        record(1, "train", False, [5.0]),
    ]
    assert metrics.context_means(both, "train", False) == {0: 2.0, 1: 5.0}


def test_adaptation_gain_pairs_by_context():
    np.testing.assert_allclose(metrics.adaptation_gain(RECORDS, "train"), [10.0, 40.0])
    assert metrics.adaptation_gain(RECORDS, "held_out").size == 0
