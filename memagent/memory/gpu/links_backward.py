"""The gradients of one sequence's temporal links for one step: one pass over L, as in `forward`."""

import triton
import triton.language as tl

from memagent.memory.gpu.parts import matrix, store_matrix, store_vector, vector


@triton.jit
def links_backward(before, after, d, scratch, s: tl.constexpr):
    """From the gradients by f, b (scratch.d_f, d_b), L and p to those by L[t-1] and p[t-1], in place.

    Sets scratch.d_w_r, the gradient by w_r[t-1]; returns that by w_w.
    """
    N_2: tl.constexpr = s.N_2
    R_2: tl.constexpr = s.R_2
    rows: tl.constexpr = s.rows
    n, i = tl.arange(0, N_2), tl.arange(0, R_2)
    dtype = before.u.dtype.element_ty
    w, p, w_r = vector(after.w_w, n, s.N), vector(before.p, n, s.N), matrix(before.w_r, i, n, s.R, s.N)
    d_b = matrix(scratch.d_b, i, n, s.R, s.N)
    to_w_r = tl.zeros([R_2, rows, N_2], dtype)
    to_w, to_p = tl.zeros([rows, N_2], dtype), tl.zeros([rows, N_2], dtype)
    for first in range(0, s.N, rows):
        j = first + tl.arange(0, rows)
        # 6. L_jn = (1 - w_j - w_n) L_jn[t-1] + w_j p_n[t-1], L_jj = 0
        w_j, elsewhere = vector(after.w_w, j, s.N)[:, None], j[:, None] != n[None, :]
        keep, L_tm1 = 1.0 - w_j - w[None, :], matrix(before.L, j, n, s.N, s.N)
        L = tl.where(elsewhere, keep * L_tm1 + w_j * p[None, :], 0.0)
        # 8. f_i = L w_r,i[t-1];  b_i = L^T w_r,i[t-1]
        d_f, w_r_j = (
            matrix(scratch.d_f, i, j, s.R, s.N)[:, :, None],
            matrix(before.w_r, i, j, s.R, s.N)[:, :, None],
        )
        d_L = matrix(d.L, j, n, s.N, s.N) + tl.sum(d_f * w_r[:, None, :] + w_r_j * d_b[:, None, :], 0)
        d_L = tl.where(elsewhere, d_L, 0.0)
        to_w_r += d_f * L[None, :, :]
        store_matrix(scratch.d_w_r, i, j, s.R, s.N, tl.sum(L[None, :, :] * d_b[:, None, :], 2))
        along = L_tm1 * d_L
        to_w += along
        to_p += w_j * d_L
        store_vector(scratch.d_w, j, s.N, tl.sum(p[None, :] * d_L - along, 1))
        store_matrix(d.L, j, n, s.N, s.N, keep * d_L)
    # 7. p = (1 - sum w_w) p[t-1] + w_w
    d_p = vector(d.p, n, s.N)
    d_w = d_p - tl.sum(d_p * p) - tl.sum(to_w, 0)
    store_vector(d.p, n, s.N, d_p - tl.sum(w) * d_p + tl.sum(to_p, 0))
    tl.debug_barrier()
    store_matrix(scratch.d_w_r, i, n, s.R, s.N, matrix(scratch.d_w_r, i, n, s.R, s.N) + tl.sum(to_w_r, 1))
    d_w += vector(scratch.d_w, n, s.N)
    tl.debug_barrier()
    return d_w
