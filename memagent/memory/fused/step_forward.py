"""One step of the DNC's memory for one sequence, compiled: the equations of `addressing`, in the order of `bank`.

Names are those of the equations; `_tm1` is last step's. Every function takes views of one sequence.
"""

import numpy as np

from memagent.memory.fused.arithmetic import (
    FAST,
    fill,
    fill_rows,
    kernel,
    oneplus,
    sigmoid,
    softmax,
)
from memagent.memory.fused.products import add_products, add_rows
from memagent.memory.fused.records import Interface
from memagent.memory.fused.step_links import links


@kernel()
def cut(xi, R, W, options):
    """Views of k_r | beta_r | k_w | beta_w | e | v | f | g_a | g_w | pi | masks."""
    strengths = R * W
    write = strengths + R
    erase = write + W + 1
    gates = erase + 2 * W
    modes = gates + R + 2
    R_pi, R_mask, K_mask = (
        R if options.links else 0,
        R if options.masking else 0,
        1 if options.masking else 0,
    )
    masks = modes + 3 * R_pi
    write_mask = masks + R_mask * W
    return Interface(
        xi[:strengths].reshape(R, W),
        xi[strengths:write],
        xi[write : write + W].reshape(1, W),
        xi[write + W : erase],
        xi[erase : erase + W],
        xi[erase + W : gates],
        xi[gates : gates + R],
        xi[gates + R : modes],
        xi[modes:masks].reshape(R_pi, 3),
        xi[masks:write_mask].reshape(R_mask, W),
        xi[write_mask : write_mask + K_mask * W].reshape(K_mask, W),
    )


@kernel()
def _into_mask(masks, floor):
    # mask = floor + (1 - floor) sigmoid
    for i in range(masks.shape[0]):
        sigmoid(masks[i])
        for d in range(masks.shape[1]):
            masks[i, d] = floor + (masks.dtype.type(1) - floor) * masks[i, d]


@kernel()
def into_range(xi, constants):
    """Bring every part of the raw interface into its range, in place."""
    oneplus(xi.beta_r, constants.strength_bias)
    oneplus(xi.beta_w, constants.strength_bias)
    sigmoid(xi.e)
    sigmoid(xi.f)
    sigmoid(xi.g)
    for i in range(xi.pi.shape[0]):
        softmax(xi.pi[i], xi.e.dtype.type(1), xi.pi[i])
    _into_mask(xi.mask_r, constants.mask_floor)
    _into_mask(xi.mask_w, constants.mask_floor)


@kernel(error_model="numpy")
def _usage(f, before, psi, u):
    # No fused operations here: usages are ordered, and the reference rounds every product.
    one, u_tm1, w_tm1 = u.dtype.type(1), before.u, before.w_w
    # 1. psi = prod_i (1 - f_i w_r,i[t-1])
    fill(psi, one)
    for i in range(f.shape[0]):
        f_i, w_r = f[i], before.w_r[i]
        for n in range(u.shape[0]):
            psi[n] *= one - f_i * w_r[n]
    # 2. u = (u[t-1] + w_w[t-1] - u[t-1] w_w[t-1]) psi
    for n in range(u.shape[0]):
        u[n] = (u_tm1[n] + w_tm1[n]) - u_tm1[n] * w_tm1[n]
    for n in range(u.shape[0]):
        u[n] *= psi[n]


@kernel(error_model="numpy")
def order(u, constants, clamped, rank):
    """Slots are taken by usage, rounded to 2^-16, then by index: rank says so in one number."""
    lowest, one, size = constants.usage_eps, u.dtype.type(1), rank.dtype.type(u.shape[0])
    for n in range(u.shape[0]):
        clamped[n] = min(max(u[n], lowest), one)
    for n in range(u.shape[0]):
        level = rank.dtype.type(np.rint(clamped[n] * constants.usage_levels))
        rank[n] = level * size + rank.dtype.type(n)


@kernel(fastmath=FAST)
def _prefix(clamped, rank, prefix):
    # prefix[phi_j] = prod_{i<j} u[phi_i], without a sort; four slots i at a time
    one, last = clamped.dtype.type(1), clamped.shape[0] // 4 * 4
    fill(prefix, one)
    for i in range(0, last, 4):
        u_0, u_1, u_2, u_3 = clamped[i], clamped[i + 1], clamped[i + 2], clamped[i + 3]
        rank_0, rank_1, rank_2, rank_3 = rank[i], rank[i + 1], rank[i + 2], rank[i + 3]
        for j in range(prefix.shape[0]):
            rank_j = rank[j]
            product = (u_0 if rank_0 < rank_j else one) * (u_1 if rank_1 < rank_j else one)
            product *= (u_2 if rank_2 < rank_j else one) * (u_3 if rank_3 < rank_j else one)
            prefix[j] *= product
    for i in range(last, clamped.shape[0]):
        u_i, rank_i = clamped[i], rank[i]
        for j in range(prefix.shape[0]):
            prefix[j] *= u_i if rank_i < rank[j] else one


@kernel(fastmath=FAST)
def masked_query(k, masks, query):
    """query = m^2 k; without masks, k."""
    for i in range(k.shape[0]):
        for d in range(k.shape[1]):
            query[i, d] = k[i, d]
    for i in range(masks.shape[0]):
        for d in range(k.shape[1]):
            query[i, d] *= masks[i, d] * masks[i, d]


@kernel(fastmath=FAST, error_model="numpy")
def inverse_norm(k, query, eps):
    """1 / |m k|, from k . m^2 k."""
    total = eps
    for d in range(k.shape[0]):
        total += k[d] * query[d]
    return k.dtype.type(1) / np.sqrt(total)


@kernel(fastmath=FAST, error_model="numpy")
def _inverse_norms(M, masks, eps, m):
    # m_in = 1 / |mask_i M_n|
    one = M.dtype.type(1)
    for i in range(m.shape[0]):
        for n in range(M.shape[0]):
            total = eps
            if masks.shape[0] == 0:
                for d in range(M.shape[1]):
                    total += M[n, d] * M[n, d]
            else:
                for d in range(M.shape[1]):
                    total += M[n, d] * M[n, d] * masks[i, d] * masks[i, d]
            m[i, n] = total
    for i in range(m.shape[0]):
        for n in range(M.shape[0]):
            m[i, n] = one / np.sqrt(m[i, n])


@kernel(fastmath=FAST)
def _content(M, k, masks, beta, eps, query, s, m, c):
    # c_i = softmax(beta_i s_i),  s_i = cos(m_i k_i, m_i M)
    K = k.shape[0]
    masked_query(k, masks, query)
    _inverse_norms(M, masks, eps, m)
    fill_rows(s, M.dtype.type(0))
    add_products(s, query[:K], M)
    for i in range(K):
        inverse, norms, s_i = (inverse_norm(k[i], query[i], eps), m[min(i, m.shape[0] - 1)], s[i])
        for n in range(M.shape[0]):
            s_i[n] *= inverse * norms[n]
        softmax(s_i, beta[i], c[i])


@kernel(fastmath=FAST)
def write(M_tm1, w, psi, e, v, deallocation, M):
    """The memory after a write, into M."""
    # 5. M = M[t-1] (1 - w_w e^T) + w_w v^T;  with de-allocation M[t-1] is scaled by psi first
    one = v.dtype.type(1)
    for n in range(M.shape[0]):
        w_n, keep = w[n], psi[n] if deallocation else one
        for d in range(M.shape[1]):
            M[n, d] = keep * M_tm1[n, d] * (one - w_n * e[d]) + w_n * v[d]


@kernel(fastmath=FAST)
def step(before, after, xi, record, constants, options, scratch):
    """One memory step of one sequence: from the bank before it, the bank after it, the record, the reads (scratch)."""
    one, N, R, eps = (xi.e.dtype.type(1), after.w_w.shape[0], after.w_r.shape[0], constants.cosine_eps)
    clamped, query, reads = scratch.clamped, scratch.query, scratch.reads
    into_range(xi, constants)
    # 1, 2. psi, u
    _usage(xi.f, before, record.psi, after.u)
    # 3. a[phi_j] = (1 - u[phi_j]) prod_{i<j} u[phi_i]
    order(after.u, constants, clamped, scratch.rank)
    _prefix(clamped, scratch.rank, record.prefix)
    # 4. c_w = softmax(beta_w cos(k_w, M[t-1]));  w_w = g_w (g_a a + (1 - g_a) c_w)
    _content(before.M, xi.k_w, xi.mask_w, xi.beta_w, eps, query, record.s_w, record.m_w, record.c_w)
    g_a, g_w, c_w, prefix, w_w = (xi.g[0], xi.g[1], record.c_w[0], record.prefix, after.w_w)
    for n in range(N):
        w_w[n] = g_w * (g_a * (one - clamped[n]) * prefix[n] + (one - g_a) * c_w[n])
    # 5. M
    write(before.M, after.w_w, record.psi, xi.e, xi.v, options.deallocation, after.M)
    # 6, 7, 8. L, p, f, b
    if options.links:
        links(before, after, record.f, record.b, scratch)
    # 9. c_r,i = softmax(beta_r,i cos(k_r,i, M)) on the new M;  w_r,i = pi_1 b_i + pi_2 c_r,i + pi_3 f_i
    _content(after.M, xi.k_r, xi.mask_r, xi.beta_r, eps, query, record.s_r, record.m_r, record.c_r)
    for i in range(R):
        w_r, c = after.w_r[i], record.c_r[i]
        content_mode = xi.pi[i, 1] if options.links else one
        for n in range(N):
            w_r[n] = content_mode * c[n]
    if options.links:
        for i in range(R):
            w_r, b, f, pi_1, pi_3 = (after.w_r[i], record.b[i], record.f[i], xi.pi[i, 0], xi.pi[i, 2])
            for n in range(N):
                w_r[n] += pi_1 * b[n] + pi_3 * f[n]
    # r_i = M^T w_r,i
    fill_rows(reads, xi.e.dtype.type(0))
    add_rows(reads, after.w_r, after.M)
