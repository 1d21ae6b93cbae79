from copy import deepcopy

import numpy as np
import pytest
from scipy.stats import chisquare

from memagent.replay.priorities import WindowPriorities

EPSILON = 1e-4


def priorities_of(
    measured: list[float], alpha: float = 0.6, spare: int = 2, seed: int = 0
) -> WindowPriorities:
    """Windows of the given measured priorities at places 0, 1, …, and spare places without a window."""
    table = WindowPriorities(len(measured) + spare, alpha, EPSILON, seed)
    places = np.arange(len(measured))
    table.vacate(places)
    table.admit(places)
    table.update(places, np.ones(places.size, dtype=np.int64), measured)
    return table


def p(table: WindowPriorities) -> np.ndarray:
    return table.state_dict()["priority"]


def test_nothing_can_be_drawn_at_first() -> None:
    table = WindowPriorities(4, 0.6, EPSILON, seed=0)
    assert len(table) == 0
    with pytest.raises(ValueError, match="add up to 0"):
        table.draw(1, 0.4)


def test_alpha_is_applied_once_to_measured_priorities() -> None:
    np.testing.assert_allclose(p(priorities_of([0.5, 4.0]))[:2], [0.5001**0.6, 4.0001**0.6], rtol=1e-12)


def test_alpha_is_not_applied_again_to_new_windows() -> None:
    """torchrl #3925: the maximum is kept with alpha in it, and raised to alpha again for a new item."""
    table = priorities_of([0.5, 4.0])
    table.admit(np.array([2]))
    assert p(table)[2] == p(table)[1]


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_alpha_zero_is_uniform(beta: float) -> None:
    table = priorities_of([0.0, 1e-9, 1.0, 1e6], alpha=0.0)
    draws, weights = [], []
    for _ in range(2000):
        places, _, w = table.draw(1, beta)
        draws.append(places[0])
        weights.append(w[0])
    assert chisquare(np.bincount(draws, minlength=4)).pvalue > 0.01
    assert set(weights) == {1.0}


def test_a_priority_of_zero_can_still_be_drawn() -> None:
    table = priorities_of([0.0, 1.0])
    assert len(table) == 2
    assert p(table)[0] > 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1])
def test_a_bad_priority_is_refused_before_anything_is_written(bad: float) -> None:
    table = priorities_of([1.0, 2.0, 3.0])
    before = deepcopy(table.state_dict())
    with pytest.raises(ValueError, match="finite ones"):
        table.update(np.array([0, 1, 2]), np.ones(3, dtype=np.int64), [9.0, bad, 9.0])
    assert {k: v.tolist() for k, v in table.state_dict().items()} == {
        k: v.tolist() for k, v in before.items()
    }


def test_one_priority_each() -> None:
    with pytest.raises(ValueError, match="one each"):
        priorities_of([1.0, 2.0]).update(np.array([0, 1]), np.ones(2, dtype=np.int64), 3.0)


def test_a_stale_generation_is_passed_over() -> None:
    table = priorities_of([1.0, 2.0, 3.0])
    places, generations = np.array([0, 1]), np.ones(2, dtype=np.int64)
    table.vacate(np.array([1]))
    table.admit(np.array([1]))
    entered = p(table)[1]
    table.update(places, generations, [5.0, 7.0])
    np.testing.assert_allclose(p(table)[:2], [(5.0 + EPSILON) ** 0.6, entered])


def test_a_vacated_place_does_not_come_back_to_life() -> None:
    table = priorities_of([1.0, 2.0, 3.0])
    table.vacate(np.array([1]))
    table.update(np.array([1]), np.array([1]), [7.0])
    assert p(table)[1] == 0.0
    assert len(table) == 2


@pytest.mark.parametrize("given", [[5.0, 7.0, 2.0], [7.0, 2.0, 5.0], [2.0, 5.0, 7.0]])
def test_the_largest_of_duplicates_counts(given: list[float]) -> None:
    table = priorities_of([1.0, 2.0])
    table.update(np.array([1, 1, 1]), np.ones(3, dtype=np.int64), given)
    assert p(table)[1] == pytest.approx((7.0 + EPSILON) ** 0.6)


def test_the_entry_priority_falls_when_the_outlier_is_measured_anew() -> None:
    """Also while windows that entered with the old maximum were not drawn yet."""
    table = priorities_of([1000.0, 1.0], alpha=1.0, spare=3)
    table.admit(np.array([2]))
    assert p(table)[2] == pytest.approx(1000.0 + EPSILON)
    table.update(np.array([0]), np.array([1]), [2.0])
    table.admit(np.array([3]))
    assert p(table)[3] == pytest.approx(2.0 + EPSILON)


def test_the_entry_priority_falls_when_the_outlier_is_overwritten() -> None:
    table = priorities_of([1000.0, 1.0], alpha=1.0)
    table.vacate(np.array([0]))
    table.update(np.array([1]), np.array([1]), [3.0])
    table.admit(np.array([0]))
    assert p(table)[0] == pytest.approx(3.0 + EPSILON)


def test_the_entry_priority_falls_when_a_new_window_took_the_place_of_the_outlier() -> None:
    """The successor entered with the outlier's priority; until it is drawn, that is nobody's measurement."""
    table = priorities_of([1000.0, 1.0], alpha=1.0)
    table.vacate(np.array([0]))
    table.admit(np.array([0]))
    table.update(np.array([1]), np.array([1]), [3.0])
    table.admit(np.array([2]))
    assert p(table)[2] == pytest.approx(3.0 + EPSILON)


def test_what_was_measured_is_saved() -> None:
    table, restored = priorities_of([1000.0, 1.0], alpha=1.0), WindowPriorities(4, 1.0, EPSILON, seed=1)
    restored.load_state_dict(table.state_dict())
    restored.update(np.array([1]), np.array([1]), [3.0])
    restored.admit(np.array([2]))
    assert p(restored)[2] == pytest.approx(1000.0 + EPSILON)


def test_the_entry_priority_rises_with_a_larger_error() -> None:
    table = priorities_of([0.01, 0.02], alpha=1.0)
    table.update(np.array([0]), np.array([1]), [5.0])
    table.admit(np.array([2]))
    assert p(table)[2] == pytest.approx(5.0 + EPSILON)


def test_weights_by_hand() -> None:
    """P = 1/4 and 3/4 of n = 2: w = (2 P)^-1/2 = sqrt(2) and sqrt(2/3), by the largest: 1 and sqrt(1/3)."""
    table = priorities_of([1.0 - EPSILON, 3.0 - EPSILON], alpha=1.0)
    places, _, weights = table.draw(64, 0.5)
    assert set(places) == {0, 1}
    np.testing.assert_allclose(weights, np.where(places == 0, 1.0, np.sqrt(1 / 3)), rtol=1e-6)
    assert weights.dtype == np.float32


def test_weights_are_normalised_by_the_batch() -> None:
    """A batch without the rarest window has a largest weight of 1 all the same."""
    table = priorities_of([1e-6, 1.0, 4.0], alpha=1.0)
    for _ in range(50):
        places, _, weights = table.draw(4, 1.0)
        assert weights.max() == 1.0
        if set(places) == {1, 2}:
            np.testing.assert_allclose(weights[places == 2], 0.25, rtol=1e-3)


def test_full_correction_gives_every_window_the_same_share() -> None:
    """beta = 1: P(i) w(i) is constant, so the weighted frequencies are uniform."""
    table = priorities_of([0.5, 1.0, 2.0, 4.0], alpha=1.0)
    places, _, weights = table.draw(40_000, 1.0)
    share = np.bincount(places, weights=weights)
    np.testing.assert_allclose(share / share.sum(), 0.25, rtol=1e-3)


def test_frequencies_follow_priorities_to_the_alpha() -> None:
    measured = [0.1, 0.5, 1.0, 3.0, 10.0]
    table = priorities_of(measured, alpha=0.6, seed=11)
    draws = [table.draw(1, 0.4)[0][0] for _ in range(5000)]
    expected = (np.array(measured) + EPSILON) ** 0.6
    assert chisquare(np.bincount(draws), expected / expected.sum() * 5000).pvalue > 0.01


def test_the_same_seed_draws_the_same() -> None:
    first, second, other = (priorities_of([1.0] * 50, seed=seed).draw(32, 0.4)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
