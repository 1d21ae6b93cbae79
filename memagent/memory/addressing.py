"""The DNC's addressing: pure functions of tensors, one per equation, in the order of a step.

Equations are those of Graves et al. 2016, "Hybrid computing using a neural network with dynamic external memory",
Nature 538, Methods. Leading dimension B is the batch; N slots, W slot width, K heads (R of them read). Everything is
differentiable twice and works under `torch.func` (no in-place writes, no cumprod, no data-dependent branch).
"""

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

COSINE_EPS = 1e-6
"""Added to the sum of squares under the root of a norm: cos of a zero row has a 0/0 second derivative without."""
USAGE_EPS = 1e-6
"""Least usage the allocation sees: log 0 has no derivative."""
USAGE_LEVELS = 2.0**16
"""Usages are ordered in steps of 2^-16, so that one step's rounding errors seldom decide between near-ties. They may
where a usage lies at the edge between two steps, and more often as they add up: two precisions, or two backends, may
take slots in different orders after some forty steps."""
MASK_FLOOR = 0.1
"""Least value of a key mask."""


def oneplus(x: Tensor) -> Tensor:
    """1 + log(1 + e^x), in [1, inf)."""
    return 1.0 + F.softplus(x)


def retention(free_gates: Tensor, read_weights: Tensor) -> Tensor:
    """How much of each slot the read heads leave in use. [B, R], [B, R, N] (of t-1) -> [B, N]."""
    # psi = prod_i (1 - f_i w_r,i[t-1])
    return reduce(torch.mul, (1.0 - free_gates.unsqueeze(-1) * read_weights).unbind(1))


def usage(usage_tm1: Tensor, write_weights_tm1: Tensor, psi: Tensor) -> Tensor:
    """Which slots hold something, in [0, 1]. Three times [B, N] -> [B, N]."""
    # u = (u[t-1] + w_w[t-1] - u[t-1] w_w[t-1]) psi
    return (usage_tm1 + write_weights_tm1 - usage_tm1 * write_weights_tm1) * psi


def allocation(usage_t: Tensor) -> Tensor:
    """Write weights that favour unused slots; they sum to 1 - prod u. [B, N] -> [B, N].

    Slots are taken by usage, rounded to 2^-16, then by index. The order is a constant to the derivative.
    """
    u = usage_t.clamp(USAGE_EPS, 1.0)
    phi = (u.detach() * USAGE_LEVELS).round().argsort(dim=-1, stable=True)
    u_sorted = u.gather(-1, phi)
    # a[phi_j] = (1 - u[phi_j]) prod_{i<j} u[phi_i], the product as a sum of logarithms
    log_before = F.pad(u_sorted.log()[..., :-1], (1, 0)).cumsum(-1)
    return torch.zeros_like(u).scatter(-1, phi, (1.0 - u_sorted) * log_before.exp())


def content_weights(memory: Tensor, keys: Tensor, strengths: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax over slots of the cosine between key and slot. [B, N, W], [B, K, W], [B, K] -> [B, K, N].

    With a mask [B, K, W] both sides are multiplied by it first (Csordás & Schmidhuber 2019).
    """
    if mask is None:
        squares = (memory * memory).sum(-1).unsqueeze(1)  # [B, 1, N]
        key_squares, queries = keys * keys, keys
    else:
        # |m M_i|^2 and (m k) . (m M_i) without a [B, K, N, W] product
        squares = (mask * mask) @ (memory * memory).transpose(1, 2)  # [B, K, N]
        key_squares, queries = (keys * mask) ** 2, keys * mask * mask
    norms = (key_squares.sum(-1, keepdim=True) + COSINE_EPS).sqrt() * (squares + COSINE_EPS).sqrt()
    # c = softmax(beta cos(k, M))
    return F.softmax(strengths.unsqueeze(-1) * (queries @ memory.transpose(1, 2)) / norms, dim=-1)


def write_weights(write_gate: Tensor, allocation_gate: Tensor, allocated: Tensor, content: Tensor) -> Tensor:
    """Where the write goes; sums to at most g_w. [B, 1], [B, 1], [B, N], [B, N] -> [B, N]."""
    # w_w = g_w (g_a a + (1 - g_a) c_w)
    return write_gate * (allocation_gate * allocated + (1.0 - allocation_gate) * content)


def erase_and_write(memory_tm1: Tensor, write_weights_t: Tensor, erase: Tensor, vector: Tensor) -> Tensor:
    """The new memory. [B, N, W], [B, N], [B, W], [B, W] -> [B, N, W]."""
    w, e, v = write_weights_t.unsqueeze(-1), erase.unsqueeze(1), vector.unsqueeze(1)
    # M = M[t-1] (1 - w_w e^T) + w_w v^T
    return torch.baddbmm(memory_tm1 * (1.0 - w @ e), w, v)


def links(links_tm1: Tensor, precedence_tm1: Tensor, write_weights_t: Tensor) -> Tensor:
    """L_ij: to what degree slot i was written right after slot j. [B, N, N], [B, N], [B, N] -> [B, N, N]."""
    w_i, w_j, p_j = write_weights_t.unsqueeze(2), write_weights_t.unsqueeze(1), precedence_tm1.unsqueeze(1)
    off_diagonal = 1.0 - torch.eye(w_i.shape[1], dtype=w_i.dtype, device=w_i.device)
    # L_ij = (1 - w_i - w_j) L_ij[t-1] + w_i p_j[t-1], L_ii = 0. Outer products as matrix products and signs on
    # vectors spare the backward several passes over N x N.
    return torch.baddbmm(((1.0 - w_i) + (-w_j)) * links_tm1, w_i, p_j) * off_diagonal


def precedence(precedence_tm1: Tensor, write_weights_t: Tensor) -> Tensor:
    """To what degree each slot was the last one written. [B, N], [B, N] -> [B, N]."""
    # p = (1 - sum w_w) p[t-1] + w_w
    return (1.0 - write_weights_t.sum(-1, keepdim=True)) * precedence_tm1 + write_weights_t


def sharpen(weights: Tensor, sharpness: Tensor) -> Tensor:
    """Weights to a power, normalised; a row of zeros stays zero. [B, R, N], [B, R] (>= 1) -> [B, R, N].

    Csordás & Schmidhuber 2019, with the row divided by its maximum first.
    """
    # S(d, s)_i = d_i^s / sum_j d_j^s; d^s as exp(s log d) off zero, whose derivatives are finite
    ratio = weights / (weights.amax(-1, keepdim=True) + COSINE_EPS)
    positive = ratio > 0.0
    powers = (sharpness.unsqueeze(-1) * torch.where(positive, ratio, 1.0).log()).exp()
    powers = torch.where(positive, powers, 0.0)
    return powers / (powers.sum(-1, keepdim=True) + COSINE_EPS)


def read_weights(modes: Tensor, backward: Tensor, content: Tensor, forward: Tensor) -> Tensor:
    """Where the heads read. [B, R, 3] and three times [B, R, N] -> [B, R, N]."""
    pi_1, pi_2, pi_3 = modes.unsqueeze(-1).unbind(2)
    # w_r,i = pi_1 b_i + pi_2 c_r,i + pi_3 f_i
    return pi_1 * backward + pi_2 * content + pi_3 * forward
