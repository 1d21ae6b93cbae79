"""Pieces of a step that several kernels share. A tensor of theirs is a vector or matrix of one sequence.

Sizes are filled up to powers of two: `n` runs over slots, `d` over columns of M, `i` over read heads, and what is
loaded beyond the true size is zero. Every exponent is at most zero, so that nothing overflows.
"""

import triton
import triton.language as tl

from memagent.memory.gpu.records import Record, Tape


@triton.jit
def sigmoid(x):
    """1 / (1 + e^-x)."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, e) / (1.0 + e)


@triton.jit
def tanh(x):
    """Hyperbolic tangent."""
    e = tl.exp(-2.0 * tl.abs(x))
    return tl.where(x >= 0, 1.0, -1.0) * (1.0 - e) / (1.0 + e)


@triton.jit
def oneplus(x):
    """1 + log(1 + e^x)."""
    return 1.0 + tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def oneplus_derivative(x):
    """1 + log(1 + e^x) and its derivative."""
    return oneplus(x), sigmoid(x)


@triton.jit
def product(
    left, weights, rows: tl.constexpr, stride: tl.constexpr, size: tl.constexpr, height: tl.constexpr
):
    """The vector [rows] behind a pointer times the matrix [rows, stride] behind another, filled up to size."""
    column = tl.arange(0, size)
    total = tl.zeros([height, size], weights.dtype.element_ty)
    for first in range(0, rows, height):
        row = first + tl.arange(0, height)
        values = vector(left, row, rows)
        total += values[:, None] * matrix(weights, row, column, rows, stride)
    return tl.sum(total, 0)


@triton.jit
def matrix(pointer, row, column, rows, columns):
    """The matrix [rows, columns] behind a pointer."""
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    return tl.load(pointer + row[:, None] * columns + column[None, :], inside, 0.0)


@triton.jit
def store_matrix(pointer, row, column, rows, columns, values):
    """Write the matrix [rows, columns] behind a pointer."""
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    tl.store(pointer + row[:, None] * columns + column[None, :], values, inside)


@triton.jit
def vector(pointer, n, size):
    """The vector [size] behind a pointer."""
    return tl.load(pointer + n, n < size, 0.0)


@triton.jit
def store_vector(pointer, n, size, values):
    """Write the vector [size] behind a pointer."""
    tl.store(pointer + n, values, n < size)


@triton.jit
def state_at(tape, slot, s: tl.constexpr):
    """The pointers of one sequence's state in the tape, which has a slot for each step and sequence."""
    slot = slot.to(tl.int64)
    return Tape(
        v=tape.v + slot * (s.R * s.W + s.H),
        c=tape.c + slot * s.H,
        M=tape.M + slot * (s.N * s.W),
        u=tape.u + slot * s.N,
        p=tape.p + slot * s.N,
        L=tape.L + slot * (s.N * s.N),
        w_w=tape.w_w + slot * s.N,
        w_r=tape.w_r + slot * (s.R * s.N),
    )


@triton.jit
def slot_before(start, t, b, B, slots):
    """Where the tape has the state that step t of sequence b begins with: the zeros behind all slots, at a start."""
    return tl.where(tl.load(start + t * B + b) != 0, slots * B, t % slots * B + b)


@triton.jit
def record_at(record, slot, s: tl.constexpr):
    """The pointers of one step of one sequence in the record."""
    slot = slot.to(tl.int64)
    heads = slot * (s.R * s.N)
    return Record(
        gates=record.gates + slot * (4 * s.H),
        xi=record.xi + slot * s.S,
        prefix=record.prefix + slot * s.N,
        s_w=record.s_w + slot * s.N,
        c_w=record.c_w + slot * s.N,
        s_r=record.s_r + heads,
        c_r=record.c_r + heads,
        b=record.b + heads,
        f=record.f + heads,
        reads=record.reads + slot * (s.R * s.W),
    )


@triton.jit
def layer_norm(x, inside, size: tl.constexpr, eps: tl.constexpr):
    """x less its mean over its spread, and one over its spread. Zero outside."""
    x = tl.where(inside, x, 0.0)
    centred = tl.where(inside, x - tl.sum(x) / size, 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred) / size + eps)
    return centred * inverse, inverse


@triton.jit
def layer_norm_backward(d_hat, hat, inverse, inside, size: tl.constexpr):
    """The gradient by x of a layer norm, from that by its value before scale and shift."""
    along, mean = tl.sum(d_hat * hat) / size, tl.sum(d_hat) / size
    return tl.where(inside, (d_hat - mean - hat * along) * inverse, 0.0)


@triton.jit
def retention(before, step, s: tl.constexpr):
    """psi = prod_i (1 - f_i w_r,i[t-1]) of every slot."""
    R: tl.constexpr = s.R
    N_2: tl.constexpr = s.N_2
    n = tl.arange(0, N_2)
    psi = tl.full([N_2], 1.0, before.u.dtype.element_ty)
    for i in tl.static_range(R):
        psi *= 1.0 - sigmoid(tl.load(step.xi + s.free_gates + i)) * vector(before.w_r + i * s.N, n, s.N)
    return psi


@triton.jit
def order(usage, n, s: tl.constexpr):
    """Where slot n comes in the order of usages, rounded, then of slots: whole numbers to compare."""
    rounded = (usage * s.usage_levels + s.to_integer) - s.to_integer
    return rounded.to(tl.int32) * s.N + n


@triton.jit
def clamped(usage, n, s: tl.constexpr):
    """The usage that allocation sees; 1 beyond the last slot."""
    return tl.where(n < s.N, tl.minimum(tl.maximum(usage, s.usage_eps), 1.0), 1.0)


@triton.jit
def masks(xi, place: tl.constexpr, k, d, heads: tl.constexpr, s: tl.constexpr):
    """The key masks of k heads at a place of the interface, their sigmoids too."""
    gate = sigmoid(matrix(xi + place, k, d, heads, s.W))
    return s.mask_floor + (1.0 - s.mask_floor) * gate, gate


@triton.jit
def inverse_norms(M, mask, s: tl.constexpr):
    """1 / |m_i M_n|: [K, N], or [1, N] without masks."""
    squares = M * M
    squares = (
        tl.sum((mask * mask)[:, None, :] * squares[None, :, :], 2)
        if s.masking
        else tl.sum(squares, 1)[None, :]
    )
    return 1.0 / tl.sqrt(squares + s.cosine_eps)


@triton.jit
def content_weights(M, key, mask, strength, s: tl.constexpr):
    """c_i = softmax(beta_i cos(m_i k_i, m_i M)) and the cosines: [K, N] each, from M [N, W] and K keys."""
    query = key * mask * mask if s.masking else key
    inverse_key = 1.0 / tl.sqrt(tl.sum(key * query, 1) + s.cosine_eps)
    cosine = tl.sum(query[:, None, :] * M[None, :, :], 2) * inverse_key[:, None] * inverse_norms(M, mask, s)
    N_2: tl.constexpr = s.N_2
    inside = (tl.arange(0, N_2) < s.N)[None, :]
    logits = tl.where(inside, strength[:, None] * cosine, float("-inf"))
    power = tl.exp(logits - tl.max(logits, 1)[:, None])
    return power / tl.sum(power, 1)[:, None], cosine


@triton.jit
def modes(raw, i, heads: tl.constexpr):
    """Softmax of the read modes of every head, each a vector over heads."""
    a, b, c = (
        tl.load(raw + 3 * i, i < heads, 0.0),
        tl.load(raw + 3 * i + 1, i < heads, 0.0),
        tl.load(raw + 3 * i + 2, i < heads, 0.0),
    )
    highest = tl.maximum(a, tl.maximum(b, c))
    a, b, c = tl.exp(a - highest), tl.exp(b - highest), tl.exp(c - highest)
    total = a + b + c
    return a / total, b / total, c / total
