"""The gradients of one memory step of one sequence, derived by hand, in the reverse order of `step_forward`.

`d_x` is the gradient of the loss by x. The bank's gradients are updated in place, from those by the bank after the
step to those by the bank before it.
"""

from memagent.memory.fused.arithmetic import (
    FAST,
    add_scaled,
    copy,
    dot,
    fill,
    fill_rows,
    kernel,
    oneplus_backward,
    sigmoid_backward,
    softmax_backward,
)
from memagent.memory.fused.products import add_products, add_rows
from memagent.memory.fused.step_content_backward import content_backward, write_backward
from memagent.memory.fused.step_forward import order
from memagent.memory.fused.step_links import links_backward


@kernel(fastmath=FAST, error_model="numpy")
def _out_of_mask(masks, d_masks, floor):
    # mask = floor + (1 - floor) s
    one = masks.dtype.type(1)
    for i in range(masks.shape[0]):
        for d in range(masks.shape[1]):
            s = (masks[i, d] - floor) / (one - floor)
            d_masks[i, d] *= (one - floor) * s * (one - s)


@kernel()
def _out_of_range(xi, d_xi, constants):
    # From the gradient by the parts in their ranges to that by the raw interface, in place.
    oneplus_backward(xi.beta_r, d_xi.beta_r)
    oneplus_backward(xi.beta_w, d_xi.beta_w)
    sigmoid_backward(xi.e, d_xi.e)
    sigmoid_backward(xi.f, d_xi.f)
    sigmoid_backward(xi.g, d_xi.g)
    for i in range(xi.pi.shape[0]):
        softmax_backward(xi.pi[i], xi.e.dtype.type(1), xi.pi[i], d_xi.pi[i])
    _out_of_mask(xi.mask_r, d_xi.mask_r, constants.mask_floor)
    _out_of_mask(xi.mask_w, d_xi.mask_w, constants.mask_floor)


@kernel(fastmath=FAST)
def _read_backward(after, pi, record, d_w_r, d_M, d_pi, options, scratch):
    # 9. r_i = M^T w_r,i;  w_r,i = pi_1 b_i + pi_2 c_r,i + pi_3 f_i
    d_reads, d_b, d_c, d_f = scratch.reads, scratch.d_b, scratch.d_c, scratch.d_f
    add_products(d_w_r, d_reads, after.M)
    add_rows(d_M, after.w_r.T, d_reads)
    for i in range(d_w_r.shape[0]):
        copy(d_w_r[i], d_c[i])
    for i in range(pi.shape[0]):
        d, pi_1, pi_2, pi_3 = d_w_r[i], pi[i, 0], pi[i, 1], pi[i, 2]
        d_pi[i, 0], d_pi[i, 1], d_pi[i, 2] = (dot(d, record.b[i]), dot(d, record.c_r[i]), dot(d, record.f[i]))
        for n in range(d.shape[0]):
            d_b[i, n] = pi_1 * d[n]
        for n in range(d.shape[0]):
            d_c[i, n] = pi_2 * d[n]
        for n in range(d.shape[0]):
            d_f[i, n] = pi_3 * d[n]


@kernel(fastmath=FAST)
def _write_weights_backward(xi, d_xi, c_w, prefix, scratch):
    # 4. w_w = g_w (g_a a + (1 - g_a) c_w): sets scratch.d_a and the first row of scratch.d_c
    one, g_a, g_w = xi.e.dtype.type(1), xi.g[0], xi.g[1]
    clamped, d_w, d_a, d_c_w = (scratch.clamped, scratch.d_w[0], scratch.d_a, scratch.d_c[0])
    along_a, along_c = xi.e.dtype.type(0), dot(d_w, c_w)
    for n in range(d_w.shape[0]):
        along_a += d_w[n] * (one - clamped[n]) * prefix[n]
    d_xi.g[0] = g_w * (along_a - along_c)
    d_xi.g[1] = g_a * along_a + (one - g_a) * along_c
    for n in range(d_w.shape[0]):
        d_a[n] = g_w * g_a * d_w[n]
    for n in range(d_w.shape[0]):
        d_c_w[n] = g_w * (one - g_a) * d_w[n]


@kernel(fastmath=FAST, error_model="numpy")
def _allocation_backward(u, prefix, constants, scratch, d_u):
    # 3. a_n = (1 - u_n) prod of the freer u_j;  the clamp passes gradients inside [eps, 1]
    one, zero, lowest = u.dtype.type(1), u.dtype.type(0), constants.usage_eps
    clamped, rank, d_a, later, freer = (
        scratch.clamped,
        scratch.rank,
        scratch.d_a,
        scratch.d_p,
        scratch.pull[0],
    )
    N, last = u.shape[0], u.shape[0] // 4 * 4
    for n in range(N):
        later[n] = d_a[n] * (one - clamped[n]) * prefix[n]
    fill(freer, zero)
    for n in range(0, last, 4):
        later_0, later_1, later_2, later_3 = later[n], later[n + 1], later[n + 2], later[n + 3]
        rank_0, rank_1, rank_2, rank_3 = rank[n], rank[n + 1], rank[n + 2], rank[n + 3]
        for j in range(N):
            rank_j = rank[j]
            total = (later_0 if rank_0 > rank_j else zero) + (later_1 if rank_1 > rank_j else zero)
            total += (later_2 if rank_2 > rank_j else zero) + (later_3 if rank_3 > rank_j else zero)
            freer[j] += total
    for n in range(last, N):
        later_n, rank_n = later[n], rank[n]
        for j in range(N):
            freer[j] += later_n if rank_n > rank[j] else zero
    for j in range(N):
        if u[j] >= lowest and u[j] <= one:
            d_u[j] += freer[j] / clamped[j] - d_a[j] * prefix[j]


@kernel(fastmath=FAST)
def _usage_backward(before, f, psi, d_psi, d_u, d_w_w, d_w_r, d_f, others):
    one, u_tm1, w_tm1 = d_u.dtype.type(1), before.u, before.w_w
    # 2. u = (u[t-1] + w_w[t-1] - u[t-1] w_w[t-1]) psi
    for n in range(d_u.shape[0]):
        d_psi[n] += d_u[n] * (u_tm1[n] + w_tm1[n] - u_tm1[n] * w_tm1[n])
    for n in range(d_u.shape[0]):
        d_u[n] *= psi[n]
    for n in range(d_u.shape[0]):
        d_w_w[n] = d_u[n] * (one - u_tm1[n])
    for n in range(d_u.shape[0]):
        d_u[n] *= one - w_tm1[n]
    # 1. psi = prod_i (1 - f_i w_r,i[t-1])
    for i in range(f.shape[0]):
        copy(d_psi, others)
        for j in range(f.shape[0]):
            if j != i:
                f_j, w_r = f[j], before.w_r[j]
                for n in range(others.shape[0]):
                    others[n] *= one - f_j * w_r[n]
        d_f[i] = -dot(others, before.w_r[i])
        add_scaled(d_w_r[i], -f[i], others)


@kernel(fastmath=FAST)
def step_backward(before, after, xi, record, d_bank, d_xi, constants, options, scratch):
    """The gradients of one memory step, from those by its reads (in scratch) and by the bank after it.

    d_bank becomes the gradient by the bank before; d_xi is set to that by the raw interface.
    """
    d_w, d_w_r, d_M, d_c, eps = (scratch.d_w, scratch.d_w_r, d_bank.M, scratch.d_c, constants.cosine_eps)
    copy(d_bank.w_w, d_w[0])
    fill_rows(d_w_r, xi.e.dtype.type(0))
    # 9. r, w_r, c_r
    _read_backward(after, xi.pi, record, d_bank.w_r, d_M, d_xi.pi, options, scratch)
    content_backward(
        after.M, xi.k_r, xi.mask_r, xi.beta_r, eps, record.s_r, record.m_r, record.c_r,
        d_c, scratch, d_M, d_xi.k_r, d_xi.mask_r, d_xi.beta_r,
    )  # fmt: skip
    # 8, 7, 6. f, b, p, L
    if options.links:
        links_backward(before, after.w_w, d_bank.L, d_bank.p, scratch)
    # 5. M
    write_backward(before, after.w_w, record.psi, xi, d_xi, options.deallocation, d_M, d_w[0], scratch.d_psi)
    # 4. w_w, c_w
    order(after.u, constants, scratch.clamped, scratch.rank)
    _write_weights_backward(xi, d_xi, record.c_w[0], record.prefix, scratch)
    content_backward(
        before.M, xi.k_w, xi.mask_w, xi.beta_w, eps, record.s_w, record.m_w, record.c_w,
        d_c, scratch, d_M, d_xi.k_w, d_xi.mask_w, d_xi.beta_w,
    )  # fmt: skip
    # 3, 2, 1. a, u, psi
    _allocation_backward(after.u, record.prefix, constants, scratch, d_bank.u)
    _usage_backward(before, xi.f, record.psi, scratch.d_psi, d_bank.u, d_bank.w_w, d_w_r, d_xi.f, scratch.d_a)
    for i in range(d_bank.w_r.shape[0]):
        copy(d_w_r[i], d_bank.w_r[i])
    _out_of_range(xi, d_xi, constants)
