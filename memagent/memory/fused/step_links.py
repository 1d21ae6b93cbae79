"""The temporal links of one sequence for one step, compiled, forward and backward: one pass over L each.

A vector of a row of L is worked on for four read heads while it is in a register. scratch holds the heads' rows,
filled up to a multiple of four with heads that read nothing.
"""

from memagent.memory.fused.arithmetic import FAST, dot, fill_rows, kernel
from memagent.memory.fused.lanes import load, spread, store, total, totals, width, without


@kernel(fastmath=FAST)
def link_rows(L_tm1, p_tm1, w, L):
    """The new links, from those of t-1, into L."""
    # 6. L_nm = (1 - w_n - w_m) L_nm[t-1] + w_n p_m[t-1], L_nn = 0
    one = w.dtype.type(1)
    for n in range(L.shape[0]):
        w_n, rest = w[n], one - w[n]
        for m in range(L.shape[1]):
            L[n, m] = (rest - w[m]) * L_tm1[n, m] + w_n * p_tm1[m]
    for n in range(L.shape[0]):
        L[n, n] = w.dtype.type(0)


@kernel(fastmath=FAST)
def _copy_rows(A, out):
    # The rows that both have
    for i in range(min(A.shape[0], out.shape[0])):
        for n in range(A.shape[1]):
            out[i, n] = A[i, n]


@kernel(forceinline=True)
def numbers(A, g, n):
    """A[g : g + 4, n]."""
    return A[g, n], A[g + 1, n], A[g + 2, n], A[g + 3, n]


@kernel(forceinline=True)
def vectors(A, g, m, count):
    """A[g : g + 4, m : m + count]."""
    return (
        load(A, (g, m), count),
        load(A, (g + 1, m), count),
        load(A, (g + 2, m), count),
        load(A, (g + 3, m), count),
    )


@kernel(forceinline=True)
def _add(A, g, m, count, s, v):
    # A[g + i, m : m + count] += s_i v
    store(A, (g, m), count, load(A, (g, m), count) + s[0] * v)
    store(A, (g + 1, m), count, load(A, (g + 1, m), count) + s[1] * v)
    store(A, (g + 2, m), count, load(A, (g + 2, m), count) + s[2] * v)
    store(A, (g + 3, m), count, load(A, (g + 3, m), count) + s[3] * v)


@kernel(forceinline=True)
def multiply_add(s, a, v):
    """s_i + a_i v, of four."""
    return s[0] + a[0] * v, s[1] + a[1] * v, s[2] + a[2] * v, s[3] + a[3] * v


@kernel(forceinline=True)
def _new_links(before, w, n, m, count, w_n, rest):
    # 6. L_nm = (1 - w_n - w_m) L_nm[t-1] + w_n p_m[t-1], L_nn = 0
    keep, L_tm1 = rest - load(w, m, count), load(before.L, (n, m), count)
    return without(keep * L_tm1 + w_n * load(before.p, m, count), n - m), L_tm1, keep


@kernel(forceinline=True)
def _forward(n, m, count, w_n, rest, r, before, w, g, L, scratch, f_n):
    # L_nm and what it adds to b_m and f_n, for heads g to g + 3
    L_nm, _, _ = _new_links(before, w, n, m, count, w_n, rest)
    store(L, (n, m), count, L_nm)
    # 8. f_i = L w_r,i[t-1];  b_i = L^T w_r,i[t-1]
    _add(scratch.b, g, m, count, r, L_nm)
    return multiply_add(f_n, vectors(scratch.w_r, g, m, count), L_nm)


@kernel(fastmath=FAST)
def links(before, after, f, b, scratch):
    """L and p after the step, forward and backward weights f and b [R, N]."""
    w, p_tm1, L, sums = after.w_w, before.p, after.L, scratch.f
    N, lanes, zero, one = w.shape[0], width(w), w.dtype.type(0), w.dtype.type(1)
    full, none = N - N % lanes, spread(zero)
    _copy_rows(before.w_r, scratch.w_r)
    fill_rows(scratch.b, zero)
    for g in range(0, scratch.w_r.shape[0], 4):
        for n in range(N):
            w_n, rest, r = w[n], spread(one - w[n]), numbers(scratch.w_r, g, n)
            f_n = (none, none, none, none)
            for m in range(0, full, lanes):
                f_n = _forward(n, m, lanes, w_n, rest, r, before, w, g, L, scratch, f_n)
            if full < N:
                f_n = _forward(n, full, N - full, w_n, rest, r, before, w, g, L, scratch, f_n)
            sums[g, n], sums[g + 1, n], sums[g + 2, n], sums[g + 3, n] = totals(
                f_n[0], f_n[1], f_n[2], f_n[3]
            )
    _copy_rows(sums, f)
    _copy_rows(scratch.b, b)
    # 7. p = (1 - sum w_w) p[t-1] + w_w
    written = zero
    for n in range(N):
        written += w[n]
    for n in range(N):
        after.p[n] = p_tm1[n] - written * p_tm1[n] + w[n]


@kernel(forceinline=True)
def _backward(n, m, count, w_n, rest, r, d_f, before, w, g, d_L, d_p, scratch, sums):
    # The gradients by L_nm[t-1], and what it adds to those by w_m, p_m, w_r, and in sums to those of row n
    L_nm, L_tm1, keep = _new_links(before, w, n, m, count, w_n, rest)
    w_r, d_b, p_m = (
        vectors(scratch.w_r, g, m, count),
        vectors(scratch.d_b, g, m, count),
        load(before.p, m, count),
    )
    # 8. f_i = L w_r,i[t-1];  b_i = L^T w_r,i[t-1]
    d = (load(d_L, (n, m), count) + d_f[0] * w_r[0] + r[0] * d_b[0] + d_f[1] * w_r[1] + r[1] * d_b[1]) + (
        d_f[2] * w_r[2] + r[2] * d_b[2] + d_f[3] * w_r[3] + r[3] * d_b[3]
    )
    d = without(d, n - m)
    _add(scratch.d_w_r, g, m, count, d_f, L_nm)
    d_r_n, d_w_n = multiply_add(sums[0], d_b, L_nm), sums[1]
    if g == 0:  # the last of the heads: d is complete
        # 6. L_nm = (1 - w_n - w_m) L_nm[t-1] + w_n p_m[t-1]
        store(scratch.d_w, (0, m), count, load(scratch.d_w, (0, m), count) - L_tm1 * d)
        store(d_p, m, count, load(d_p, m, count) + w_n * d)
        d_w_n = d_w_n + (p_m * d - L_tm1 * d)
        d = keep * d
    store(d_L, (n, m), count, d)
    return d_r_n, d_w_n


@kernel(fastmath=FAST)
def links_backward(before, w, d_L, d_p, scratch):
    """From the gradients by f, b (scratch.d_f, d_b), L and p to those by L[t-1] and p[t-1], in place.

    Adds to scratch.d_w and scratch.d_w_r, the gradients by w_w and by w_r[t-1].
    """
    d_w, d_w_r, d_p_tm1 = scratch.d_w, scratch.d_w_r, scratch.d_p
    N, lanes, zero, one = w.shape[0], width(w), w.dtype.type(0), w.dtype.type(1)
    full, none = N - N % lanes, spread(zero)
    _copy_rows(before.w_r, scratch.w_r)
    _precedence_backward(before.p, w, d_p, d_w[0], d_p_tm1)
    for g in range(d_w_r.shape[0] - 4, -1, -4):
        for n in range(N):
            w_n, rest, r, d_f = (
                w[n],
                spread(one - w[n]),
                numbers(scratch.w_r, g, n),
                numbers(scratch.d_f, g, n),
            )
            sums = (none, none, none, none), none
            for m in range(0, full, lanes):
                sums = _backward(n, m, lanes, w_n, rest, r, d_f, before, w, g, d_L, d_p_tm1, scratch, sums)
            if full < N:
                sums = _backward(
                    n, full, N - full, w_n, rest, r, d_f, before, w, g, d_L, d_p_tm1, scratch, sums
                )
            d_r = totals(sums[0][0], sums[0][1], sums[0][2], sums[0][3])
            for i in range(4):
                d_w_r[g + i, n] += d_r[i]
            d_w[0, n] += total(sums[1])
    for n in range(N):
        d_p[n] = d_p_tm1[n]


@kernel(fastmath=FAST)
def _precedence_backward(p_tm1, w, d_p, d_w, d_p_tm1):
    # 7. p = (1 - sum w_w) p[t-1] + w_w
    written, along = w.dtype.type(0), dot(d_p, p_tm1)
    for n in range(w.shape[0]):
        written += w[n]
    for n in range(w.shape[0]):
        d_w[n] += d_p[n] - along
    for n in range(w.shape[0]):
        d_p_tm1[n] = d_p[n] - written * d_p[n]
