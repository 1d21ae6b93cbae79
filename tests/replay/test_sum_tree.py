import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from memagent.replay.sum_tree import SumTree

LARGEST_UNIFORM = np.nextafter(1.0, 0.0)  # what a generator can return at most


def rebuilt(tree: SumTree) -> SumTree:
    fresh = SumTree(tree.capacity)
    fresh.set(np.arange(tree.capacity), tree.leaves)
    return fresh


@given(st.data(), st.integers(1, 40))
def test_equals_a_list_and_a_cumulative_sum(data: st.DataObject, capacity: int) -> None:
    """Integers are exact in float64, so the tree must agree with the naive oracle to the bit."""
    tree, oracle = SumTree(capacity), np.zeros(capacity)
    writes = st.lists(st.tuples(st.integers(0, capacity - 1), st.integers(0, 1000)), max_size=8)
    for batch in data.draw(st.lists(writes, max_size=10)):
        tree.set([index for index, _ in batch], [float(value) for _, value in batch])
        for index, value in batch:
            oracle[index] = value
        np.testing.assert_array_equal(tree.leaves, oracle)
        assert tree.total == oracle.sum()
        if oracle.any():
            uniform = data.draw(arrays(np.float64, 5, elements=st.floats(0, LARGEST_UNIFORM)))
            mass = (np.arange(5) + uniform) / 5 * oracle.sum()
            expected = np.minimum(
                np.searchsorted(oracle.cumsum(), mass, side="right"), np.flatnonzero(oracle)[-1]
            )
            np.testing.assert_array_equal(tree.sample(uniform), expected)


def test_many_writes_do_not_drift() -> None:
    """torchrl #2230: sums kept in float32, or updated by differences, end up with a mass that no leaf has."""
    random, tree = np.random.default_rng(0), SumTree(1000)
    for _ in range(2000):
        tree.set(random.integers(1000, size=100), 10.0 ** random.uniform(-12, 12, size=100))
    assert tree.total == rebuilt(tree).total
    assert tree.total == pytest.approx(tree.leaves.sum(), rel=1e-12)
    tree.set(np.arange(1000), np.zeros(1000))
    assert tree.total == 0.0


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 6, 7, 100, 1000])
def test_no_index_past_the_end(capacity: int) -> None:
    tree = SumTree(capacity)
    tree.set(np.arange(capacity), np.full(capacity, 0.1))  # 0.1 has no exact sum
    drawn = tree.sample(np.full(4096, LARGEST_UNIFORM))
    assert drawn.min() >= 0
    assert drawn.max() == capacity - 1


@given(st.integers(0, 2**32 - 1), st.integers(1, 70))
def test_no_row_of_zero_priority(seed: int, capacity: int) -> None:
    """flashbax #52: rounding sends a draw into an empty subtree."""
    random, tree = np.random.default_rng(seed), SumTree(capacity)
    values = 10.0 ** random.uniform(-300, 300, size=capacity) * (random.random(capacity) < 0.3)
    values[random.integers(capacity)] = 0.1
    tree.set(np.arange(capacity), values)
    for uniform in (np.zeros(64), random.random(64), np.full(64, LARGEST_UNIFORM)):
        assert (values[tree.sample(uniform)] > 0.0).all()


@pytest.mark.parametrize("zeros_after", [0, 1, 3, 250])
def test_the_largest_draw_stops_at_the_last_item_above_zero(zeros_after: int) -> None:
    values = np.concatenate([np.zeros(3), np.full(7, 0.1), np.zeros(zeros_after)])
    tree = SumTree(values.size)
    tree.set(np.arange(values.size), values)
    assert tree.sample([LARGEST_UNIFORM]) == [9]
    assert tree.sample([0.0]) == [3]


def test_the_first_and_the_last_item_are_drawn() -> None:
    tree = SumTree(5)
    tree.set(np.arange(5), np.ones(5))
    assert set(tree.sample(np.random.default_rng(0).random(20))) == {0, 1, 2, 3, 4}


def test_frequencies_follow_priorities() -> None:
    random, tree = np.random.default_rng(7), SumTree(50)
    priorities = random.gamma(0.5, size=50)
    tree.set(np.arange(50), priorities)
    draws = np.concatenate([tree.sample(random.random(1)) for _ in range(20_000)])
    expected = priorities / priorities.sum() * draws.size
    counted = expected > 5
    observed, expected = np.bincount(draws, minlength=50)[counted], expected[counted]
    assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 0.01


def test_a_batch_is_stratified() -> None:
    """An item that covers x strata is drawn more than x - 2 and fewer than x + 2 times, whatever the luck."""
    random, tree = np.random.default_rng(3), SumTree(20)
    priorities = random.exponential(size=20)
    tree.set(np.arange(20), priorities)
    for _ in range(100):
        counts = np.bincount(tree.sample(random.random(256)), minlength=20)
        assert (np.abs(counts - 256 * priorities / priorities.sum()) < 2).all()


@pytest.mark.parametrize("bad", [np.nan, -1.0, np.inf, -np.inf])
def test_a_bad_priority_is_refused_before_anything_is_written(bad: float) -> None:
    tree = SumTree(4)
    tree.set([0, 1, 2, 3], [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match="finite and not negative"):
        tree.set([0, 1, 2], [9.0, bad, 9.0])
    np.testing.assert_array_equal(tree.leaves, [1.0, 2.0, 3.0, 4.0])
    assert tree.total == 10.0


@pytest.mark.parametrize("index", [-1, 5, 7])
def test_an_index_outside_is_refused(index: int) -> None:
    """A heap for 5 items has 8 leaves: index 7 would be written without complaint."""
    tree = SumTree(5)
    with pytest.raises(IndexError, match="0 to 4"):
        tree.set([0, index], [1.0, 1.0])
    assert tree.total == 0.0


def test_the_last_of_equal_indices_stays() -> None:
    tree = SumTree(3)
    tree.set([1, 1, 1], [5.0, 7.0, 2.0])
    assert tree.total == 2.0


def test_leaves_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        SumTree(3).leaves[0] = 1.0


def test_an_empty_tree_says_so() -> None:
    with pytest.raises(ValueError, match="add up to 0"):
        SumTree(3).sample([0.5])
    with pytest.raises(ValueError, match="capacity 0"):
        SumTree(0)


def test_indices_and_values_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        SumTree(3).set([0, 1], [1.0])
