"""The inner loop of `ContextModel` on the CPU, compiled, with its derivative.

`MetaLearner.adapt` is the reference: it dispatches hundreds of small operations a step, forward and backward, and
differentiates a gradient. Here both are written out for the dynamics model's own loss; one call does all steps of all
tasks, on the rows that count alone. Symbols are those of `memagent.dynamics`; `d_x` is the derivative of the support
loss with respect to x, `x_bar` that of the outer loss.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from envs.compiling import compiled
from memagent.dynamics import BETA, LOG_VAR, LOG_VAR_RANGE, DynamicsModel
from memagent.meta import MetaConfig

Array = NDArray[Any]
INFINITE = np.inf


class Weights(NamedTuple):
    """What of the dynamics model the inner loop needs: W_2, b_2, W_3, b_3, F and f, and the numbers of its loss."""

    W_2: Array  # [H, H]
    b_2: Array  # [H]
    W_3: Array  # [2 (C + 1), H]
    b_3: Array  # [2 (C + 1)]
    F: Array  # [4 H, Z]
    f: Array  # [4 H]
    loss: Array  # [3], LOG_VAR's lower bound and range, and BETA: data, as what is compiled into the cache stays there


class Step(NamedTuple):
    """One task's gradient, and what its derivative needs: S rows, H units, D = C + 1 numbers predicted."""

    film: Array  # [4 H]
    h_1: Array  # [S, H]
    pre: Array  # [S, H], W_2 h_1 + b_2
    h_2: Array  # [S, H]
    sigma: Array  # [S, D]
    share: Array  # [S, D], weight of each number in the loss
    error: Array  # [S, D]
    inverse: Array  # [S, D], exp(-log_var)
    d_out: Array  # [S, 2 D]
    d_2: Array  # [S, H], before the scale
    back: Array  # [S, H], after the scale
    d_1: Array  # [S, H]
    d_film: Array  # [4 H]
    gradient: Array  # [Z]


@compiled()
def _relu_film(x, bias, scale, shift, activation):
    """x += bias; activation = relu(scale * x + shift), [S, H] each."""
    zero = x.dtype.type(0.0)
    for s in range(x.shape[0]):
        for h in range(x.shape[1]):
            x[s, h] += bias[h]
            activation[s, h] = max(scale[h] * x[s, h] + shift[h], zero)


@compiled()
def _through_film(d, x, activation, scale, back, of_scale, of_shift):
    """Back through relu(scale * x + shift): d [S, H] is cut, back = scale * d; by scale and shift [H]."""
    zero = x.dtype.type(0.0)
    of_scale[:] = zero
    of_shift[:] = zero
    for s in range(x.shape[0]):
        for h in range(x.shape[1]):
            cut = d[s, h] if activation[s, h] > zero else zero
            d[s, h] = cut
            back[s, h] = scale[h] * cut
            of_scale[h] += cut * x[s, h]
            of_shift[h] += cut


@compiled()
def _gradient(E, y, z, weights):
    """The gradient of the mean loss of the rows E [S, H], y [S, D] at the context z [Z]."""
    S, H, D = E.shape[0], E.shape[1], y.shape[1]
    number = E.dtype.type
    half, one = number(0.5), number(1.0)
    low, reach, beta = weights.loss
    film = weights.F @ z + weights.f
    a_1, c_1, a_2, c_2 = film[:H], film[H : 2 * H], film[2 * H : 3 * H], film[3 * H :]
    h_1, h_2, back, unused = (np.empty_like(E), np.empty_like(E), np.empty_like(E), np.empty_like(E))
    _relu_film(E, np.zeros(H, E.dtype), a_1, c_1, h_1)
    pre = h_1 @ weights.W_2.T
    _relu_film(pre, weights.b_2, a_2, c_2, h_2)
    out = h_2 @ weights.W_3.T
    sigma, share, error, inverse = (np.empty_like(y), np.empty_like(y), np.empty_like(y), np.empty_like(y))
    d_out = np.empty_like(out)
    for s in range(S):
        for j in range(D):
            sigma[s, j] = one / (one + np.exp(-out[s, D + j] - weights.b_3[D + j]))
            log_var = low + reach * sigma[s, j]
            share[s, j] = np.exp(beta * log_var) / number(S * D)
            inverse[s, j] = np.exp(-log_var)
            error[s, j] = out[s, j] + weights.b_3[j] - y[s, j]
            scaled = error[s, j] * inverse[s, j]
            d_out[s, j] = share[s, j] * scaled
            d_log_var = half * share[s, j] * (one - error[s, j] * scaled)
            d_out[s, D + j] = reach * d_log_var * sigma[s, j] * (one - sigma[s, j])
    d_film = np.empty_like(film)
    d_2 = d_out @ weights.W_3
    _through_film(d_2, pre, h_2, a_2, back, d_film[2 * H : 3 * H], d_film[3 * H :])
    d_1 = back @ weights.W_2
    _through_film(d_1, E, h_1, a_1, unused, d_film[:H], d_film[H : 2 * H])
    gradient = d_film @ weights.F
    return Step(film, h_1, pre, h_2, sigma, share, error, inverse, d_out, d_2, back, d_1, d_film, gradient)


@compiled()
def _out_backward(step, reach, d_out_bar, out_bar):
    """Through d_out: d_mean = share r, d_spread = reach d_log_var sigma (1 - sigma), with
    d_log_var = share (1 - error r) / 2 and r = error exp(-log_var); no derivative of share.
    """
    S, D = step.error.shape
    number = step.error.dtype.type
    half, one, two = number(0.5), number(1.0), number(2.0)
    for s in range(S):
        for j in range(D):
            sigma, share, error = step.sigma[s, j], step.share[s, j], step.error[s, j]
            inverse = step.inverse[s, j]
            slope, scaled = sigma * (one - sigma), error * inverse
            of_log_var = reach * slope * d_out_bar[s, D + j]
            d_log_var = half * share * (one - error * scaled)
            sigma_bar = reach * d_log_var * (one - two * sigma) * d_out_bar[s, D + j]
            scaled_bar = share * (d_out_bar[s, j] - half * error * of_log_var)
            out_bar[s, j] = inverse * scaled_bar - half * share * scaled * of_log_var
            out_bar[s, D + j] = slope * (sigma_bar - reach * scaled * scaled_bar)


@compiled()
def _again(x, d, activation, scale_bar, shift_bar, t, d_bar):
    """The part by the cut derivative d [S, H], t, and by x, d_bar: of the sums that `_through_film` made."""
    zero = x.dtype.type(0.0)
    for s in range(x.shape[0]):
        for h in range(x.shape[1]):
            t[s, h] = scale_bar[h] * x[s, h] + shift_bar[h] if activation[s, h] > zero else zero
            d_bar[s, h] += scale_bar[h] * d[s, h]


@compiled()
def _add(total, x):
    """total += x, [S, H] each."""
    for s in range(x.shape[0]):
        for h in range(x.shape[1]):
            total[s, h] += x[s, h]


@compiled()
def _gradient_backward(E, z, weights, step, g_bar, E_bar, bars):
    """From g_bar [Z], the outer loss by the gradient: its part by z is returned, by E and weights added up."""
    S, H = E.shape
    zero = E.dtype.type(0.0)
    a_1, a_2 = step.film[:H], step.film[2 * H : 3 * H]
    t, pre_bar, back = np.empty_like(E), np.zeros_like(E), np.empty_like(E)
    # gradient = d_film F
    of_film = weights.F @ g_bar
    # d_1 = (back W_2) where h_1 > 0
    _again(E, step.d_1, step.h_1, of_film[:H], of_film[H : 2 * H], t, E_bar)
    back_bar = t @ weights.W_2.T
    _add(bars.W_2, step.back.T @ t)
    # back = a_2 d_2,  d_2 = (d_out W_3) where h_2 > 0
    film_bar = np.zeros_like(step.film)
    _again(step.pre, step.d_2, step.h_2, of_film[2 * H : 3 * H], of_film[3 * H :], t, pre_bar)
    for s in range(S):
        for h in range(H):
            film_bar[2 * H + h] += back_bar[s, h] * step.d_2[s, h]
            t[s, h] += back_bar[s, h] * a_2[h] if step.h_2[s, h] > zero else zero
    d_out_bar = t @ weights.W_3.T
    _add(bars.W_3, step.d_out.T @ t)
    out_bar = np.empty_like(step.d_out)
    _out_backward(step, weights.loss[1], d_out_bar, out_bar)
    # out = W_3 h_2 + b_3,  h_2 = relu(a_2 pre + c_2)
    of_scale, of_shift = np.empty(H, E.dtype), np.empty(H, E.dtype)
    d = out_bar @ weights.W_3
    _add(bars.W_3, out_bar.T @ step.h_2)
    _through_film(d, step.pre, step.h_2, a_2, back, of_scale, of_shift)
    film_bar[2 * H : 3 * H] += of_scale
    film_bar[3 * H :] = of_shift
    _add(pre_bar, back)
    # pre = W_2 h_1 + b_2,  h_1 = relu(a_1 E + c_1)
    d = pre_bar @ weights.W_2
    _add(bars.W_2, pre_bar.T @ step.h_1)
    _through_film(d, E, step.h_1, a_1, back, film_bar[:H], film_bar[H : 2 * H])
    _add(E_bar, back)
    for s in range(S):
        for h in range(H):
            bars.b_2[h] += pre_bar[s, h]
        for j in range(out_bar.shape[1]):
            bars.b_3[j] += out_bar[s, j]
    # film = F z + f
    for i in range(film_bar.size):
        bars.f[i] += film_bar[i]
        for j in range(z.size):
            bars.F[i, j] += step.d_film[i] * g_bar[j] + film_bar[i] * z[j]
    return film_bar @ weights.F


@compiled()
def _rows(encoded, outcome, mask):
    """The rows of a task that count."""
    which = np.flatnonzero(mask)
    return which, encoded[which], outcome[which]


@compiled()
def _clip(gradient, max_norm):
    """The factor that clips a gradient to `max_norm`, and its norm squared; 0 where it is not finite."""
    squares = (gradient * gradient).sum()
    if not np.isfinite(squares):
        return gradient.dtype.type(0.0), squares
    if squares <= max_norm * max_norm:
        return gradient.dtype.type(1.0), squares
    return max_norm / np.sqrt(squares), squares


@compiled()
def fit(encoded, outcome, mask, weights, rates, num_steps, max_norm, bound):
    """The contexts after every step, [num_steps + 1, K, Z], from 0."""
    K, Z = encoded.shape[0], rates.shape[0]
    path = np.zeros((num_steps + 1, K, Z), encoded.dtype)
    for k in range(K):
        _, E, y = _rows(encoded[k], outcome[k], mask[k])
        if E.shape[0] == 0:
            continue
        for i in range(num_steps):
            gradient = _gradient(E, y, path[i, k], weights).gradient
            scale, _ = _clip(gradient, max_norm)
            for j in range(Z):
                moved = path[i, k, j] - (
                    rates[j] * scale * gradient[j] if scale > 0 else encoded.dtype.type(0)
                )
                path[i + 1, k, j] = min(max(moved, -bound), bound)
    return path


@compiled()
def fit_backward(
    encoded, outcome, mask, weights, rates, path, max_norm, bound, first_order, z_bar, E_bar, bars
):
    """From z_bar [K, Z], the outer loss by the fitted contexts: by the rates [Z]; by encoded and weights, added up."""
    num_steps, K = path.shape[0] - 1, path.shape[1]
    rates_bar = np.zeros_like(rates)
    for k in range(K):
        which, E, y = _rows(encoded[k], outcome[k], mask[k])
        if E.shape[0] == 0:
            continue
        of_z = z_bar[k].copy()
        of_E = np.zeros_like(E)
        for i in range(num_steps - 1, -1, -1):
            step = _gradient(E, y, path[i, k], weights)
            scale, squares = _clip(step.gradient, max_norm)
            if not scale > 0:
                continue
            moved = path[i, k] - rates * scale * step.gradient
            of_z = np.where(np.abs(moved) <= bound, of_z, encoded.dtype.type(0))
            rates_bar -= scale * step.gradient * of_z
            if first_order:
                continue
            g_bar = -scale * rates * of_z
            if squares > max_norm * max_norm:
                g_bar -= ((g_bar * step.gradient).sum() / squares) * step.gradient
            of_z = of_z + _gradient_backward(E, path[i, k], weights, step, g_bar, of_E, bars)
        for s in range(which.size):
            E_bar[k, which[s]] += of_E[s]
    return rates_bar


class _FusedFit(torch.autograd.Function):
    """Encoded rows [K, S, H], outcomes [K, S, D], mask [K, S], weights, rates [Z] -> contexts [K, Z]."""

    @staticmethod
    def forward(ctx: Any, config: MetaConfig, *tensors: Tensor) -> Tensor:
        encoded, outcome, mask, rates, W_2, b_2, W_3, b_3, F, f = (
            x.detach().contiguous().numpy() for x in tensors
        )
        loss = np.array((LOG_VAR[0], LOG_VAR_RANGE, BETA), encoded.dtype)
        weights = Weights(W_2, b_2, W_3, b_3, F, f, loss)
        number = encoded.dtype.type
        limits = tuple(number(INFINITE if x is None else x) for x in (config.inner_grad_norm, config.bound))
        path = fit(encoded, outcome, mask, weights, rates, config.num_steps, *limits)
        ctx.saved = (encoded, outcome, mask, weights, rates, path, *limits, config.first_order)
        return torch.from_numpy(path[-1].copy())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *of_context: Tensor) -> Any:
        encoded, outcome, mask, weights, rates, path, max_norm, bound, first_order = ctx.saved
        E_bar, bars = np.zeros_like(encoded), Weights(*(np.zeros_like(w) for w in weights))
        z_bar = of_context[0].contiguous().numpy()
        rates_bar = fit_backward(
            encoded, outcome, mask, weights, rates, path, max_norm, bound, first_order, z_bar, E_bar, bars
        )
        found = (E_bar, None, None, rates_bar, *bars[:-1])
        return None, *(None if x is None else torch.from_numpy(x) for x in found)


def fused_fit(
    model: DynamicsModel, encoded: Tensor, outcome: Tensor, mask: Tensor, rates: Tensor, config: MetaConfig
) -> Tensor:
    """The fitted contexts [K, Z] of `ContextModel.fit`, on the CPU; differentiable once.

    Raises:
        ValueError: encoded rows [K, S, H], outcomes [K, S, C + 1], mask [K, S] or rates [Z] have other sizes than the
            model, or other precisions.
    """
    hidden, outcomes = model.second.in_features, model.outcome_dim
    rows, precision = encoded.shape[:2], encoded.dtype
    given = [tuple(x.shape) for x in (encoded, outcome, mask, rates)]
    expected = [(*rows, hidden), (*rows, outcomes), tuple(rows), (model.context_dim,)]
    if given != expected or mask.dtype != torch.bool or {outcome.dtype, rates.dtype} != {precision}:
        raise ValueError(
            f"The inner loop got encoded rows, outcomes, mask and rates of shapes {given} in {precision}, "
            f"{outcome.dtype}, {mask.dtype} and {rates.dtype}; give {expected}, a boolean mask and one precision."
        )
    parts = (model.second, model.output, model.film)
    weights = [tensor for part in parts for tensor in (part.weight, part.bias)]
    context: Tensor = _FusedFit.apply(config, encoded, outcome, mask, rates, *weights)
    return context
