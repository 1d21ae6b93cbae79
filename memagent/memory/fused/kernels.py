"""The fused DNC on the CPU: all T steps of a few sequences in one compiled loop, forward and backward.

The equations are in `step_controller`, `step_forward` and `step_backward`. Sequences do not touch each other, so what
is computed here is the same to the bit however many threads share them.

M and L are most of a state. A training pass keeps them before every SEGMENT-th step alone, and replays a segment
when the backward pass comes to it: what is replayed is still in the cache when it is read.
"""

import hashlib
from pathlib import Path

from memagent.memory.fused import (
    arithmetic,
    lanes,
    products,
    records,
    step_backward,
    step_content_backward,
    step_controller,
    step_forward,
    step_links,
)
from memagent.memory.fused.arithmetic import (
    FAST,
    add_scaled,
    copy,
    fill,
    fill_rows,
    kernel,
    layer_norm,
    layer_norm_backward,
)
from memagent.memory.fused.records import Bank, BankRecord, Scratch
from memagent.memory.fused.step_backward import step_backward as memory_step_backward
from memagent.memory.fused.step_controller import controller_step, controller_step_backward
from memagent.memory.fused.step_forward import cut, write
from memagent.memory.fused.step_forward import step as memory_step
from memagent.memory.fused.step_links import link_rows

SEGMENT = 8
"""Steps between two kept M and L."""


@kernel()
def content_slot(t, slots):
    """Where M and L after step t are: the first two slots in turn, the others before steps SEGMENT, 2 SEGMENT, …"""
    kept = 1 + (t + 1) // SEGMENT
    if (t + 1) % SEGMENT == 0 and kept < slots:
        return kept
    return t % min(slots, 2)


@kernel()
def _bank_at(content, k, bank, s, b):
    return Bank(content.M[k, b], bank.u[s, b], bank.p[s, b], content.L[k, b], bank.w_w[s, b], bank.w_r[s, b])


@kernel()
def _record_at(r, s, b):
    return BankRecord(
        r.xi[s, b], r.psi[s, b], r.prefix[s, b], r.c_w[s, b], r.s_w[s, b], r.m_w[s, b],
        r.c_r[s, b], r.s_r[s, b], r.m_r[s, b], r.f[s, b], r.b[s, b],
    )  # fmt: skip


@kernel()
def _scratch_of(s, b):
    return Scratch(
        s.clamped[b], s.rank[b], s.query[b], s.pull[b], s.back[b], s.shrink[b], s.reads[b], s.d_b[b], s.d_c[b],
        s.d_f[b], s.d_w_r[b], s.d_w[b], s.d_p[b], s.d_a[b], s.d_psi[b], s.d_h[b], s.d_r[b], s.d_o[b],
        s.w_r[b], s.f[b], s.b[b],
    )  # fmt: skip


@kernel()
def _before(t, b, first, start, fresh, initial, bank, replay):
    # The bank before step t of the segment that begins at step first.
    if start[t, b]:
        return fresh
    if t == 0:
        return _bank_at(initial, 0, initial, 0, b)
    if t == first:
        return _bank_at(bank, content_slot(t - 1, bank.M.shape[0]), bank, t - 1, b)
    return _bank_at(replay, t - 1 - first, bank, t - 1, b)


@kernel(fastmath=FAST)
def _replay(first, end, b, start, fresh, initial, bank, record, replay, R, W, options):
    # M and L after every step of a segment, from those before it and from what the forward pass wrote down.
    for t in range(first, end):
        before, after = (
            _before(t, b, first, start, fresh, initial, bank, replay),
            _bank_at(replay, t - first, bank, t, b),
        )
        xi = cut(record.xi[t, b], R, W, options)
        write(before.M, after.w_w, record.psi[t, b], xi.e, xi.v, options.deallocation, after.M)
        if options.links and t + 1 < end:
            link_rows(before.L, before.p, after.w_w, after.L)


@kernel()
def _forget(d_state, d_bank, b, zero):
    # A sequence starts here: nothing before it has a gradient.
    for d in (d_state.h, d_state.c, d_state.r, d_bank.u, d_bank.p, d_bank.w_w):
        fill(d[0, b], zero)
    for d in (d_bank.M, d_bank.L, d_bank.w_r):
        fill_rows(d[0, b], zero)


def _forward_entry(digest: str):
    @kernel(fastmath=FAST, cache=True, nogil=True)
    def forward_span(
        begin, end, x, start, weights, controller, initial, zero, bank, lstm, record, scratches, y, constants, options,
    ):  # fmt: skip
        """All T steps of sequences begin to end.

        Reads x [T, B, I], start [T, B], the weights and the initial bank [1, B, ...] (zero is a bank [1, 1, ...] of
        zeros). Slot 0 of controller holds h, c and r before the first step. Writes y [T, B, H + R*W], controller,
        bank and both records; those with fewer than T steps are written in turn, the last step staying.
        """
        digest  # noqa: B018 - closed over, so that the cache on disk sees an edit of the other files
        T, W, R, H = start.shape[0], initial.M.shape[3], initial.w_r.shape[2], lstm.o.shape[2]
        steps, slots = bank.u.shape[0], bank.M.shape[0]
        scratch, fresh = _scratch_of(scratches, begin), _bank_at(zero, 0, zero, 0, 0)
        reads = scratch.reads.reshape(R * W)
        for t in range(T):
            controller_step(
                t, begin, end, x, start, weights, controller, lstm, record.xi, y, constants, options
            )
            s, s_t = t % lstm.o.shape[0], (t + 1) % controller.h.shape[0]
            for b in range(begin, end):
                if start[t, b]:
                    before = fresh
                elif t == 0:
                    before = _bank_at(initial, 0, initial, 0, b)
                else:
                    before = _bank_at(bank, content_slot(t - 1, slots), bank, (t - 1) % steps, b)
                after = _bank_at(bank, content_slot(t, slots), bank, t % steps, b)
                saved = _record_at(record, s, b)
                memory_step(before, after, cut(saved.xi, R, W, options), saved, constants, options, scratch)
                # 10. y = [o ; r], r = norm(reads)
                r = controller.r[s_t, b]
                if options.layer_norm:
                    scale, shift, eps = weights.r_scale, weights.r_shift, constants.norm_eps
                    lstm.r_rstd[s, b] = layer_norm(reads, scale, shift, eps, lstm.r_hat[s, b], r)
                else:
                    copy(reads, r)
                copy(r, y[t, b, H:])

    return forward_span


def _backward_entry(digest: str):
    @kernel(fastmath=FAST, cache=True, nogil=True)
    def backward_span(
        begin, end, start, d_y, weights, controller, initial, zero, bank, lstm, record, replay, scratches, d_state,
        d_bank, d_steps, d_vectors, constants, options,
    ):  # fmt: skip
        """The gradients of all T steps of sequences begin to end, the last step first.

        d_state and d_bank [1, B, ...] hold the gradients by the state after the last step and become those by the
        state before the first. weights are transposed: weight_ih [R*W, 4H] (the reads' columns), weight_hh [H, 4H],
        interface [H, S]. Writes d_steps, adds to d_vectors, and writes M and L of one segment after another to replay
        [SEGMENT, B, ...].
        """
        digest  # noqa: B018 - closed over, as above
        T, W, R, H = start.shape[0], initial.M.shape[3], initial.w_r.shape[2], lstm.o.shape[2]
        one, first = weights.bias.dtype.type(1), T
        scratch, fresh = _scratch_of(scratches, begin), _bank_at(zero, 0, zero, 0, 0)
        d_reads, d_r, d_o = scratch.reads.reshape(R * W), scratch.d_r, scratches.d_o[begin:end]
        for t in range(T - 1, -1, -1):
            if t < first:
                first = t // SEGMENT * SEGMENT
                for b in range(begin, end):
                    _replay(first, t + 1, b, start, fresh, initial, bank, record, replay, R, W, options)
            for b in range(begin, end):
                # 10. y = [o ; r], r = norm(reads)
                copy(d_state.r[0, b], d_r)
                add_scaled(d_r, one, d_y[t, b, H:])
                if options.layer_norm:
                    scale, d_scale, d_shift = weights.r_scale, d_vectors.r_scale[b], d_vectors.r_shift[b]
                    layer_norm_backward(
                        d_r, scale, lstm.r_hat[t, b], lstm.r_rstd[t, b], d_reads, d_scale, d_shift
                    )
                else:
                    copy(d_r, d_reads)
                before = _before(t, b, first, start, fresh, initial, bank, replay)
                after, d_bank_b = _bank_at(replay, t - first, bank, t, b), _bank_at(d_bank, 0, d_bank, 0, b)
                saved, d_xi = _record_at(record, t, b), cut(d_steps.xi[t, b], R, W, options)
                xi = cut(saved.xi, R, W, options)
                memory_step_backward(before, after, xi, saved, d_bank_b, d_xi, constants, options, scratch)
            controller_step_backward(
                t,
                begin,
                end,
                d_y,
                weights,
                controller,
                lstm,
                d_state,
                d_steps,
                d_vectors,
                options,
                d_o,
                scratch.d_h,
            )
            for b in range(begin, end):
                if start[t, b]:
                    _forget(d_state, d_bank, b, one - one)

    return backward_span


COMPILED_FILES = tuple(
    str(m.__file__)
    for m in (
        *(records, lanes, products, arithmetic, step_controller),
        *(step_links, step_forward, step_content_backward, step_backward),
    )
)
"""The files whose functions and layouts are compiled into the entries."""

_digest = hashlib.sha256(b"".join(Path(file).read_bytes() for file in COMPILED_FILES)).hexdigest()
forward_span, backward_span = _forward_entry(_digest), _backward_entry(_digest)
