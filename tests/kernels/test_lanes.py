"""Explicit vectors against NumPy, with ends of rows that fill no vector."""

import numpy as np
import pytest
from numba import from_dtype, njit
from numba.core.errors import TypingError

from memagent.memory.fused.lanes import WIDTHS, add_totals, load, spread, store, total, totals, width, without
from memagent.memory.fused.products import add_products, add_rows

DTYPES = (np.float32, np.float64)


@njit
def _walk(A, b, out, hole):
    # out = 2 A_1 + A_1 b - b without out[hole], its sum, and the sums of A_1, b, out and of A_1 once more
    lanes, zero = width(b), spread(b.dtype.type(0))
    s, t = zero, (zero, zero, zero)
    for m in range(0, b.shape[0], lanes):
        count = min(lanes, b.shape[0] - m)
        x, y = load(A, (1, m), count), load(b, m, count)
        z = without(b.dtype.type(2) * x + y * x - y, hole - m)
        s, t = s + z, (t[0] + x, t[1] + y, t[2] + z)
        store(out, m, count, z)
    return total(s), totals(t[0], t[1], t[2], t[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 5, 8, 16, 37, 128])
def test_lanes_compute_what_numpy_does(dtype, size):
    rng = np.random.default_rng(size)
    A, b = rng.normal(size=(3, size)).astype(dtype), rng.normal(size=size).astype(dtype)
    out = np.full(size + 3, 7.0, dtype)
    hole = size // 2
    s, sums = _walk(A, b, out[:size], hole)

    expected = 2 * A[1] + A[1] * b - b
    expected[hole] = 0
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(out[:size], expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(out[size:], 7.0)  # nothing beyond the end is touched
    assert s == pytest.approx(expected.sum(), rel=tolerance, abs=size * tolerance)
    np.testing.assert_allclose(
        sums, (A[1].sum(), b.sum(), expected.sum(), A[1].sum()), rtol=tolerance, atol=size * tolerance
    )


def test_lanes_of_a_strided_row_are_refused():
    with pytest.raises(TypingError, match="expected a contiguous array"):
        _walk(np.ones((3, 8)), np.ones(16)[::2], np.ones(8), 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("K", "M", "N"), [(1, 1, 1), (130, 7, 37), (300, 21, 64), (5, 4, 130)])
def test_sums_of_rows_are_the_matrix_product(dtype, K, M, N):
    rng = np.random.default_rng(0)
    A, C = rng.normal(size=(M, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
    out = np.full((M, N), 7.0, dtype)
    add_rows(out, A, C)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(out, 7.0 + A @ C, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("M", "N", "J"), [(1, 1, 1), (6, 7, 37), (5, 64, 64), (5, 130, 8)])
def test_products_of_rows_are_the_matrix_product_to_the_same_bit_with_others_and_alone(dtype, M, N, J):
    rng = np.random.default_rng(1)
    A, C = rng.normal(size=(M, J)).astype(dtype), rng.normal(size=(N, J)).astype(dtype)
    whole, alone = (np.full((M, N), 7.0, dtype) for _ in range(2))
    add_products(whole, A, C)
    for m in range(M):  # rows by twos and rows alone take different tiles
        add_products(alone[m : m + 1], A[m : m + 1], C)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(whole, 7.0 + A @ C.T, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(alone, whole)


@njit
def _add_totals(out, A, n, count):
    lanes = width(A)
    add_totals(
        out,
        n,
        count,
        load(A, (0, 0), lanes),
        load(A, (1, 0), lanes),
        load(A, (2, 0), lanes),
        load(A, (3, 0), lanes),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_totals_are_added_to_as_many_numbers_as_asked(dtype, count):
    A = np.arange(64, dtype=dtype).reshape(4, 16)
    out = np.full(7, 0.5, dtype)
    _add_totals(out, A, 2, count)
    expected = np.full(7, 0.5, dtype)
    expected[2 : 2 + count] += A[:count, : WIDTHS[from_dtype(out.dtype)]].sum(1)
    np.testing.assert_array_equal(out, expected)
