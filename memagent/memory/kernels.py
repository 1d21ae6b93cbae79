"""The fused DNC on the CPU: all T steps of a block of sequences in one compiled loop, forward and backward.

The equations are those of `addressing` and `bank`, in their order, each block under its own; `numbers` 1-10 are the
steps of one memory step. Arrays carry the names of the equations, `_tm1` is last step's, `d_x` the gradient of the
loss by x. T time, B batch, N slots, W slot width, R read heads, H controller units, I inputs, K distinct norms of a
slot (R with masks, else 1).

A block of BLOCK sequences runs all its steps on one thread, and BLOCK does not follow the number of threads, so
neither do the results. Everything jitted stands in this one file: Numba's cache on disk does not see an edit of a
helper in another file. Loops that write one array and read few are what LLVM turns into vector code.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

Array = NDArray[np.floating]

BLOCK = 8
"""Sequences that share one read of the weights."""
ROWS = 8
"""Rows of L that are updated and multiplied while they are in the first cache."""

# Sums may be reordered (for vector lanes) and a*b + c fused; NaN and infinity keep their meaning.
FAST = {"reassoc", "contract", "nsz"}


class Constants(NamedTuple):
    """Numbers of `addressing` and of the config, in the kernel's precision."""

    strength_bias: np.floating
    cosine_eps: np.floating
    usage_eps: np.floating
    usage_levels: np.floating
    mask_floor: np.floating
    norm_eps: np.floating


class Options(NamedTuple):
    """The switches of MemoryConfig that the kernels know."""

    links: bool
    masking: bool
    deallocation: bool
    layer_norm: bool


class Weights(NamedTuple):
    """The parameters of a DNC; norms have length 0 when off."""

    weight_ih: Array  # [4H, I + R*W]
    weight_hh: Array  # [4H, H]
    bias: Array  # [4H]
    o_scale: Array  # [H]
    o_shift: Array  # [H]
    interface: Array  # [S, H]
    interface_bias: Array  # [S]
    r_scale: Array  # [R*W]
    r_shift: Array  # [R*W]


class Bank(NamedTuple):
    """State of the external memory after each of some steps. Links off: p and L are empty."""

    M: Array  # [steps, B, N, W]
    u: Array  # [steps, B, N]
    p: Array  # [steps, B, N]
    L: Array  # [steps, B, N, N]
    w_w: Array  # [steps, B, N]
    w_r: Array  # [steps, B, R, N]


class Controller(NamedTuple):
    """What the controller knows before each of some steps (zero where a sequence starts)."""

    h: Array  # [steps + 1, B, H]
    c: Array  # [steps + 1, B, H]
    r: Array  # [steps + 1, B, R*W]


class ControllerRecord(NamedTuple):
    """What the backward pass needs of each controller step."""

    gates: Array  # [steps, B, 4H] after their functions
    tanh_c: Array  # [steps, B, H]
    o: Array  # [steps, B, H] controller output after its norm
    o_hat: Array  # [steps, B, H] normalised h
    o_rstd: Array  # [steps, B]
    r_hat: Array  # [steps, B, R*W] normalised reads
    r_rstd: Array  # [steps, B]


class BankRecord(NamedTuple):
    """What the backward pass needs of each memory step."""

    xi: Array  # [steps, B, S] interface, every part in its range
    psi: Array  # [steps, B, N] retention
    prefix: Array  # [steps, B, N] product of the usages of the slots that are freer
    c_w: Array  # [steps, B, 1, N] content weights of the write key
    s_w: Array  # [steps, B, 1, N] its cosines
    m_w: Array  # [steps, B, 1, N] 1 / |M_n[t-1]|
    c_r: Array  # [steps, B, R, N] content weights of the read keys
    s_r: Array  # [steps, B, R, N] their cosines
    m_r: Array  # [steps, B, K, N] 1 / |M_n|
    f: Array  # [steps, B, R, N] forward weights
    b: Array  # [steps, B, R, N] backward weights


class StepGradients(NamedTuple):
    """Gradients by what every step computed."""

    gates: Array  # [steps, B, 4H] the gates before their functions
    o: Array  # [steps, B, H] the controller's output after its norm
    xi: Array  # [steps, B, S] the raw interface
    r: Array  # [steps, B, R*W] the reads after their norm


class Interface(NamedTuple):
    """Views of the parts of one interface vector."""

    k_r: Array  # [R, W]
    beta_r: Array  # [R]
    k_w: Array  # [1, W]
    beta_w: Array  # [1]
    e: Array  # [W]
    v: Array  # [W]
    f: Array  # [R]
    g: Array  # [2] allocation gate, write gate
    pi: Array  # [R, 3], empty without links
    mask_r: Array  # [R, W], empty without masks
    mask_w: Array  # [1, W], empty without masks


# ------------------------------------------------------------------------------------------------- vector arithmetic


def _exp(x):
    """e^x; in float32 by a polynomial that vectorises, to one unit in the last place."""
    raise NotImplementedError


@overload(_exp, jit_options={"fastmath": {"contract"}})
def _exp_of(x):
    if x != types.float32:
        return lambda x: math.exp(x)
    lowest, highest, one = np.float32(-87.0), np.float32(88.0), np.float32(1.0)
    log2_e, ln2_high, ln2_low = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
    rounder, exponent_of_rounder = np.float32(12582912.0), np.int32(0x4B400000 - 127)
    a2, a3, a4 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2)
    a5, a6, a7 = np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)

    def impl(x):
        # x = n ln 2 + y, |y| <= ln 2 / 2;  e^x = 2^n (1 + y + y^2 P(y)), P as in Cephes' expf
        x = lowest if x < lowest else x
        x = highest if x > highest else x
        shifted = x * log2_e + rounder
        n = shifted - rounder
        y = (x - n * ln2_high) - n * ln2_low
        p = ((((a7 * y + a6) * y + a5) * y + a4) * y + a3) * y + a2
        exponent = np.int32((np.float32(shifted).view(np.int32) - exponent_of_rounder) << np.int32(23))
        return (p * y * y + y + one) * exponent.view(np.float32)

    return impl


@njit(fastmath=FAST, error_model="numpy")
def _sigmoid(x):
    for j in range(x.shape[0]):
        x[j] = x.dtype.type(1) / (x.dtype.type(1) + _exp(-x[j]))


@njit(fastmath=FAST, error_model="numpy")
def _tanh(x, out):
    # tanh x = 2 sigmoid(2x) - 1
    one, two = x.dtype.type(1), x.dtype.type(2)
    for j in range(x.shape[0]):
        out[j] = two / (one + _exp(-two * x[j])) - one


@njit(fastmath={"reassoc", "nsz", "nnan"})
def _largest(x):
    largest = x[0]
    for j in range(x.shape[0]):
        largest = x[j] if x[j] > largest else largest
    return largest


@njit(fastmath=FAST, error_model="numpy")
def _softmax(x, strength, out):
    # out = softmax(strength x)
    largest, total = _largest(x), x.dtype.type(0)
    for j in range(x.shape[0]):
        out[j] = _exp(strength * (x[j] - largest))
    for j in range(x.shape[0]):
        total += out[j]
    scale = x.dtype.type(1) / total
    for j in range(x.shape[0]):
        out[j] *= scale


@njit(fastmath=FAST)
def _dot(a, b):
    total = a.dtype.type(0)
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@njit
def _fill(out, value):
    for j in range(out.shape[0]):
        out[j] = value


@njit
def _fill_rows(out, value):
    for i in range(out.shape[0]):
        _fill(out[i], value)


@njit
def _copy(a, out):
    for j in range(out.shape[0]):
        out[j] = a[j]


@njit(fastmath=FAST)
def _add_scaled(out, scale, a):
    # out += scale a
    for j in range(out.shape[0]):
        out[j] += scale * a[j]


@njit(fastmath=FAST)
def _add_rows(out, scale, A):
    # out_j += sum_n scale_n A_nj
    n_rows, four = A.shape[0], A.shape[0] // 4 * 4
    for n in range(0, four, 4):
        A0, A1, A2, A3 = A[n], A[n + 1], A[n + 2], A[n + 3]
        s0, s1, s2, s3 = scale[n], scale[n + 1], scale[n + 2], scale[n + 3]
        for j in range(out.shape[0]):
            out[j] += (s0 * A0[j] + s1 * A1[j]) + (s2 * A2[j] + s3 * A3[j])
    for n in range(four, n_rows):
        _add_scaled(out, scale[n], A[n])


@njit(fastmath=FAST)
def _add_products(out, A, C, first=0):
    # out_mn += sum_j A_mj C_n,first+j: two rows of A by four of C at a time
    zero = A.dtype.type(0)
    rows, columns, depth = A.shape[0], C.shape[0], A.shape[1]
    two, four, last = rows // 2 * 2, columns // 4 * 4, first + A.shape[1]
    for n in range(0, four, 4):
        C0, C1, C2, C3 = C[n, first:last], C[n + 1, first:last], C[n + 2, first:last], C[n + 3, first:last]
        for m in range(0, two, 2):
            A0, A1 = A[m], A[m + 1]
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
            for j in range(depth):
                a0, a1 = A0[j], A1[j]
                s00 += a0 * C0[j]
                s01 += a0 * C1[j]
                s02 += a0 * C2[j]
                s03 += a0 * C3[j]
                s10 += a1 * C0[j]
                s11 += a1 * C1[j]
                s12 += a1 * C2[j]
                s13 += a1 * C3[j]
            out[m, n] += s00
            out[m, n + 1] += s01
            out[m, n + 2] += s02
            out[m, n + 3] += s03
            out[m + 1, n] += s10
            out[m + 1, n + 1] += s11
            out[m + 1, n + 2] += s12
            out[m + 1, n + 3] += s13
        for m in range(two, rows):
            A0 = A[m]
            s00 = s01 = s02 = s03 = zero
            for j in range(depth):
                a0 = A0[j]
                s00 += a0 * C0[j]
                s01 += a0 * C1[j]
                s02 += a0 * C2[j]
                s03 += a0 * C3[j]
            out[m, n] += s00
            out[m, n + 1] += s01
            out[m, n + 2] += s02
            out[m, n + 3] += s03
    for n in range(four, columns):
        for m in range(rows):
            out[m, n] += _dot(A[m], C[n, first:last])


# ----------------------------------------------------------------------------------------------- layer norm and views


@njit(fastmath=FAST, error_model="numpy")
def _layer_norm(x, scale, shift, eps, hat, out):
    # hat = (x - mean) rstd;  out = scale hat + shift. Returns rstd
    one, size = x.dtype.type(1), x.dtype.type(x.shape[0])
    mean, variance = x.dtype.type(0), x.dtype.type(0)
    for j in range(x.shape[0]):
        mean += x[j]
    mean /= size
    for j in range(x.shape[0]):
        variance += (x[j] - mean) * (x[j] - mean)
    rstd = one / np.sqrt(variance / size + eps)
    for j in range(x.shape[0]):
        hat[j] = (x[j] - mean) * rstd
    for j in range(x.shape[0]):
        out[j] = scale[j] * hat[j] + shift[j]
    return rstd


@njit(fastmath=FAST, error_model="numpy")
def _layer_norm_backward(d_out, scale, hat, rstd, d_x):
    # d_x = rstd (d_hat - mean d_hat - hat mean(d_hat hat))
    size, mean, mean_hat = hat.dtype.type(hat.shape[0]), hat.dtype.type(0), hat.dtype.type(0)
    for j in range(hat.shape[0]):
        mean += d_out[j] * scale[j]
        mean_hat += d_out[j] * scale[j] * hat[j]
    mean /= size
    mean_hat /= size
    for j in range(hat.shape[0]):
        d_x[j] = rstd * (d_out[j] * scale[j] - mean - hat[j] * mean_hat)


@njit
def _bank_at(bank, s, b):
    return Bank(bank.M[s, b], bank.u[s, b], bank.p[s, b], bank.L[s, b], bank.w_w[s, b], bank.w_r[s, b])


@njit
def _record_at(record, s, b):
    return BankRecord(
        record.xi[s, b],
        record.psi[s, b],
        record.prefix[s, b],
        record.c_w[s, b],
        record.s_w[s, b],
        record.m_w[s, b],
        record.c_r[s, b],
        record.s_r[s, b],
        record.m_r[s, b],
        record.f[s, b],
        record.b[s, b],
    )


@njit
def _cut(xi, R, W, options):
    # k_r | beta_r | k_w | beta_w | e | v | f | g_a | g_w | pi | masks
    i = R * W
    k_r, beta_r = xi[:i].reshape(R, W), xi[i : i + R]
    i += R
    k_w, beta_w = xi[i : i + W].reshape(1, W), xi[i + W : i + W + 1]
    i += W + 1
    e, v, f, g = (
        xi[i : i + W],
        xi[i + W : i + 2 * W],
        xi[i + 2 * W : i + 2 * W + R],
        xi[i + 2 * W + R : i + 2 * W + R + 2],
    )
    i += 2 * W + R + 2
    modes = R if options.links else 0
    pi = xi[i : i + 3 * modes].reshape(modes, 3)
    i += 3 * modes
    masks, mask = (R, 1) if options.masking else (0, 0)
    mask_r = xi[i : i + masks * W].reshape(masks, W)
    i += masks * W
    mask_w = xi[i : i + mask * W].reshape(mask, W)
    return Interface(k_r, beta_r, k_w, beta_w, e, v, f, g, pi, mask_r, mask_w)


# ---------------------------------------------------------------------------------------------------------- forward


@njit(fastmath=FAST, error_model="numpy")
def _oneplus(x, bias):
    # 1 + log(1 + e^(x + bias))
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for j in range(x.shape[0]):
        z = x[j] + bias
        x[j] = one + max(z, zero) + x.dtype.type(math.log1p(math.exp(-abs(z))))


@njit(fastmath=FAST)
def _into_range(xi, constants):
    """Bring every part of the raw interface into its range, in place."""
    one = xi.e.dtype.type(1)
    _oneplus(xi.beta_r, constants.strength_bias)
    _oneplus(xi.beta_w, constants.strength_bias)
    _sigmoid(xi.e)
    _sigmoid(xi.f)
    _sigmoid(xi.g)
    for i in range(xi.pi.shape[0]):
        _softmax(xi.pi[i], one, xi.pi[i])
    for masks in (xi.mask_r, xi.mask_w):
        for i in range(masks.shape[0]):
            mask = masks[i]
            _sigmoid(mask)
            for d in range(mask.shape[0]):
                mask[d] = constants.mask_floor + (one - constants.mask_floor) * mask[d]


@njit(fastmath=FAST, error_model="numpy")
def _query(k, mask, query, eps):
    """query = m^2 k. Returns 1 / |m k|."""
    total, one = k.dtype.type(0), k.dtype.type(1)
    if mask.shape[0] == 0:
        for d in range(k.shape[0]):
            query[d] = k[d]
    else:
        for d in range(k.shape[0]):
            query[d] = k[d] * mask[d] * mask[d]
    for d in range(k.shape[0]):
        total += k[d] * query[d]
    return one / np.sqrt(total + eps)


@njit(fastmath=FAST, error_model="numpy")
def _inverse_norms(M, mask, eps, m):
    """m_n = 1 / |mask M_n|."""
    one = M.dtype.type(1)
    for n in range(M.shape[0]):
        total, row = M.dtype.type(0), M[n]
        if mask.shape[0] == 0:
            for d in range(row.shape[0]):
                total += row[d] * row[d]
        else:
            for d in range(row.shape[0]):
                total += row[d] * row[d] * mask[d] * mask[d]
        m[n] = total + eps
    for n in range(M.shape[0]):
        m[n] = one / np.sqrt(m[n])


@njit(fastmath=FAST)
def _mask_of(masks, i, none):
    return masks[i] if masks.shape[0] > 0 else none


@njit(fastmath=FAST)
def _content(M, k, masks, beta, eps, query, s, m, c):
    # c_i = softmax(beta_i s_i),  s_i = cos(m_i k_i, m_i M)
    none = M[0, :0]
    _fill_rows(s, M.dtype.type(0))
    for j in range(m.shape[0]):
        _inverse_norms(M, _mask_of(masks, j, none), eps, m[j])
    inverse = np.empty(k.shape[0], M.dtype)
    for i in range(k.shape[0]):
        inverse[i] = _query(k[i], _mask_of(masks, i, none), query[i], eps)
    _add_products(s, query[: k.shape[0]], M)
    for i in range(k.shape[0]):
        norms, s_i = m[min(i, m.shape[0] - 1)], s[i]
        for n in range(M.shape[0]):
            s_i[n] *= inverse[i] * norms[n]
        _softmax(s_i, beta[i], c[i])


@njit(error_model="numpy")
def _usage(f, before, psi, u):
    # No fused operations: usages are ordered, and the reference rounds every product.
    one = u.dtype.type(1)
    # 1. psi = prod_i (1 - f_i w_r,i[t-1])
    _fill(psi, one)
    for i in range(f.shape[0]):
        w_r = before.w_r[i]
        for n in range(u.shape[0]):
            psi[n] *= one - f[i] * w_r[n]
    # 2. u = (u + w_w - u w_w) psi, with last step's u and w_w
    u_tm1, w_tm1 = before.u, before.w_w
    for n in range(u.shape[0]):
        u[n] = (u_tm1[n] + w_tm1[n]) - u_tm1[n] * w_tm1[n]
    for n in range(u.shape[0]):
        u[n] *= psi[n]


@njit(fastmath=FAST, error_model="numpy")
def _order(u, constants, clamped, rank):
    # Slots are taken by usage, rounded to 2^-16, then by index: rank is unique and sorts alike.
    one, size = u.dtype.type(1), np.int32(u.shape[0])
    for n in range(u.shape[0]):
        clamped[n] = min(max(u[n], constants.usage_eps), one)
    for n in range(u.shape[0]):
        rank[n] = np.int32(np.rint(clamped[n] * constants.usage_levels)) * size + np.int32(n)


@njit(fastmath=FAST)
def _freer_product(clamped, rank, prefix):
    # prefix_n = prod of u_j over the slots j that are freer than n
    one = clamped.dtype.type(1)
    for n in range(clamped.shape[0]):
        product, rank_n = one, rank[n]
        for j in range(clamped.shape[0]):
            product *= clamped[j] if rank[j] < rank_n else one
        prefix[n] = product


@njit(fastmath=FAST)
def _write(before, after, psi, e, v, deallocation):
    # 5. M = M[t-1] (1 - w_w e^T) + w_w v^T;  with de-allocation M[t-1] is scaled by psi first
    one = v.dtype.type(1)
    for n in range(after.M.shape[0]):
        M_tm1, M, w = before.M[n], after.M[n], after.w_w[n]
        keep = psi[n] if deallocation else one
        for d in range(v.shape[0]):
            M[d] = keep * M_tm1[d] * (one - w * e[d]) + w * v[d]


@njit(fastmath=FAST)
def _link(L_tm1, p_tm1, w, n, L):
    # L_nm = (1 - w_n - w_m) L_nm[t-1] + w_n p_m[t-1], L_nn = 0
    rest, w_n = w.dtype.type(1) - w[n], w[n]
    for m in range(w.shape[0]):
        L[m] = (rest - w[m]) * L_tm1[m] + w_n * p_tm1[m]
    L[n] = w.dtype.type(0)


@njit(fastmath=FAST)
def _links(before, after, f, b):
    N, zero = after.w_w.shape[0], f.dtype.type(0)
    _fill_rows(f, zero)
    _fill_rows(b, zero)
    for n in range(0, N, ROWS):
        end = min(n + ROWS, N)
        # 6. L, row by row
        for i in range(n, end):
            _link(before.L[i], before.p, after.w_w, i, after.L[i])
        # 8. f_i = L w_r,i[t-1];  b_i = L^T w_r,i[t-1]
        rows = after.L[n:end]
        _add_products(f[:, n:end], before.w_r, rows)
        for i in range(f.shape[0]):
            _add_rows(b[i], before.w_r[i, n:end], rows)
    # 7. p = (1 - sum w_w) p + w_w
    total = zero
    for n in range(N):
        total += after.w_w[n]
    for n in range(N):
        after.p[n] = before.p[n] - total * before.p[n]
    for n in range(N):
        after.p[n] += after.w_w[n]


@njit(fastmath=FAST)
def _step(before, after, xi, record, constants, options, query, rank, clamped, reads):
    """One memory step of one sequence: reads [R, W] and the bank after it."""
    N, R = after.w_w.shape[0], after.w_r.shape[0]
    one = clamped.dtype.type(1)
    # 1, 2. psi, u
    _usage(xi.f, before, record.psi, after.u)
    # 3. a[phi_j] = (1 - u[phi_j]) prod_{i<j} u[phi_i]
    _order(after.u, constants, clamped, rank)
    _freer_product(clamped, rank, record.prefix)
    # 4. c_w = softmax(beta_w cos(k_w, M[t-1]));  w_w = g_w (g_a a + (1 - g_a) c_w)
    _content(
        before.M,
        xi.k_w,
        xi.mask_w,
        xi.beta_w,
        constants.cosine_eps,
        query,
        record.s_w,
        record.m_w,
        record.c_w,
    )
    g_a, g_w, c_w, prefix = xi.g[0], xi.g[1], record.c_w[0], record.prefix
    for n in range(N):
        after.w_w[n] = g_w * (g_a * (one - clamped[n]) * prefix[n] + (one - g_a) * c_w[n])
    # 5. M
    _write(before, after, record.psi, xi.e, xi.v, options.deallocation)
    # 9. c_r,i = softmax(beta_r,i cos(k_r,i, M)) on the new M
    _content(
        after.M, xi.k_r, xi.mask_r, xi.beta_r, constants.cosine_eps, query, record.s_r, record.m_r, record.c_r
    )
    if options.links:
        _links(before, after, record.f, record.b)
    # w_r,i = pi_1 b_i + pi_2 c_r,i + pi_3 f_i;  r_i = M^T w_r,i
    _fill_rows(reads, one - one)
    for i in range(R):
        w_r, c = after.w_r[i], record.c_r[i]
        if options.links:
            b, f = record.b[i], record.f[i]
            pi_1, pi_2, pi_3 = xi.pi[i, 0], xi.pi[i, 1], xi.pi[i, 2]
            for n in range(N):
                w_r[n] = pi_1 * b[n] + pi_2 * c[n] + pi_3 * f[n]
        else:
            _copy(c, w_r)
        _add_rows(reads[i], w_r, after.M)


@njit(fastmath=FAST, error_model="numpy")
def _lstm(gates, c_tm1, c, tanh_c, h):
    # i, f, g, o;  c = sigmoid(f) c[t-1] + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c)
    H = h.shape[0]
    i, f, g, o = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
    _sigmoid(gates[: 2 * H])
    _tanh(g, g)
    _sigmoid(o)
    for j in range(H):
        c[j] = f[j] * c_tm1[j] + i[j] * g[j]
    _tanh(c, tanh_c)
    for j in range(H):
        h[j] = o[j] * tanh_c[j]


@njit(fastmath=FAST, cache=True, nogil=True)
def forward_block(
    block, x, start, weights, controller, initial, zero, bank, lstm, record, y, constants, options
):
    """All T steps of the BLOCK sequences from block * BLOCK on.

    Reads x [T, B, I], start [T, B], the weights and the initial bank [1, B, ...] (zero is a bank [1, 1, ...] of
    zeros). Slot 0 of controller holds h, c and r before the first step. Writes y [T, B, H + R*W], controller, bank
    and both records; those with fewer than T steps are written in turn, the last step staying.
    """
    (T, B), I, (N, W), R = start.shape, x.shape[2], initial.M.shape[2:], initial.w_r.shape[2]
    H, steps, slots = lstm.o.shape[2], bank.M.shape[0], controller.h.shape[0]
    begin, end = block * BLOCK, min((block + 1) * BLOCK, B)
    query, reads = np.empty((R, W), x.dtype), np.empty((R, W), x.dtype)
    rank, clamped = np.empty(N, np.int32), np.empty(N, x.dtype)
    flat, none = reads.reshape(R * W), x.dtype.type(0)
    fresh = _bank_at(zero, 0, 0)
    for t in range(T):
        # Slots of what is known before and after step t (a training pass keeps all, acting only the last).
        s_tm1, s_t, s = t % slots, (t + 1) % slots, t % lstm.o.shape[0]
        for b in range(begin, end):
            if start[t, b]:
                _fill(controller.h[s_tm1, b], none)
                _fill(controller.c[s_tm1, b], none)
                _fill(controller.r[s_tm1, b], none)
        # h, c = LSTM([x ; r[t-1]], (h[t-1], c[t-1]));  o = norm(h)
        gates, o, xi = lstm.gates[s, begin:end], lstm.o[s, begin:end], record.xi[s, begin:end]
        for b in range(end - begin):
            _copy(weights.bias, gates[b])
            _copy(weights.interface_bias, xi[b])
        _add_products(gates, x[t, begin:end], weights.weight_ih)
        _add_products(gates, controller.r[s_tm1, begin:end], weights.weight_ih, I)
        _add_products(gates, controller.h[s_tm1, begin:end], weights.weight_hh)
        for b in range(begin, end):
            h = controller.h[s_t, b]
            _lstm(lstm.gates[s, b], controller.c[s_tm1, b], controller.c[s_t, b], lstm.tanh_c[s, b], h)
            if options.layer_norm:
                lstm.o_rstd[s, b] = _layer_norm(
                    h, weights.o_scale, weights.o_shift, constants.norm_eps, lstm.o_hat[s, b], lstm.o[s, b]
                )
            else:
                _copy(h, lstm.o[s, b])
            _copy(lstm.o[s, b], y[t, b, :H])
        # xi = W_xi o + b_xi
        _add_products(xi, o, weights.interface)
        for b in range(begin, end):
            if start[t, b]:
                before = fresh
            elif t == 0:
                before = _bank_at(initial, 0, b)
            else:
                before = _bank_at(bank, (t - 1) % steps, b)
            parts, after, saved = (
                _cut(record.xi[s, b], R, W, options),
                _bank_at(bank, t % steps, b),
                _record_at(record, s, b),
            )
            _into_range(parts, constants)
            _step(before, after, parts, saved, constants, options, query, rank, clamped, reads)
            # 10. y = [o ; r], r = norm(reads)
            r = controller.r[s_t, b]
            if options.layer_norm:
                lstm.r_rstd[s, b] = _layer_norm(
                    flat, weights.r_scale, weights.r_shift, constants.norm_eps, lstm.r_hat[s, b], r
                )
            else:
                _copy(flat, r)
            _copy(r, y[t, b, H:])


# --------------------------------------------------------------------------------------------------------- backward


@njit(fastmath=FAST, error_model="numpy")
def _softmax_backward(c, d_c, strength, x, d_x):
    # c = softmax(strength x): d_x = strength c (d_c - c . d_c). Returns the gradient by the strength
    total, d_strength = _dot(c, d_c), c.dtype.type(0)
    for n in range(c.shape[0]):
        d_x[n] = c[n] * (d_c[n] - total)
    for n in range(c.shape[0]):
        d_strength += d_x[n] * x[n]
    for n in range(c.shape[0]):
        d_x[n] *= strength
    return d_strength


@njit(fastmath=FAST, error_model="numpy")
def _sigmoid_backward(s, d):
    one = s.dtype.type(1)
    for j in range(s.shape[0]):
        d[j] *= s[j] * (one - s[j])


@njit(fastmath=FAST, error_model="numpy")
def _oneplus_backward(beta, d):
    # beta = 1 + log(1 + e^z): d beta / dz = 1 - e^(1 - beta)
    for j in range(beta.shape[0]):
        d[j] *= -beta.dtype.type(math.expm1(beta.dtype.type(1) - beta[j]))


@njit(fastmath=FAST, error_model="numpy")
def _out_of_range(xi, d_xi, constants):
    """From the gradient by the parts in their ranges to that by the raw interface, in place."""
    one = xi.e.dtype.type(1)
    _oneplus_backward(xi.beta_r, d_xi.beta_r)
    _oneplus_backward(xi.beta_w, d_xi.beta_w)
    _sigmoid_backward(xi.e, d_xi.e)
    _sigmoid_backward(xi.f, d_xi.f)
    _sigmoid_backward(xi.g, d_xi.g)
    for i in range(xi.pi.shape[0]):
        _softmax_backward(xi.pi[i], d_xi.pi[i], one, xi.pi[i], d_xi.pi[i])
    for mask, d_mask in ((xi.mask_r, d_xi.mask_r), (xi.mask_w, d_xi.mask_w)):
        for i in range(mask.shape[0]):
            for d in range(mask.shape[1]):
                # mask = floor + (1 - floor) s
                s = (mask[i, d] - constants.mask_floor) / (one - constants.mask_floor)
                d_mask[i, d] *= (one - constants.mask_floor) * s * (one - s)


@njit(fastmath=FAST, error_model="numpy")
def _content_backward(M, k, masks, beta, eps, s, m, c, d_c, query, pull, d_M, d_k, d_masks, d_beta):
    """Gradients of c_i = softmax(beta_i cos(m_i k_i, m_i M)) from d_c [K, N], which is overwritten.

    Adds to d_M; sets d_k, d_masks and d_beta.
    """
    none, zero, K = M[0, :0], M.dtype.type(0), k.shape[0]
    back = np.empty((K, M.shape[0]), M.dtype)
    for i in range(K):
        s_i, d_s, norms, k_i, d_k_i = s[i], d_c[i], m[min(i, m.shape[0] - 1)], k[i], d_k[i]
        mask = _mask_of(masks, i, none)
        inverse = _query(k_i, mask, query[i], eps)
        d_beta[i] = _softmax_backward(c[i], d_s, beta[i], s_i, d_s)
        # s = m^2 k . M_n / (|m k| |m M_n|):  ds/dM_n = pull m^2 k - back m^2 M_n
        total = _dot(d_s, s_i)
        for n in range(M.shape[0]):
            pull[i, n] = d_s[n] * inverse * norms[n]
        for n in range(M.shape[0]):
            back[i, n] = -d_s[n] * s_i[n] * norms[n] * norms[n]
        # A = sum_n pull_n M_n;  ds/dk = m^2 (A - |m k|^-2 s k)
        _fill(d_k_i, zero)
        _add_rows(d_k_i, pull[i], M)
        shrink = total * inverse * inverse
        if masks.shape[0] > 0:
            # ds/dm = m (2 k A - |m k|^-2 s k^2 + sum_n back_n M_n^2)
            d_mask = d_masks[i]
            _fill(d_mask, zero)
            for n in range(M.shape[0]):
                row = M[n]
                for d in range(row.shape[0]):
                    d_mask[d] += back[i, n] * row[d] * row[d]
                    d_M[n, d] += back[i, n] * row[d] * mask[d] * mask[d]
            for d in range(k_i.shape[0]):
                d_mask[d] = mask[d] * (k_i[d] * (d_k_i[d] + d_k_i[d] - shrink * k_i[d]) + d_mask[d])
            for d in range(k_i.shape[0]):
                d_k_i[d] = mask[d] * mask[d] * (d_k_i[d] - shrink * k_i[d])
        else:
            _add_scaled(d_k_i, -shrink, k_i)
            if i > 0:
                _add_scaled(back[0], M.dtype.type(1), back[i])
    for n in range(M.shape[0]):
        _add_rows(d_M[n], pull[:, n], query[:K])
        if masks.shape[0] == 0:
            _add_scaled(d_M[n], back[0, n], M[n])


@njit(fastmath=FAST)
def _link_backward(L_tm1, p_tm1, w, n, d_L, difference):
    # Returns sum_m dL_nm (p_m[t-1] - L_nm[t-1]), and turns dL into the gradient by L[t-1]
    total, rest = w.dtype.type(0), w.dtype.type(1) - w[n]
    for m in range(w.shape[0]):
        total += d_L[m] * (p_tm1[m] - L_tm1[m])
    for m in range(w.shape[0]):
        difference[m] -= L_tm1[m] * d_L[m]
    for m in range(w.shape[0]):
        d_L[m] *= rest - w[m]
    return total


@njit(fastmath=FAST)
def _links_backward(before, after, d_f, d_b, d_bank, d_w, d_w_r_tm1, L, d_p_tm1):
    """Gradients of 6, 7 and 8 from d_f, d_b [R, N], d_bank.L and d_bank.p, which become those of t-1.

    Adds to d_w; sets d_w_r_tm1. L [ROWS, N] and d_p_tm1 [N] are scratch.
    """
    N, zero = after.w_w.shape[0], d_w.dtype.type(0)
    w, d_p = after.w_w, d_bank.p
    # 7. p = (1 - sum w_w) p[t-1] + w_w
    total, along = zero, _dot(d_p, before.p)
    for n in range(N):
        total += w[n]
    for n in range(N):
        d_w[n] += d_p[n] - along
    for n in range(N):
        d_p_tm1[n] = d_p[n] - total * d_p[n]
    for begin in range(0, N, ROWS):
        end = min(begin + ROWS, N)
        rows, d_rows = L[: end - begin], d_bank.L[begin:end]
        for n in range(begin, end):
            # L again from L[t-1], instead of keeping both in cache
            _link(before.L[n], before.p, w, n, L[n - begin])
            # 8. f_i = L w_r,i[t-1];  b_i = L^T w_r,i[t-1]
            _add_rows(d_bank.L[n], d_f[:, n], before.w_r)
            _add_rows(d_bank.L[n], before.w_r[:, n], d_b)
            d_bank.L[n, n] = zero
        for i in range(d_f.shape[0]):
            _add_rows(d_w_r_tm1[i], d_f[i, begin:end], rows)
        _add_products(d_w_r_tm1[:, begin:end], d_b, rows)
        # 6. L_nm = (1 - w_n - w_m) L_nm[t-1] + w_n p_m[t-1]
        _add_rows(d_p_tm1, w[begin:end], d_rows)
        for n in range(begin, end):
            along = _link_backward(before.L[n], before.p, w, n, d_bank.L[n], d_w)
            d_w[n] += along
    _copy(d_p_tm1, d_p)


@njit(fastmath=FAST)
def _write_backward(before, w, psi, e, v, deallocation, d_M, d_w, d_psi, d_e, d_v):
    """Gradients of 5; d_M becomes that of M[t-1]. Adds to d_w; sets d_psi, d_e and d_v."""
    one, zero = v.dtype.type(1), v.dtype.type(0)
    _fill(d_e, zero)
    _fill(d_v, zero)
    _fill(d_psi, zero)
    for n in range(w.shape[0]):
        # M = psi M[t-1] (1 - w e^T) + w v^T  (psi only with de-allocation)
        M_tm1, d_row, w_n, total = before.M[n], d_M[n], w[n], zero
        keep = psi[n] if deallocation else one
        for d in range(v.shape[0]):
            total += d_row[d] * (v[d] - keep * M_tm1[d] * e[d])
        d_w[n] += total
        for d in range(v.shape[0]):
            d_e[d] -= w_n * keep * M_tm1[d] * d_row[d]
        _add_scaled(d_v, w_n, d_row)
        for d in range(v.shape[0]):
            d_row[d] *= one - w_n * e[d]
        if deallocation:
            d_psi[n] = _dot(d_row, M_tm1)
            for d in range(v.shape[0]):
                d_row[d] *= keep


@njit(fastmath=FAST, error_model="numpy")
def _allocation_backward(u, clamped, rank, prefix, d_a, constants, d_u):
    """Adds the gradient of a_n = (1 - u_n) prod of the freer u_j to d_u; d_a is overwritten."""
    one, zero = u.dtype.type(1), u.dtype.type(0)
    for j in range(u.shape[0]):
        if u[j] >= constants.usage_eps and u[j] <= one:
            d_u[j] -= d_a[j] * prefix[j]
    for n in range(u.shape[0]):
        d_a[n] *= (one - clamped[n]) * prefix[n]
    for j in range(u.shape[0]):
        total, rank_j = zero, rank[j]
        for n in range(u.shape[0]):
            total += d_a[n] if rank[n] > rank_j else zero
        if u[j] >= constants.usage_eps and u[j] <= one:
            d_u[j] += total / clamped[j]


@njit(fastmath=FAST)
def _usage_backward(before, f, psi, d_psi, d_u, d_bank, d_w_r_tm1, d_f):
    """Gradients of 1 and 2 from d_u; d_bank.u and d_bank.w_w become those of t-1; adds to d_w_r_tm1."""
    one = d_u.dtype.type(1)
    u_tm1, w_tm1 = before.u, before.w_w
    # 2. u = (u + w_w - u w_w) psi
    for n in range(d_u.shape[0]):
        d_psi[n] += d_u[n] * (u_tm1[n] + w_tm1[n] - u_tm1[n] * w_tm1[n])
    for n in range(d_u.shape[0]):
        d_u[n] *= psi[n]
    for n in range(d_u.shape[0]):
        d_bank.w_w[n] = d_u[n] * (one - u_tm1[n])
    for n in range(d_u.shape[0]):
        d_u[n] *= one - w_tm1[n]
    # 1. psi = prod_i (1 - f_i w_r,i[t-1])
    others = np.empty_like(d_psi)
    for i in range(f.shape[0]):
        _copy(d_psi, others)
        for j in range(f.shape[0]):
            if j != i:
                w_r = before.w_r[j]
                for n in range(others.shape[0]):
                    others[n] *= one - f[j] * w_r[n]
        d_f[i] = -_dot(others, before.w_r[i])
        _add_scaled(d_w_r_tm1[i], -f[i], others)


@njit(fastmath=FAST)
def _step_backward(before, after, xi, record, d_bank, d_xi, d_reads, constants, options, scratch):
    """The gradients of one memory step, from those of its reads and of the bank after it.

    d_bank becomes the gradient by the bank before; d_xi is set to that by the raw interface.
    """
    R, N = after.w_r.shape
    zero, one = xi.e.dtype.type(0), xi.e.dtype.type(1)
    clamped, rank, query, pull, d_c, d_f, d_b, d_w, d_psi, L, d_w_r_tm1, d_p_tm1 = scratch
    d_w_r, eps = d_bank.w_r, constants.cosine_eps
    # 9. r_i = M^T w_r,i
    _add_products(d_w_r, d_reads, after.M)
    for n in range(N):
        _add_rows(d_bank.M[n], after.w_r[:, n], d_reads)
    # w_r,i = pi_1 b_i + pi_2 c_r,i + pi_3 f_i
    for i in range(R):
        d_c_i, d_w_r_i = d_c[i], d_w_r[i]
        if options.links:
            pi, d_pi = xi.pi[i], d_xi.pi[i]
            d_pi[0], d_pi[1], d_pi[2] = (
                _dot(d_w_r_i, record.b[i]),
                _dot(d_w_r_i, record.c_r[i]),
                _dot(d_w_r_i, record.f[i]),
            )
            d_b_i, d_f_i, pi_1, pi_2, pi_3 = d_b[i], d_f[i], pi[0], pi[1], pi[2]
            for n in range(N):
                d_b_i[n] = pi_1 * d_w_r_i[n]
            for n in range(N):
                d_c_i[n] = pi_2 * d_w_r_i[n]
            for n in range(N):
                d_f_i[n] = pi_3 * d_w_r_i[n]
        else:
            _copy(d_w_r_i, d_c_i)
    # c_r,i = softmax(beta_r,i cos(k_r,i, M)) on the new M
    _content_backward(
        after.M, xi.k_r, xi.mask_r, xi.beta_r, eps, record.s_r, record.m_r, record.c_r,
        d_c, query, pull, d_bank.M, d_xi.k_r, d_xi.mask_r, d_xi.beta_r,
    )  # fmt: skip
    # 6, 7, 8. L, p, f, b
    _copy(d_bank.w_w, d_w)
    _fill_rows(d_w_r_tm1, zero)
    if options.links:
        _links_backward(before, after, d_f, d_b, d_bank, d_w, d_w_r_tm1, L, d_p_tm1)
    # 5. M
    _write_backward(
        before, after.w_w, record.psi, xi.e, xi.v, options.deallocation, d_bank.M, d_w, d_psi, d_xi.e, d_xi.v
    )
    # 4. w_w = g_w (g_a a + (1 - g_a) c_w)
    _order(after.u, constants, clamped, rank)
    g_a, g_w, c_w, prefix, d_a, d_c_w = xi.g[0], xi.g[1], record.c_w[0], record.prefix, d_p_tm1, d_c[0]
    along_a, along_c = zero, _dot(d_w, c_w)
    for n in range(N):
        along_a += d_w[n] * (one - clamped[n]) * prefix[n]
    d_xi.g[0] = g_w * (along_a - along_c)
    d_xi.g[1] = g_a * along_a + (one - g_a) * along_c
    for n in range(N):
        d_a[n] = g_w * g_a * d_w[n]
    for n in range(N):
        d_c_w[n] = g_w * (one - g_a) * d_w[n]
    # c_w = softmax(beta_w cos(k_w, M[t-1]))
    _content_backward(
        before.M, xi.k_w, xi.mask_w, xi.beta_w, eps, record.s_w, record.m_w, record.c_w,
        d_c[:1], query, pull, d_bank.M, d_xi.k_w, d_xi.mask_w, d_xi.beta_w,
    )  # fmt: skip
    # 3. a;  1, 2. psi, u
    _allocation_backward(after.u, clamped, rank, prefix, d_a, constants, d_bank.u)
    _usage_backward(before, xi.f, record.psi, d_psi, d_bank.u, d_bank, d_w_r_tm1, d_xi.f)
    for i in range(R):
        _copy(d_w_r_tm1[i], d_w_r[i])
    _out_of_range(xi, d_xi, constants)


@njit(fastmath=FAST, error_model="numpy")
def _lstm_backward(gates, c_tm1, tanh_c, d_h, d_c, d_gates):
    """Gradients of one LSTM cell; d_c becomes that of c[t-1], d_gates is that by the gates' sums."""
    H, one = d_h.shape[0], d_h.dtype.type(1)
    i, f, g, o = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
    d_i, d_f, d_g, d_o = d_gates[:H], d_gates[H : 2 * H], d_gates[2 * H : 3 * H], d_gates[3 * H :]
    # h = o tanh c
    for j in range(H):
        d_o[j] = d_h[j] * tanh_c[j] * o[j] * (one - o[j])
    for j in range(H):
        d_c[j] += d_h[j] * o[j] * (one - tanh_c[j] * tanh_c[j])
    # c = f c[t-1] + i g
    for j in range(H):
        d_i[j] = d_c[j] * g[j] * i[j] * (one - i[j])
    for j in range(H):
        d_f[j] = d_c[j] * c_tm1[j] * f[j] * (one - f[j])
    for j in range(H):
        d_g[j] = d_c[j] * i[j] * (one - g[j] * g[j])
    for j in range(H):
        d_c[j] *= f[j]


@njit(fastmath=FAST, cache=True, nogil=True)
def backward_block(
    block, start, d_y, weights, controller, initial, zero, bank, lstm, record, d_state, d_bank, d_steps, constants,
    options,
):  # fmt: skip
    """The gradients of all T steps of the BLOCK sequences from block * BLOCK on, the last step first.

    d_state [1, B, ...] and d_bank [1, B, ...] hold the gradients by the state after the last step and become those
    by the state before the first. weights are transposed: weight_ih [R*W, 4H] (the reads' columns), weight_hh
    [H, 4H], interface [H, S]. Writes d_steps.
    """
    (T, B), (N, W), R, H = start.shape, initial.M.shape[2:], initial.w_r.shape[2], lstm.o.shape[2]
    begin, end = block * BLOCK, min((block + 1) * BLOCK, B)
    dtype, none = weights.bias.dtype, weights.bias.dtype.type(0)
    scratch = (
        np.empty(N, dtype), np.empty(N, np.int32), np.empty((R, W), dtype), np.empty((R, N), dtype),
        np.empty((R, N), dtype), np.empty((R, N), dtype), np.empty((R, N), dtype), np.empty(N, dtype),
        np.empty(N, dtype), np.empty((ROWS, N), dtype), np.empty((R, N), dtype), np.empty(N, dtype),
    )  # fmt: skip
    d_reads, d_h = np.empty((R, W), dtype), np.empty(H, dtype)
    flat = d_reads.reshape(R * W)
    fresh = _bank_at(zero, 0, 0)
    for t in range(T - 1, -1, -1):
        d_xi, d_o, d_gates = d_steps.xi[t, begin:end], d_steps.o[t, begin:end], d_steps.gates[t, begin:end]
        for b in range(begin, end):
            if start[t, b]:
                before = fresh
            elif t == 0:
                before = _bank_at(initial, 0, b)
            else:
                before = _bank_at(bank, t - 1, b)
            # 10. y = [o ; r], r = norm(reads)
            d_r = d_steps.r[t, b]
            _copy(d_state.r[0, b], d_r)
            _add_scaled(d_r, d_r.dtype.type(1), d_y[t, b, H:])
            if options.layer_norm:
                _layer_norm_backward(d_r, weights.r_scale, lstm.r_hat[t, b], lstm.r_rstd[t, b], flat)
            else:
                _copy(d_r, flat)
            _step_backward(
                before, _bank_at(bank, t, b), _cut(record.xi[t, b], R, W, options), _record_at(record, t, b),
                _bank_at(d_bank, 0, b), _cut(d_steps.xi[t, b], R, W, options), d_reads, constants, options, scratch,
            )  # fmt: skip
        # xi = W_xi o + b_xi;  o = norm(h)
        for b in range(begin, end):
            _copy(d_y[t, b, :H], d_steps.o[t, b])
        _add_products(d_o, d_xi, weights.interface)
        for b in range(begin, end):
            if options.layer_norm:
                _layer_norm_backward(
                    d_steps.o[t, b], weights.o_scale, lstm.o_hat[t, b], lstm.o_rstd[t, b], d_h
                )
            else:
                _copy(d_steps.o[t, b], d_h)
            _add_scaled(d_h, d_h.dtype.type(1), d_state.h[0, b])
            _lstm_backward(
                lstm.gates[t, b],
                controller.c[t, b],
                lstm.tanh_c[t, b],
                d_h,
                d_state.c[0, b],
                d_steps.gates[t, b],
            )
        # [r[t-1] ; h[t-1]]
        _fill_rows(d_state.r[0, begin:end], none)
        _fill_rows(d_state.h[0, begin:end], none)
        _add_products(d_state.r[0, begin:end], d_gates, weights.weight_ih)
        _add_products(d_state.h[0, begin:end], d_gates, weights.weight_hh)
        for b in range(begin, end):
            if start[t, b]:
                for d in (d_state.h, d_state.c, d_state.r, d_bank.u, d_bank.p, d_bank.w_w):
                    _fill(d[0, b], none)
                for d in (d_bank.M, d_bank.L, d_bank.w_r):
                    _fill_rows(d[0, b], none)
