"""The backward pass as a Triton kernel, derived by hand: one program goes back through one sequence.

`d_x` is the gradient of the loss by x. The gradients by the state are updated in place, from those by the state after a
step (`d_bank`) to those by the state before it. Names as in `forward`.
"""

import triton
import triton.language as tl

from memagent.memory.gpu.links_backward import links_backward
from memagent.memory.gpu.parts import (
    clamped,
    inverse_norms,
    layer_norm,
    layer_norm_backward,
    masks,
    matrix,
    modes,
    oneplus_derivative,
    order,
    product,
    record_at,
    retention,
    sigmoid,
    slot_before,
    state_at,
    store_matrix,
    store_vector,
    tanh,
    vector,
)
from memagent.memory.gpu.records import Gradients, Scratch


@triton.jit
def gradients_at(gradients, slot, s: tl.constexpr):
    """The pointers of one step of one sequence in the gradients."""
    slot = slot.to(tl.int64)
    return Gradients(
        gates=gradients.gates + slot * (4 * s.H),
        xi=gradients.xi + slot * s.S,
        o=gradients.o + slot * s.H,
        r=gradients.r + slot * (s.R * s.W),
    )


@triton.jit
def scratch_at(scratch, b, s: tl.constexpr):
    """The pointers of one sequence's scratch."""
    heads, slots = b.to(tl.int64) * (s.R * s.N), b.to(tl.int64) * s.N
    return Scratch(
        d_b=scratch.d_b + heads,
        d_f=scratch.d_f + heads,
        d_w_r=scratch.d_w_r + heads,
        d_w=scratch.d_w + slots,
        d_a=scratch.d_a + slots,
    )


@triton.jit
def _content_backward(M, d_M, key, mask, gate, raw_strength, cosine, c, d_c, s: tl.constexpr):
    """d_M with what a look-up adds, and the gradients by key, raw strength and raw mask."""
    query = key * mask * mask if s.masking else key
    inverse_key = 1.0 / tl.sqrt(tl.sum(key * query, 1) + s.cosine_eps)
    inverse = inverse_norms(M, mask, s)
    # c = softmax(beta s)
    strength, slope = oneplus_derivative(raw_strength + s.strength_bias)
    d_logits = c * (d_c - tl.sum(c * d_c, 1)[:, None])
    d_strength = slope * tl.sum(d_logits * cosine, 1)
    d_s = strength[:, None] * d_logits
    # s_n = m^2 k . M_n / (|m k| |m M_n|):  ds/dM_n = pull_n m^2 k + back_n m^2 M_n
    pull, back = d_s * inverse_key[:, None] * inverse, -d_s * cosine * inverse * inverse
    shrink = (tl.sum(d_s * cosine, 1) * inverse_key * inverse_key)[:, None]
    pulled = tl.sum(pull[:, :, None] * M[None, :, :], 1)
    d_M += tl.sum(pull[:, :, None] * query[:, None, :], 0)
    if s.masking:
        squares = mask * mask
        d_M += M * tl.sum(back[:, :, None] * squares[:, None, :], 0)
        # ds/dm = m (2 k sum_n pull_n M_n - |m k|^-2 s k^2 + sum_n back_n M_n^2)
        along = tl.sum(back[:, :, None] * (M * M)[None, :, :], 1)
        d_mask = mask * (key * (2.0 * pulled - shrink * key) + along)
        d_mask *= (1.0 - s.mask_floor) * gate * (1.0 - gate)
        pulled *= squares
    else:
        d_M += M * tl.sum(back, 0)[:, None]
        d_mask = mask
    return d_M, pulled - shrink * query, d_strength, d_mask


@triton.jit
def _read_backward(after, step, weights, d_y, d, d_step, scratch, s: tl.constexpr):
    """The gradient by M after the step; sets scratch.d_b and d_f."""
    N_2: tl.constexpr = s.N_2
    W_2: tl.constexpr = s.W_2
    R_2: tl.constexpr = s.R_2
    n, k, i = tl.arange(0, N_2), tl.arange(0, W_2), tl.arange(0, R_2)
    # y_t = [o_t ; r_t], r_t = norm(reads)
    d_reads = matrix(d.v, i, k, s.R, s.W) + matrix(d_y + s.H, i, k, s.R, s.W)
    store_matrix(d_step.r, i, k, s.R, s.W, d_reads)
    if s.layer_norm:
        inside = (i < s.R)[:, None] & (k < s.W)[None, :]
        hat, inverse = layer_norm(matrix(step.reads, i, k, s.R, s.W), inside, s.R * s.W, s.norm_eps)
        d_reads *= matrix(weights.r_scale, i, k, s.R, s.W)
        d_reads = layer_norm_backward(d_reads, hat, inverse, inside, s.R * s.W)
    # 9. r_i = M^T w_r,i
    M = matrix(after.M, n, k, s.N, s.W)
    d_w_r = matrix(d.w_r, i, n, s.R, s.N) + tl.sum(d_reads[:, None, :] * M[None, :, :], 2)
    w_r = matrix(after.w_r, i, n, s.R, s.N)
    d_M = matrix(d.M, n, k, s.N, s.W) + tl.sum(w_r[:, :, None] * d_reads[:, None, :], 0)
    # w_r,i = pi_1 b_i + pi_2 c_r,i + pi_3 f_i
    c = matrix(step.c_r, i, n, s.R, s.N)
    d_c = d_w_r
    if s.links:
        pi_1, pi_2, pi_3 = modes(step.xi + s.read_modes, i, s.R)
        d_1 = tl.sum(d_w_r * matrix(step.b, i, n, s.R, s.N), 1)
        d_2 = tl.sum(d_w_r * c, 1)
        d_3 = tl.sum(d_w_r * matrix(step.f, i, n, s.R, s.N), 1)
        mean = pi_1 * d_1 + pi_2 * d_2 + pi_3 * d_3
        d_modes = d_step.xi + s.read_modes + 3 * i
        tl.store(d_modes, pi_1 * (d_1 - mean), i < s.R)
        tl.store(d_modes + 1, pi_2 * (d_2 - mean), i < s.R)
        tl.store(d_modes + 2, pi_3 * (d_3 - mean), i < s.R)
        store_matrix(scratch.d_b, i, n, s.R, s.N, pi_1[:, None] * d_w_r)
        store_matrix(scratch.d_f, i, n, s.R, s.N, pi_3[:, None] * d_w_r)
        d_c = pi_2[:, None] * d_w_r
    # c_r,i = softmax(beta_r,i cos(k_r,i, M))
    key, cosine = matrix(step.xi, i, k, s.R, s.W), matrix(step.s_r, i, n, s.R, s.N)
    mask, gate = masks(step.xi, s.read_masks, i, k, s.R, s)
    strength = vector(step.xi + s.read_strengths, i, s.R)
    d_M, d_key, d_strength, d_mask = _content_backward(M, d_M, key, mask, gate, strength, cosine, c, d_c, s)
    store_matrix(d_step.xi, i, k, s.R, s.W, d_key)
    store_vector(d_step.xi + s.read_strengths, i, s.R, d_strength)
    if s.masking:
        store_matrix(d_step.xi + s.read_masks, i, k, s.R, s.W, d_mask)
    return d_M


@triton.jit
def _write_backward(d_M, d_w, psi, before, after, step, d, d_step, s: tl.constexpr):
    """Sets the gradient by M[t-1]; returns those by psi and by the allocated weights."""
    N_2: tl.constexpr = s.N_2
    W_2: tl.constexpr = s.W_2
    n, k, one = tl.arange(0, N_2), tl.arange(0, W_2), tl.arange(0, 1)
    M, w = matrix(before.M, n, k, s.N, s.W), vector(after.w_w, n, s.N)
    e, v = sigmoid(vector(step.xi + s.erase, k, s.W)), vector(step.xi + s.write_vector, k, s.W)
    # 5. M = psi M[t-1] (1 - w_w e^T) + w_w v^T  (psi only with de-allocation)
    store_vector(d_step.xi + s.write_vector, k, s.W, tl.sum(w[:, None] * d_M, 0))
    kept = psi[:, None] * M if s.deallocation else M
    d_w += tl.sum(d_M * (v[None, :] - kept * e[None, :]), 1)
    d_e = -tl.sum(w[:, None] * kept * d_M, 0)
    store_vector(d_step.xi + s.erase, k, s.W, d_e * e * (1.0 - e))
    d_M *= 1.0 - w[:, None] * e[None, :]
    d_psi = tl.zeros([N_2], before.u.dtype.element_ty)
    if s.deallocation:
        d_psi += tl.sum(d_M * M, 1)
        d_M *= psi[:, None]
    # 4. w_w = g_w (g_a a + (1 - g_a) c_w)
    g_a, g_w = sigmoid(tl.load(step.xi + s.allocation_gate)), sigmoid(tl.load(step.xi + s.write_gate))
    a = (1.0 - clamped(vector(after.u, n, s.N), n, s)) * vector(step.prefix, n, s.N)
    c = matrix(step.c_w, one, n, 1, s.N)
    along_a, along_c = tl.sum(d_w * a), tl.sum(d_w * tl.sum(c, 0))
    tl.store(d_step.xi + s.allocation_gate, g_w * (along_a - along_c) * g_a * (1.0 - g_a))
    tl.store(d_step.xi + s.write_gate, (g_a * along_a + (1.0 - g_a) * along_c) * g_w * (1.0 - g_w))
    # c_w = softmax(beta_w cos(k_w, M[t-1]))
    key, cosine = matrix(step.xi + s.write_key, one, k, 1, s.W), matrix(step.s_w, one, n, 1, s.N)
    mask, gate = masks(step.xi, s.write_mask, one, k, 1, s)
    strength, d_c = tl.load(step.xi + s.write_strength + one), (g_w * (1.0 - g_a) * d_w)[None, :]
    d_M, d_key, d_strength, d_mask = _content_backward(M, d_M, key, mask, gate, strength, cosine, c, d_c, s)
    store_matrix(d_step.xi + s.write_key, one, k, 1, s.W, d_key)
    tl.store(d_step.xi + s.write_strength + one, d_strength)
    if s.masking:
        store_matrix(d_step.xi + s.write_mask, one, k, 1, s.W, d_mask)
    store_matrix(d.M, n, k, s.N, s.W, d_M)
    return d_psi, g_w * g_a * d_w


@triton.jit
def _allocation_backward(d_a, after, step, d, scratch, s: tl.constexpr):
    """Adds to the gradient by u."""
    N_2: tl.constexpr = s.N_2
    rows: tl.constexpr = s.rows
    n = tl.arange(0, N_2)
    # 3. a_n = (1 - u_n) prod of the u of freer slots;  the clamp passes gradients inside [eps, 1]
    u = clamped(vector(after.u, n, s.N), n, s)
    later, rank = d_a * (1.0 - u) * vector(step.prefix, n, s.N), order(u, n, s)
    store_vector(scratch.d_a, n, s.N, d_a)
    tl.debug_barrier()
    for first in range(0, s.N, rows):
        j = first + tl.arange(0, rows)
        u_j = vector(after.u, j, s.N)
        inside = (u_j >= s.usage_eps) & (u_j <= 1.0)
        u_j = clamped(u_j, j, s)
        fuller = tl.sum(tl.where(rank[None, :] > order(u_j, j, s)[:, None], later[None, :], 0.0), 1)
        d_u = fuller / u_j - vector(scratch.d_a, j, s.N) * vector(step.prefix, j, s.N)
        store_vector(d.u, j, s.N, vector(d.u, j, s.N) + tl.where(inside, d_u, 0.0))
    tl.debug_barrier()


@triton.jit
def _usage_backward(psi, d_psi, before, step, d, d_step, scratch, s: tl.constexpr):
    """Sets the gradients by u, w_w and w_r of t-1."""
    R: tl.constexpr = s.R
    N_2: tl.constexpr = s.N_2
    n = tl.arange(0, N_2)
    # 2. u = (u[t-1] + w_w[t-1] - u[t-1] w_w[t-1]) psi
    u, w, d_u = vector(before.u, n, s.N), vector(before.w_w, n, s.N), vector(d.u, n, s.N)
    d_psi += d_u * (u + w - u * w)
    d_u *= psi
    store_vector(d.w_w, n, s.N, d_u * (1.0 - u))
    store_vector(d.u, n, s.N, d_u * (1.0 - w))
    # 1. psi = prod_i (1 - f_i w_r,i[t-1])
    for i in tl.static_range(R):
        others = d_psi
        for j in tl.static_range(R):
            if j != i:
                f_j = sigmoid(tl.load(step.xi + s.free_gates + j))
                others *= 1.0 - f_j * vector(before.w_r + j * s.N, n, s.N)
        f_i, w_i = sigmoid(tl.load(step.xi + s.free_gates + i)), vector(before.w_r + i * s.N, n, s.N)
        d_f = -tl.sum(others * w_i) * f_i * (1.0 - f_i)
        tl.store(d_step.xi + s.free_gates + i, d_f)
        d_w_r = -f_i * others
        if s.links:
            d_w_r += vector(scratch.d_w_r + i * s.N, n, s.N)
        store_vector(d.w_r + i * s.N, n, s.N, d_w_r)


@triton.jit
def _controller_backward(before, after, step, weights, d_y, d, d_step, s: tl.constexpr):
    """From the gradients by xi, y and h, c after the step to those by the gates, r, h and c before it."""
    H_2: tl.constexpr = s.H_2
    V_2: tl.constexpr = s.V_2
    o_rows: tl.constexpr = s.o_rows
    v_rows: tl.constexpr = s.v_rows
    h, reads = tl.arange(0, H_2), s.R * s.W
    # o = norm(h), xi = W_xi o + b_xi
    d_h = product(d_step.xi, weights.interface, s.S, s.H, H_2, o_rows) + vector(d_y, h, s.H)
    store_vector(d_step.o, h, s.H, d_h)
    if s.layer_norm:
        hat, inverse = layer_norm(vector(after.v + reads, h, s.H), h < s.H, s.H, s.norm_eps)
        d_h = layer_norm_backward(d_h * vector(weights.o_scale, h, s.H), hat, inverse, h < s.H, s.H)
    d_h += vector(d.v + reads, h, s.H)
    # c = sigmoid(f) c[t-1] + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c)
    i_t, f_t = sigmoid(vector(step.gates, h, s.H)), sigmoid(vector(step.gates + s.H, h, s.H))
    g_t, o_t = tanh(vector(step.gates + 2 * s.H, h, s.H)), sigmoid(vector(step.gates + 3 * s.H, h, s.H))
    tanh_c = tanh(vector(after.c, h, s.H))
    d_c = vector(d.c, h, s.H) + d_h * o_t * (1.0 - tanh_c * tanh_c)
    store_vector(d_step.gates, h, s.H, d_c * g_t * i_t * (1.0 - i_t))
    store_vector(d_step.gates + s.H, h, s.H, d_c * vector(before.c, h, s.H) * f_t * (1.0 - f_t))
    store_vector(d_step.gates + 2 * s.H, h, s.H, d_c * i_t * (1.0 - g_t * g_t))
    store_vector(d_step.gates + 3 * s.H, h, s.H, d_h * tanh_c * o_t * (1.0 - o_t))
    store_vector(d.c, h, s.H, d_c * f_t)
    tl.debug_barrier()
    d_v = product(d_step.gates, weights.recurrent, 4 * s.H, reads + s.H, V_2, v_rows)
    store_vector(d.v, tl.arange(0, V_2), reads + s.H, d_v)


@triton.jit
def _forget(d, s: tl.constexpr):
    """The gradient by a state that a start replaced is zero."""
    N_2: tl.constexpr = s.N_2
    W_2: tl.constexpr = s.W_2
    R_2: tl.constexpr = s.R_2
    H_2: tl.constexpr = s.H_2
    V_2: tl.constexpr = s.V_2
    rows: tl.constexpr = s.rows
    n = tl.arange(0, N_2)
    dtype = d.v.dtype.element_ty
    store_vector(d.v, tl.arange(0, V_2), s.R * s.W + s.H, tl.zeros([V_2], dtype))
    store_vector(d.c, tl.arange(0, H_2), s.H, tl.zeros([H_2], dtype))
    store_vector(d.u, n, s.N, tl.zeros([N_2], dtype))
    store_vector(d.w_w, n, s.N, tl.zeros([N_2], dtype))
    store_matrix(d.w_r, tl.arange(0, R_2), n, s.R, s.N, tl.zeros([R_2, N_2], dtype))
    store_matrix(d.M, n, tl.arange(0, W_2), s.N, s.W, tl.zeros([N_2, W_2], dtype))
    if s.links:
        store_vector(d.p, n, s.N, tl.zeros([N_2], dtype))
        for first in range(0, s.N, rows):
            store_matrix(d.L, first + tl.arange(0, rows), n, s.N, s.N, tl.zeros([rows, N_2], dtype))


@triton.jit(do_not_specialize=["T", "B"])
def backward_kernel(
    start, weights, tape, record, d_y, d_state, d_steps, scratch, T, B, s: tl.constexpr
):  # fmt: skip
    """Go back through sequence b.

    d_state [B, ...] holds the gradients by the state after the last step and becomes those by the state before the
    first; d_steps is written.
    """
    b = tl.program_id(0)
    d, scratch_b = state_at(d_state, b, s), scratch_at(scratch, b, s)
    N_2: tl.constexpr = s.N_2
    n = tl.arange(0, N_2)
    for back in range(T):
        t = T - 1 - back
        row = t * B + b
        before = state_at(tape, slot_before(start, t, b, B, T + 1), s)
        after, step, d_step = (
            state_at(tape, row + B, s),
            record_at(record, row, s),
            gradients_at(d_steps, row, s),
        )
        d_y_t = d_y + row * (s.H + s.R * s.W)
        d_M = _read_backward(after, step, weights, d_y_t, d, d_step, scratch_b, s)
        d_w = vector(d.w_w, n, s.N)
        if s.links:
            tl.debug_barrier()
            d_w += links_backward(before, after, d, scratch_b, s)
        psi = retention(before, step, s)
        d_psi, d_a = _write_backward(d_M, d_w, psi, before, after, step, d, d_step, s)
        _allocation_backward(d_a, after, step, d, scratch_b, s)
        _usage_backward(psi, d_psi, before, step, d, d_step, scratch_b, s)
        tl.debug_barrier()
        _controller_backward(before, after, step, weights, d_y_t, d, d_step, s)
        tl.debug_barrier()
        if tl.load(start + row) != 0:
            _forget(d, s)
        tl.debug_barrier()
