"""Keyed random numbers are those of NumPy's own generators."""

from hypothesis import given, settings
from hypothesis import strategies as st

from envs.keyed_random import keyed, keyed_below, keyed_uniform


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**63 + 5),
    number=st.integers(0, 2**32 + 5),
    bound=st.one_of(st.integers(1, 9), st.integers(1, 2**33)),
    low=st.floats(-1e3, 1e3),
    width=st.floats(0, 1e3),
)
def test_fast_draws_are_those_of_numpys_generators(seed, number, bound, low, width):
    assert keyed_below(seed, "x", "pick", number, bound) == keyed(seed, "x", "pick", number).integers(bound)
    expected = keyed(seed, "x", "uniform", number).uniform(low, low + width)
    assert keyed_uniform(seed, "x", "uniform", number, low, low + width) == expected
