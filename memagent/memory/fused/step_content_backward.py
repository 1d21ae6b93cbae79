"""The gradients of what walks the memory of one sequence, compiled: the look-ups by content and the write.

Rows of M and of its gradient are gone through once each, the sums over rows in registers. Names as in `step_backward`.
"""

from memagent.memory.fused.arithmetic import FAST, add_scaled, dot, fill, fill_rows, kernel, softmax_backward
from memagent.memory.fused.lanes import load, spread, store, totals, width
from memagent.memory.fused.products import along, four_counts, plus, put, sum_of_products, times
from memagent.memory.fused.step_forward import inverse_norm, masked_query
from memagent.memory.fused.step_links import multiply_add, numbers, vectors


@kernel(fastmath=FAST)
def _mask_backward(M, k, mask, shrink, pull_M, back, d_M, d_mask):
    # ds/dm = m (2 k sum_n pull_n M_n - |m k|^-2 s k^2 + sum_n back_n M_n^2);  ds/dM_n += back_n m^2 M_n
    fill(d_mask, M.dtype.type(0))
    for n in range(M.shape[0]):
        for d in range(M.shape[1]):
            d_mask[d] += back[n] * M[n, d] * M[n, d]
    for n in range(M.shape[0]):
        for d in range(M.shape[1]):
            d_M[n, d] += back[n] * M[n, d] * mask[d] * mask[d]
    for d in range(M.shape[1]):
        d_mask[d] = mask[d] * (k[d] * (pull_M[d] + pull_M[d] - shrink * k[d]) + d_mask[d])


@kernel(fastmath=FAST)
def _cosine_backward(k, query, beta, eps, s, m, c, d_c, pull, back):
    # c = softmax(beta s), s_n = m^2 k . M_n / (|m k| |m M_n|):  ds/dM_n = pull_n m^2 k + back_n m^2 M_n
    inverse, d_beta = inverse_norm(k, query, eps), softmax_backward(c, beta, s, d_c)
    for n in range(s.shape[0]):
        pull[n] = d_c[n] * inverse * m[n]
    for n in range(s.shape[0]):
        back[n] = -d_c[n] * s[n] * m[n] * m[n]
    # ds/dk = m^2 (sum_n pull_n M_n - shrink k)
    return d_beta, dot(d_c, s) * inverse * inverse


@kernel(forceinline=True)
def _columns_backward(M, pull, query, back, shared, d_M, d_k, g, d, count):
    # Columns d to d + count, for heads g to g + 3
    zero = M.dtype.type(0)
    none = spread(zero)
    q, d_q = vectors(query, g, d, count), (none, none, none, none)
    for n in range(M.shape[0]):
        p, M_n = numbers(pull, g, n), load(M, (n, d), count)
        d_q = multiply_add(d_q, p, M_n)
        d_M_n = load(d_M, (n, d), count) + (back[n] if shared and g == 0 else zero) * M_n
        d_M_n = d_M_n + (p[0] * q[0] + p[1] * q[1]) + (p[2] * q[2] + p[3] * q[3])
        store(d_M, (n, d), count, d_M_n)
    for i in range(min(4, d_k.shape[0] - g)):
        store(d_k, (g + i, d), count, d_q[i])


@kernel()
def _rows_backward(M, pull, query, back, shared, d_M, d_k):
    # d_k_i = sum_n pull_in M_n;  d_M_n += sum_i pull_in query_i, and back_n M_n where all heads share it
    lanes, W = width(M), M.shape[1]
    for g in range(0, d_k.shape[0], 4):
        for d in range(0, W - W % lanes, lanes):
            _columns_backward(M, pull, query, back, shared, d_M, d_k, g, d, lanes)
        if W % lanes:
            _columns_backward(M, pull, query, back, shared, d_M, d_k, g, W - W % lanes, W % lanes)


@kernel(fastmath=FAST)
def content_backward(M, k, masks, beta, eps, s, m, c, d_c, scratch, d_M, d_k, d_masks, d_beta):
    """The gradients of one look-up, d_M added to; d_c is overwritten."""
    # c_i = softmax(beta_i cos(m_i k_i, m_i M))
    K, query, pull, back, shrink = k.shape[0], scratch.query, scratch.pull, scratch.back, scratch.shrink
    fill_rows(query[K:], M.dtype.type(0))
    fill_rows(pull[K:], M.dtype.type(0))
    masked_query(k, masks, query)
    for i in range(K):
        d_beta[i], shrink[i] = _cosine_backward(
            k[i], query[i], beta[i], eps, s[i], m[min(i, m.shape[0] - 1)], c[i], d_c[i], pull[i], back[i]
        )
    shared = masks.shape[0] == 0
    if shared:
        for i in range(1, K):
            add_scaled(back[0], k.dtype.type(1), back[i])
    _rows_backward(M, pull, query, back[0], shared, d_M, d_k)
    for i in range(masks.shape[0]):
        _mask_backward(M, k[i], masks[i], shrink[i], d_k[i], back[i], d_M, d_masks[i])
        for d in range(M.shape[1]):
            d_k[i, d] *= masks[i, d] * masks[i, d]
    for i in range(K):
        add_scaled(d_k[i], -shrink[i], query[i])


@kernel(forceinline=True)
def _write_columns_backward(M_tm1, w, psi, e, v, d_e, d_v, deallocation, d_M, d_w, d_psi, d, counts):
    # Four vectors of columns, from d on:  d_w_n = d_M_n . (v - psi_n M_n e),  d_psi_n = d_M_n . M_n (1 - w_n e),
    # d_e = -sum_n w_n psi_n M_n d_M_n,  d_v = sum_n w_n d_M_n;  d_M_n becomes psi_n (1 - w_n e) d_M_n
    one, none = w.dtype.type(1), spread(w.dtype.type(0))
    e_d, v_d = along(e, 0, d, counts), along(v, 0, d, counts)
    sum_e = sum_v = (none, none, none, none)
    for n in range(w.shape[0]):
        w_n, keep = w[n], psi[n] if deallocation else one
        M_n, d_M_n = along(M_tm1, n, d, counts), along(d_M, n, d, counts)
        pairs = times(M_n, d_M_n)
        sum_e, sum_v = plus(sum_e, -w_n * keep, pairs), plus(sum_v, w_n, d_M_n)
        both = (pairs[0] + pairs[1]) + (pairs[2] + pairs[3])
        written, erased, both, _ = totals(
            sum_of_products(v_d, d_M_n), sum_of_products(e_d, pairs), both, none
        )
        d_w[n] += written - keep * erased
        if deallocation:
            d_psi[n] += both - w_n * erased
        all_of_it = (spread(keep), spread(keep), spread(keep), spread(keep))
        put(d_M, n, d, counts, times(plus(all_of_it, -w_n * keep, e_d), d_M_n))
    put(d_e, 0, d, counts, sum_e)
    put(d_v, 0, d, counts, sum_v)


@kernel()
def write_backward(before, w, psi, xi, d_xi, deallocation, d_M, d_w, d_psi):
    """The gradients by w, psi, e, v and, in place of that by M, by M[t-1]; that by w is added to."""
    # 5. M = psi M[t-1] (1 - w e^T) + w v^T  (psi only with de-allocation)
    M_tm1, W, lanes = before.M, d_M.shape[1], width(d_M)
    e, v = xi.e.reshape(1, W), xi.v.reshape(1, W)
    d_e, d_v = d_xi.e.reshape(1, W), d_xi.v.reshape(1, W)
    fill(d_psi, w.dtype.type(0))
    for d in range(0, W, 4 * lanes):
        if W - d >= 4 * lanes:
            all_lanes = (lanes, lanes, lanes, lanes)
            _write_columns_backward(
                M_tm1, w, psi, e, v, d_e, d_v, deallocation, d_M, d_w, d_psi, d, all_lanes
            )
        else:
            some = four_counts(lanes, W - d)
            _write_columns_backward(M_tm1, w, psi, e, v, d_e, d_v, deallocation, d_M, d_w, d_psi, d, some)
