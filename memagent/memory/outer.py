"""A^T C by tiles of four rows and four vectors, whose sums stay in registers: the weights' gradients, compiled."""

from memagent.memory.lanes import load, store, width
from memagent.memory.vectors import kernel

DEPTH = 128
"""Rows of A and C between two visits of a tile: as many as the first cache holds of C."""


@kernel(forceinline=True)
def _four(array, i, j, counts):
    lanes = width(array)
    return (
        load(array, (i, j), counts[0]),
        load(array, (i, j + lanes), counts[1]),
        load(array, (i, j + 2 * lanes), counts[2]),
        load(array, (i, j + 3 * lanes), counts[3]),
    )


@kernel(forceinline=True)
def _put(array, i, j, counts, s):
    lanes = width(array)
    store(array, (i, j), counts[0], s[0])
    store(array, (i, j + lanes), counts[1], s[1])
    store(array, (i, j + 2 * lanes), counts[2], s[2])
    store(array, (i, j + 3 * lanes), counts[3], s[3])


@kernel(forceinline=True)
def _plus(s, a, c):
    return s[0] + a * c[0], s[1] + a * c[1], s[2] + a * c[2], s[3] + a * c[3]


@kernel(forceinline=True)
def _tile(out, first, A, C, begin, end, rows, j, counts):
    # rows of out += A^T C, by rows begin to end of A and C; where rows repeat, they get the same sums
    m_0, m_1, m_2, m_3 = rows
    s_0, s_1 = _four(out, m_0, first + j, counts), _four(out, m_1, first + j, counts)
    s_2, s_3 = _four(out, m_2, first + j, counts), _four(out, m_3, first + j, counts)
    for t in range(begin, end):
        c = _four(C, t, j, counts)
        s_0, s_1, s_2, s_3 = (
            _plus(s_0, A[t, m_0], c),
            _plus(s_1, A[t, m_1], c),
            _plus(s_2, A[t, m_2], c),
            _plus(s_3, A[t, m_3], c),
        )
    _put(out, m_0, first + j, counts, s_0)
    _put(out, m_1, first + j, counts, s_1)
    _put(out, m_2, first + j, counts, s_2)
    _put(out, m_3, first + j, counts, s_3)


@kernel()
def outer_products(begin, end, out, first, A, C):
    """Rows begin to end of out = A^T C, from its column first on: A [T, M], C [T, N], out [M, first + N or more]."""
    (T, N), lanes, last = C.shape, width(C), end - 1
    for m in range(begin, end):
        for j in range(N):
            out[m, first + j] = 0
    for j in range(0, N, 4 * lanes):
        rest = N - j
        some = (
            max(0, min(lanes, rest)),
            max(0, min(lanes, rest - lanes)),
            max(0, min(lanes, rest - 2 * lanes)),
            max(0, min(lanes, rest - 3 * lanes)),
        )
        for t in range(0, T, DEPTH):
            t_end = min(t + DEPTH, T)
            for m in range(begin, end, 4):
                rows = (m, min(m + 1, last), min(m + 2, last), min(m + 3, last))
                if rest >= 4 * lanes:
                    _tile(out, first, A, C, t, t_end, rows, j, (lanes, lanes, lanes, lanes))
                else:
                    _tile(out, first, A, C, t, t_end, rows, j, some)
