"""The fused DNC on the CPU: all T steps of a block of sequences in one compiled loop, forward and backward.

A block of BLOCK sequences runs all its steps on one thread. BLOCK does not follow the number of threads, so neither
do the results: they are the same to the bit. The equations are in `step_forward` and `step_backward`; here is the
controller around them.
"""

import hashlib
from pathlib import Path

import numpy as np
from numba import njit

from memagent.memory import records, step_backward, step_forward, vectors
from memagent.memory.records import Bank, BankRecord, Scratch
from memagent.memory.step_backward import step_backward as memory_step_backward
from memagent.memory.step_forward import ROWS, cut
from memagent.memory.step_forward import step as memory_step
from memagent.memory.vectors import (
    FAST,
    add_products,
    add_scaled,
    copy,
    fill,
    fill_rows,
    layer_norm,
    layer_norm_backward,
    sigmoid,
    tanh,
)

BLOCK = 8
"""Sequences that share one read of the weights."""


@njit
def _bank_at(bank, s, b):
    return Bank(bank.M[s, b], bank.u[s, b], bank.p[s, b], bank.L[s, b], bank.w_w[s, b], bank.w_r[s, b])


@njit
def _record_at(r, s, b):
    return BankRecord(
        r.xi[s, b], r.psi[s, b], r.prefix[s, b], r.c_w[s, b], r.s_w[s, b], r.m_w[s, b],
        r.c_r[s, b], r.s_r[s, b], r.m_r[s, b], r.f[s, b], r.b[s, b],
    )  # fmt: skip


@njit
def _scratch(N, W, R, H, dtype):
    return Scratch(
        clamped=np.empty(N, dtype),
        rank=np.empty(N, np.int32),
        query=np.empty((R, W), dtype),
        pull=np.empty((R, N), dtype),
        back=np.empty((R, N), dtype),
        shrink=np.empty(R, dtype),
        rows=np.empty((ROWS, N), dtype),
        reads=np.empty((R, W), dtype),
        d_b=np.empty((R, N), dtype),
        d_c=np.empty((R, N), dtype),
        d_f=np.empty((R, N), dtype),
        d_w_r=np.empty((R, N), dtype),
        d_w=np.empty((1, N), dtype),
        d_p=np.empty((1, N), dtype),
        d_a=np.empty(N, dtype),
        d_psi=np.empty(N, dtype),
        d_h=np.empty(H, dtype),
    )


@njit(fastmath=FAST, error_model="numpy")
def _lstm(gates, c_tm1, c, tanh_c, h):
    # i, f, g, o;  c = sigmoid(f) c[t-1] + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c)
    H = h.shape[0]
    i, f, g, o = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
    sigmoid(gates[: 2 * H])
    sigmoid(o)
    for j in range(H):
        g[j] = tanh(g[j])
    for j in range(H):
        c[j] = f[j] * c_tm1[j] + i[j] * g[j]
    for j in range(H):
        tanh_c[j] = tanh(c[j])
    for j in range(H):
        h[j] = o[j] * tanh_c[j]


@njit(fastmath=FAST)
def _lstm_backward(gates, c_tm1, tanh_c, d_h, d_c, d_gates):
    # d_c becomes the gradient by c[t-1]; d_gates is set to that by the gates before their functions.
    H, one = d_h.shape[0], d_h.dtype.type(1)
    i, f, g, o = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
    d_i, d_f, d_g, d_o = (d_gates[:H], d_gates[H : 2 * H], d_gates[2 * H : 3 * H], d_gates[3 * H :])
    for j in range(H):
        d_o[j] = d_h[j] * tanh_c[j] * o[j] * (one - o[j])
    for j in range(H):
        d_c[j] += d_h[j] * o[j] * (one - tanh_c[j] * tanh_c[j])
    for j in range(H):
        d_i[j] = d_c[j] * g[j] * i[j] * (one - i[j])
    for j in range(H):
        d_f[j] = d_c[j] * c_tm1[j] * f[j] * (one - f[j])
    for j in range(H):
        d_g[j] = d_c[j] * i[j] * (one - g[j] * g[j])
    for j in range(H):
        d_c[j] *= f[j]


@njit(fastmath=FAST)
def _controller(t, begin, end, x, start, weights, controller, lstm, xi, y, constants, options):
    """h, c = LSTM([x ; r[t-1]], (h[t-1], c[t-1])), o = norm(h), xi = W_xi o + b_xi of one step of a block."""
    slots, s, H, zero = (controller.h.shape[0], t % lstm.o.shape[0], lstm.o.shape[2], x.dtype.type(0))
    s_tm1, s_t = t % slots, (t + 1) % slots
    gates, o = lstm.gates[s, begin:end], lstm.o[s, begin:end]
    for b in range(begin, end):
        if start[t, b]:
            fill(controller.h[s_tm1, b], zero)
            fill(controller.c[s_tm1, b], zero)
            fill(controller.r[s_tm1, b], zero)
        copy(weights.bias, lstm.gates[s, b])
        copy(weights.interface_bias, xi[s, b])
    add_products(gates, x[t, begin:end], weights.weight_ih)
    add_products(gates, controller.r[s_tm1, begin:end], weights.weight_ih, x.shape[2])
    add_products(gates, controller.h[s_tm1, begin:end], weights.weight_hh)
    for b in range(begin, end):
        h = controller.h[s_t, b]
        _lstm(lstm.gates[s, b], controller.c[s_tm1, b], controller.c[s_t, b], lstm.tanh_c[s, b], h)
        if options.layer_norm:
            scale, shift, eps = weights.o_scale, weights.o_shift, constants.norm_eps
            lstm.o_rstd[s, b] = layer_norm(h, scale, shift, eps, lstm.o_hat[s, b], lstm.o[s, b])
        else:
            copy(h, lstm.o[s, b])
        copy(lstm.o[s, b], y[t, b, :H])
    add_products(xi[s, begin:end], o, weights.interface)


@njit(fastmath=FAST)
def _controller_backward(
    t, begin, end, start, d_y, weights, controller, lstm, d_state, d_steps, options, d_h
):
    """From the gradients by xi, y and the state after step t of a block to those by o, the gates, h, c and r before."""
    H, zero, one = lstm.o.shape[2], d_h.dtype.type(0), d_h.dtype.type(1)
    for b in range(begin, end):
        copy(d_y[t, b, :H], d_steps.o[t, b])
    add_products(d_steps.o[t, begin:end], d_steps.xi[t, begin:end], weights.interface)
    for b in range(begin, end):
        if options.layer_norm:
            layer_norm_backward(d_steps.o[t, b], weights.o_scale, lstm.o_hat[t, b], lstm.o_rstd[t, b], d_h)
        else:
            copy(d_steps.o[t, b], d_h)
        add_scaled(d_h, one, d_state.h[0, b])
        _lstm_backward(
            lstm.gates[t, b], controller.c[t, b], lstm.tanh_c[t, b], d_h, d_state.c[0, b], d_steps.gates[t, b]
        )
    fill_rows(d_state.r[0, begin:end], zero)
    fill_rows(d_state.h[0, begin:end], zero)
    add_products(d_state.r[0, begin:end], d_steps.gates[t, begin:end], weights.weight_ih)
    add_products(d_state.h[0, begin:end], d_steps.gates[t, begin:end], weights.weight_hh)


@njit
def _forget(d_state, d_bank, b, zero):
    # A sequence starts here: nothing before it has a gradient.
    for d in (d_state.h, d_state.c, d_state.r, d_bank.u, d_bank.p, d_bank.w_w):
        fill(d[0, b], zero)
    for d in (d_bank.M, d_bank.L, d_bank.w_r):
        fill_rows(d[0, b], zero)


def _forward_entry(digest: str):
    @njit(fastmath=FAST, cache=True, nogil=True)
    def forward_block(
        block, x, start, weights, controller, initial, zero, bank, lstm, record, y, constants, options
    ):
        """All T steps of the BLOCK sequences from block * BLOCK on.

        Reads x [T, B, I], start [T, B], the weights and the initial bank [1, B, ...] (zero is a bank [1, 1, ...] of
        zeros). Slot 0 of controller holds h, c and r before the first step. Writes y [T, B, H + R*W], controller,
        bank and both records; those with fewer than T steps are written in turn, the last step staying.
        """
        digest  # noqa: B018 - closed over, so that the cache on disk sees an edit of the other files
        (T, B), (N, W), R, H = (start.shape, initial.M.shape[2:], initial.w_r.shape[2], lstm.o.shape[2])
        begin, end = block * BLOCK, min((block + 1) * BLOCK, B)
        steps, slots = bank.M.shape[0], controller.h.shape[0]
        scratch, fresh = _scratch(N, W, R, H, x.dtype), _bank_at(zero, 0, 0)
        reads = scratch.reads.reshape(R * W)
        for t in range(T):
            _controller(t, begin, end, x, start, weights, controller, lstm, record.xi, y, constants, options)
            s, s_t = t % lstm.o.shape[0], (t + 1) % slots
            for b in range(begin, end):
                if start[t, b]:
                    before = fresh
                elif t == 0:
                    before = _bank_at(initial, 0, b)
                else:
                    before = _bank_at(bank, (t - 1) % steps, b)
                after, saved = _bank_at(bank, t % steps, b), _record_at(record, s, b)
                memory_step(before, after, cut(saved.xi, R, W, options), saved, constants, options, scratch)
                # 10. y = [o ; r], r = norm(reads)
                r = controller.r[s_t, b]
                if options.layer_norm:
                    scale, shift, eps = (weights.r_scale, weights.r_shift, constants.norm_eps)
                    lstm.r_rstd[s, b] = layer_norm(reads, scale, shift, eps, lstm.r_hat[s, b], r)
                else:
                    copy(reads, r)
                copy(r, y[t, b, H:])

    return forward_block


def _backward_entry(digest: str):
    @njit(fastmath=FAST, cache=True, nogil=True)
    def backward_block(
        block, start, d_y, weights, controller, initial, zero, bank, lstm, record, d_state, d_bank, d_steps, constants,
        options,
    ):  # fmt: skip
        """The gradients of all T steps of the BLOCK sequences from block * BLOCK on, the last step first.

        d_state and d_bank [1, B, ...] hold the gradients by the state after the last step and become those by the
        state before the first. weights are transposed: weight_ih [R*W, 4H] (the reads' columns), weight_hh [H, 4H],
        interface [H, S]. Writes d_steps.
        """
        digest  # noqa: B018 - closed over, as above
        (T, B), (N, W), R, H = (start.shape, initial.M.shape[2:], initial.w_r.shape[2], lstm.o.shape[2])
        begin, end, one = (block * BLOCK, min((block + 1) * BLOCK, B), weights.bias.dtype.type(1))
        scratch, fresh = _scratch(N, W, R, H, weights.bias.dtype), _bank_at(zero, 0, 0)
        d_reads = scratch.reads.reshape(R * W)
        for t in range(T - 1, -1, -1):
            for b in range(begin, end):
                if start[t, b]:
                    before = fresh
                elif t == 0:
                    before = _bank_at(initial, 0, b)
                else:
                    before = _bank_at(bank, t - 1, b)
                # 10. y = [o ; r], r = norm(reads)
                d_r = d_steps.r[t, b]
                copy(d_state.r[0, b], d_r)
                add_scaled(d_r, one, d_y[t, b, H:])
                if options.layer_norm:
                    layer_norm_backward(d_r, weights.r_scale, lstm.r_hat[t, b], lstm.r_rstd[t, b], d_reads)
                else:
                    copy(d_r, d_reads)
                after, saved, d_bank_b = (
                    _bank_at(bank, t, b),
                    _record_at(record, t, b),
                    _bank_at(d_bank, 0, b),
                )
                xi, d_xi = (cut(saved.xi, R, W, options), cut(d_steps.xi[t, b], R, W, options))
                memory_step_backward(before, after, xi, saved, d_bank_b, d_xi, constants, options, scratch)
            _controller_backward(
                t, begin, end, start, d_y, weights, controller, lstm, d_state, d_steps, options, scratch.d_h
            )
            for b in range(begin, end):
                if start[t, b]:
                    _forget(d_state, d_bank, b, one - one)

    return backward_block


COMPILED_FILES = (records.__file__, vectors.__file__, step_forward.__file__, step_backward.__file__)
"""The files whose functions and layouts are compiled into the two entries."""

_digest = hashlib.sha256(b"".join(Path(file).read_bytes() for file in COMPILED_FILES)).hexdigest()
forward_block, backward_block = _forward_entry(_digest), _backward_entry(_digest)
