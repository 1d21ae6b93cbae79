"""Products of small matrices, compiled: A C and A C^T by tiles whose sums stay in registers.

Every number of a product is summed in the same order whatever tile it falls into: what is computed for a sequence does
not depend on the sequences beside it.
"""

from memagent.memory.fused.arithmetic import kernel
from memagent.memory.fused.lanes import add_totals, load, spread, store, width

DEPTH = 32
"""Rows of C between two visits of a tile: what the first cache holds of them where they lie a power of two apart."""


@kernel(forceinline=True)
def four_counts(lanes, rest):
    """How many of the next rest numbers each of four vectors holds."""
    return (
        max(0, min(lanes, rest)),
        max(0, min(lanes, rest - lanes)),
        max(0, min(lanes, rest - 2 * lanes)),
        max(0, min(lanes, rest - 3 * lanes)),
    )


@kernel(forceinline=True)
def times(a, b):
    """a b of four vectors each."""
    return a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]


@kernel(forceinline=True)
def sum_of_products(a, b):
    """a . b of four vectors each, lane by lane."""
    return (a[0] * b[0] + a[1] * b[1]) + (a[2] * b[2] + a[3] * b[3])


@kernel(forceinline=True)
def plus(s, a, c):
    """s + a c of four vectors."""
    return s[0] + a * c[0], s[1] + a * c[1], s[2] + a * c[2], s[3] + a * c[3]


@kernel(forceinline=True)
def along(array, i, j, counts):
    """Four vectors of row i, from column j on."""
    lanes = width(array)
    return (
        load(array, (i, j), counts[0]),
        load(array, (i, j + lanes), counts[1]),
        load(array, (i, j + 2 * lanes), counts[2]),
        load(array, (i, j + 3 * lanes), counts[3]),
    )


@kernel(forceinline=True)
def put(array, i, j, counts, s):
    """Write four vectors to row i, from column j on."""
    lanes = width(array)
    store(array, (i, j), counts[0], s[0])
    store(array, (i, j + lanes), counts[1], s[1])
    store(array, (i, j + 2 * lanes), counts[2], s[2])
    store(array, (i, j + 3 * lanes), counts[3], s[3])


@kernel(forceinline=True)
def _add_tile(out, A, C, begin, end, rows, j, counts):
    # rows of out += A C, by rows begin to end of C; where rows repeat, they get the same sums
    m_0, m_1 = rows
    s_0, s_1 = along(out, m_0, j, counts), along(out, m_1, j, counts)
    for k in range(begin, end):
        c = along(C, k, j, counts)
        s_0, s_1 = plus(s_0, A[m_0, k], c), plus(s_1, A[m_1, k], c)
    put(out, m_0, j, counts, s_0)
    put(out, m_1, j, counts, s_1)


@kernel()
def add_rows(out, A, C):
    """out_mj += sum_k A_mk C_kj: tiles of two rows of out and four vectors of a row."""
    (K, N), rows, lanes = C.shape, out.shape[0], width(C)
    for j in range(0, N, 4 * lanes):
        some = four_counts(lanes, N - j)
        for k in range(0, K, DEPTH):
            end = min(k + DEPTH, K)
            for m in range(0, rows, 2):
                two = (m, min(m + 1, rows - 1))
                if N - j >= 4 * lanes:
                    _add_tile(out, A, C, k, end, two, j, (lanes, lanes, lanes, lanes))
                else:
                    _add_tile(out, A, C, k, end, two, j, some)


@kernel(forceinline=True)
def _across(array, rows, j, count):
    # One vector of each of four rows
    return (
        load(array, (rows[0], j), count),
        load(array, (rows[1], j), count),
        load(array, (rows[2], j), count),
        load(array, (rows[3], j), count),
    )


@kernel(forceinline=True)
def _step_of_two(s, A, C, m, columns, j, count):
    c = _across(C, columns, j, count)
    return (
        plus(s[0], load(A, (m, j), count), c),
        plus(s[1], load(A, (m + 1, j), count), c),
    )


@kernel(forceinline=True)
def _add_columns(out, A, C, n, four, count):
    # The first count of out's columns n to n + 3, by the four rows of C: two rows of A at a time, or one
    (rows, J), lanes, none = A.shape, width(A), spread(A.dtype.type(0))
    full, twos, zero = J - J % lanes, rows - rows % 2, (none, none, none, none)
    for m in range(0, twos, 2):
        s = (zero, zero)
        for j in range(0, full, lanes):
            s = _step_of_two(s, A, C, m, four, j, lanes)
        if full < J:
            s = _step_of_two(s, A, C, m, four, full, J - full)
        add_totals(out, (m, n), count, s[0][0], s[0][1], s[0][2], s[0][3])
        add_totals(out, (m + 1, n), count, s[1][0], s[1][1], s[1][2], s[1][3])
    for m in range(twos, rows):
        s_m = zero
        for j in range(0, full, lanes):
            s_m = plus(s_m, load(A, (m, j), lanes), _across(C, four, j, lanes))
        if full < J:
            s_m = plus(s_m, load(A, (m, full), J - full), _across(C, four, full, J - full))
        add_totals(out, (m, n), count, s_m[0], s_m[1], s_m[2], s_m[3])


@kernel()
def add_products(out, A, C):
    """out_mn += sum_j A_mj C_nj: tiles of four rows of A, or one, by four of C."""
    N = C.shape[0]
    full, last = N - N % 4, N - 1
    for n in range(0, full, 4):
        _add_columns(out, A, C, n, (n, n + 1, n + 2, n + 3), 4)
    if full < N:
        _add_columns(out, A, C, full, (full, min(full + 1, last), last, last), N - full)
