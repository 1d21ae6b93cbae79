"""The forward pass as a Triton kernel: one program unrolls one sequence, step by step, in the order of `bank.step`.

Names are those of the equations (Graves et al. 2016, Methods); `before` and `after` point to a sequence's state, `step`
to its record. Threads hand vectors to one another through memory, with a barrier between.
"""

import triton
import triton.language as tl

from memagent.memory.gpu.parts import (
    clamped,
    content_weights,
    layer_norm,
    masks,
    matrix,
    modes,
    oneplus,
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


@triton.jit
def _controller(x_gates, before, after, step, weights, y, s: tl.constexpr):
    H_2: tl.constexpr = s.H_2
    G_2: tl.constexpr = s.G_2
    S_2: tl.constexpr = s.S_2
    gates_rows: tl.constexpr = s.gates_rows
    xi_rows: tl.constexpr = s.xi_rows
    # h, c = LSTM([x ; r[t-1]], (h[t-1], c[t-1]))
    g, h = tl.arange(0, G_2), tl.arange(0, H_2)
    gates = product(before.v, weights.recurrent, s.R * s.W + s.H, 4 * s.H, G_2, gates_rows)
    store_vector(step.gates, g, 4 * s.H, gates + vector(x_gates, g, 4 * s.H))
    tl.debug_barrier()
    i_t, f_t = sigmoid(vector(step.gates, h, s.H)), sigmoid(vector(step.gates + s.H, h, s.H))
    g_t, o_t = tanh(vector(step.gates + 2 * s.H, h, s.H)), sigmoid(vector(step.gates + 3 * s.H, h, s.H))
    c = f_t * vector(before.c, h, s.H) + i_t * g_t
    out = o_t * tanh(c)
    store_vector(after.c, h, s.H, c)
    store_vector(after.v + s.R * s.W, h, s.H, out)
    # o = norm(h);  xi = W_xi o + b_xi
    if s.layer_norm:
        hat, _ = layer_norm(out, h < s.H, s.H, s.norm_eps)
        out = hat * vector(weights.o_scale, h, s.H) + vector(weights.o_shift, h, s.H)
    store_vector(y, h, s.H, out)
    tl.debug_barrier()
    a = tl.arange(0, S_2)
    xi = product(y, weights.interface, s.H, s.interface_stride, S_2, xi_rows)
    store_vector(step.xi, a, s.S, xi + vector(weights.interface_bias, a, s.S))
    tl.debug_barrier()


@triton.jit
def _usage(before, after, step, s: tl.constexpr):
    N_2: tl.constexpr = s.N_2
    n = tl.arange(0, N_2)
    # 1. psi = prod_i (1 - f_i w_r,i[t-1])
    psi = retention(before, step, s)
    # 2. u = (u[t-1] + w_w[t-1] - u[t-1] w_w[t-1]) psi
    u, w_w = vector(before.u, n, s.N), vector(before.w_w, n, s.N)
    u = (u + w_w - u * w_w) * psi
    store_vector(after.u, n, s.N, u)
    return u, psi


@triton.jit
def _allocation(u, after, step, s: tl.constexpr):
    N_2: tl.constexpr = s.N_2
    rows: tl.constexpr = s.rows
    n = tl.arange(0, N_2)
    u = clamped(u, n, s)
    rank, log_u = order(u, n, s), tl.log(u)
    tl.debug_barrier()  # for after.u
    for first in range(0, s.N, rows):
        j = first + tl.arange(0, rows)
        rank_j = order(clamped(vector(after.u, j, s.N), j, s), j, s)
        log_before = tl.sum(tl.where(rank[None, :] < rank_j[:, None], log_u[None, :], 0.0), 1)
        store_vector(step.prefix, j, s.N, tl.exp(log_before))
    tl.debug_barrier()
    # 3. a_n = (1 - u_n) prod of the u of freer slots
    return (1.0 - u) * vector(step.prefix, n, s.N)


@triton.jit
def _write(psi, allocated, before, after, step, s: tl.constexpr):
    N_2: tl.constexpr = s.N_2
    W_2: tl.constexpr = s.W_2
    n, d, one = tl.arange(0, N_2), tl.arange(0, W_2), tl.arange(0, 1)
    M = matrix(before.M, n, d, s.N, s.W)
    # 4. c_w = softmax(beta_w cos(k_w, M[t-1]));  w_w = g_w (g_a a + (1 - g_a) c_w)
    key = matrix(step.xi + s.write_key, one, d, 1, s.W)
    mask, _ = masks(step.xi, s.write_mask, one, d, 1, s)
    strength = oneplus(tl.load(step.xi + s.write_strength + one) + s.strength_bias)
    c_w, cosine = content_weights(M, key, mask, strength, s)
    store_matrix(step.c_w, one, n, 1, s.N, c_w)
    store_matrix(step.s_w, one, n, 1, s.N, cosine)
    g_a, g_w = sigmoid(tl.load(step.xi + s.allocation_gate)), sigmoid(tl.load(step.xi + s.write_gate))
    w = g_w * (g_a * allocated + (1.0 - g_a) * tl.sum(c_w, 0))
    store_vector(after.w_w, n, s.N, w)
    # 5. M = M[t-1] (1 - w_w e^T) + w_w v^T;  with de-allocation M[t-1] is scaled by psi first
    e, v = sigmoid(vector(step.xi + s.erase, d, s.W)), vector(step.xi + s.write_vector, d, s.W)
    if s.deallocation:
        M *= psi[:, None]
    M = M * (1.0 - w[:, None] * e[None, :]) + w[:, None] * v[None, :]
    store_matrix(after.M, n, d, s.N, s.W, M)
    return M


@triton.jit
def _links(before, after, step, s: tl.constexpr):
    N_2: tl.constexpr = s.N_2
    R_2: tl.constexpr = s.R_2
    rows: tl.constexpr = s.rows
    n, i = tl.arange(0, N_2), tl.arange(0, R_2)
    w, p, w_r = vector(after.w_w, n, s.N), vector(before.p, n, s.N), matrix(before.w_r, i, n, s.R, s.N)
    b = tl.zeros([R_2, rows, N_2], before.u.dtype.element_ty)
    for first in range(0, s.N, rows):
        j = first + tl.arange(0, rows)
        # 6. L_jn = (1 - w_j - w_n) L_jn[t-1] + w_j p_n[t-1], L_jj = 0
        w_j = vector(after.w_w, j, s.N)[:, None]
        L = (1.0 - w_j - w[None, :]) * matrix(before.L, j, n, s.N, s.N) + w_j * p[None, :]
        L = tl.where(j[:, None] == n[None, :], 0.0, L)
        store_matrix(after.L, j, n, s.N, s.N, L)
        # 8. f_i = L w_r,i[t-1];  b_i = L^T w_r,i[t-1]
        store_matrix(step.f, i, j, s.R, s.N, tl.sum(L[None, :, :] * w_r[:, None, :], 2))
        b += L[None, :, :] * matrix(before.w_r, i, j, s.R, s.N)[:, :, None]
    store_matrix(step.b, i, n, s.R, s.N, tl.sum(b, 1))
    # 7. p = (1 - sum w_w) p[t-1] + w_w
    store_vector(after.p, n, s.N, p - tl.sum(w) * p + w)


@triton.jit
def _read(M, after, step, weights, y, s: tl.constexpr):
    N_2: tl.constexpr = s.N_2
    W_2: tl.constexpr = s.W_2
    R_2: tl.constexpr = s.R_2
    n, d, i = tl.arange(0, N_2), tl.arange(0, W_2), tl.arange(0, R_2)
    # 9. c_r,i = softmax(beta_r,i cos(k_r,i, M));  w_r,i = pi_1 b_i + pi_2 c_r,i + pi_3 f_i
    key = matrix(step.xi, i, d, s.R, s.W)
    mask, _ = masks(step.xi, s.read_masks, i, d, s.R, s)
    strength = oneplus(vector(step.xi + s.read_strengths, i, s.R) + s.strength_bias)
    w_r, cosine = content_weights(M, key, mask, strength, s)
    store_matrix(step.c_r, i, n, s.R, s.N, w_r)
    store_matrix(step.s_r, i, n, s.R, s.N, cosine)
    if s.links:
        pi_1, pi_2, pi_3 = modes(step.xi + s.read_modes, i, s.R)
        w_r = pi_2[:, None] * w_r
        w_r += pi_1[:, None] * matrix(step.b, i, n, s.R, s.N) + pi_3[:, None] * matrix(step.f, i, n, s.R, s.N)
    store_matrix(after.w_r, i, n, s.R, s.N, w_r)
    # r_i = M^T w_r,i
    reads = tl.sum(w_r[:, :, None] * M[None, :, :], 1)
    store_matrix(step.reads, i, d, s.R, s.W, reads)
    if s.layer_norm:
        hat, _ = layer_norm(reads, (i < s.R)[:, None] & (d < s.W)[None, :], s.R * s.W, s.norm_eps)
        reads = hat * matrix(weights.r_scale, i, d, s.R, s.W) + matrix(weights.r_shift, i, d, s.R, s.W)
    store_matrix(after.v, i, d, s.R, s.W, reads)
    store_matrix(y + s.H, i, d, s.R, s.W, reads)


@triton.jit(do_not_specialize=["T", "B", "slots", "steps"])
def forward_kernel(x_gates, start, weights, tape, record, y, T, B, slots, steps, s: tl.constexpr):
    """Unroll sequence b: from the state in slot 0 of the tape to those after steps 0 .. T - 1.

    x_gates [T, B, 4H] is the inputs' part of the gates; y [T, B, H + R*W] is written, slot (t + 1) % slots after step t
    and record t % steps too.
    """
    b = tl.program_id(0)
    for t in range(T):
        row = t * B + b
        before = state_at(tape, slot_before(start, t, b, B, slots), s)
        after = state_at(tape, (t + 1) % slots * B + b, s)
        step = record_at(record, t % steps * B + b, s)
        y_t = y + row * (s.H + s.R * s.W)
        _controller(x_gates + row * (4 * s.H), before, after, step, weights, y_t, s)
        u, psi = _usage(before, after, step, s)
        allocated = _allocation(u, after, step, s)
        M = _write(psi, allocated, before, after, step, s)
        tl.debug_barrier()
        if s.links:
            _links(before, after, step, s)
            tl.debug_barrier()
        _read(M, after, step, weights, y_t, s)
        tl.debug_barrier()
