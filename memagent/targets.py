"""Targets, losses and priorities of value learning: pure functions of tensors.

Row t of a stream holds an observation, the action taken there and the reward of that action; a `final` row
holds the last observation of an episode and neither. T time, B batch, A actions, D predicted quantities.
Suffix _t: of row t; `mask` says which rows count, and is False at final rows.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def n_step_targets(
    reward_t: Tensor, value_t: Tensor, final_t: Tensor, terminal_t: Tensor, gamma: float, n: int
) -> Tensor:
    """n-step returns with bootstrap, [T + n, B] each → [T, B].

    y_0[t] = v[t],  y_k+1[t] = v[t] where row t is final, else r[t] + gamma * y_k[t+1];  v = 0 where terminal.

    So a truncated episode bootstraps from the value of its last observation, a terminated one from 0, a
    running one from the value n rows on, and no return reaches into the next episode. At final rows the
    target is v itself; mask them. No gradient flows back. Sutton and Barto 2018, eq. 7.1; Pardo et al.
    2018, Time Limits in RL, eq. 6.
    """
    if n < 1 or reward_t.shape[0] <= n:
        raise ValueError(
            f"n_step_targets got n={n} and {reward_t.shape[0]} rows; give n of at least 1 and more rows."
        )
    value_t = torch.where(terminal_t, 0.0, value_t).detach()
    target_t = value_t
    for _ in range(n):
        rows = target_t.shape[0] - 1
        target_t = torch.where(final_t[:rows], value_t[:rows], reward_t[:rows] + gamma * target_t[1:])
    return target_t


def double_q_value(q_online_t: Tensor, q_target_t: Tensor) -> Tensor:
    """The target heads' value of the online heads' best action: [..., A], [..., A] → [...].

    v = Q_target(s, argmax_a Q_online(s, a)). Van Hasselt et al. 2016, eq. 4.
    """
    return taken_value(q_target_t, q_online_t.argmax(-1))


def taken_value(q_t: Tensor, action_t: Tensor) -> Tensor:
    """The value of the action taken: q [..., A], action [...] int64 → [...]."""
    return q_t.gather(-1, action_t.unsqueeze(-1)).squeeze(-1)


def td_errors(value_t: Tensor, target_t: Tensor) -> Tensor:
    """td_t = y_t - v_t; no gradient flows into the target."""
    return target_t.detach() - value_t


def masked_mean(x_t: Tensor, mask_t: Tensor) -> Tensor:
    """The mean of `x_t` over the rows where `mask_t` is True; 0 where none is."""
    return torch.where(mask_t, x_t, 0.0).sum() / mask_t.sum().clamp(min=1)


def td_loss(td_t: Tensor, huber_delta: float | None = None) -> Tensor:
    """l(td) of every row, in the shape of `td_t`; `masked_mean` makes a scalar of it.

    l = td^2 / 2; with `huber_delta` d (units of the value) it is d * (|td| - d / 2) where |td| > d.
    """
    loss_t = 0.5 * td_t.square()
    if huber_delta is None:
        return loss_t
    size_t = td_t.abs()
    return torch.where(size_t <= huber_delta, loss_t, huber_delta * (size_t - 0.5 * huber_delta))


def squashed_sample(mean_t: Tensor, log_std_t: Tensor, noise_t: Tensor) -> tuple[Tensor, Tensor]:
    """An action in (-1, 1) and its log-density: mean, log_std, noise [..., A] → [..., A], [...].

    a = tanh(u), u = mean + exp(log_std) * noise, noise ~ N(0, 1);
    log pi(a) = log N(u) - sum log(1 - tanh(u)^2). Haarnoja et al. 2018, Soft Actor-Critic, appendix C.
    """
    u_t = mean_t + log_std_t.exp() * noise_t
    gauss_t = -0.5 * noise_t.square() - log_std_t - 0.5 * math.log(2.0 * math.pi)
    # log(1 - tanh(u)^2) = 2 (log 2 - u - log(1 + exp(-2 u))), finite however large u is
    squash_t = 2.0 * (math.log(2.0) - u_t - functional.softplus(-2.0 * u_t))
    return u_t.tanh(), (gauss_t - squash_t).sum(-1)


def soft_value(q_t: Tensor, log_prob_t: Tensor, temperature: Tensor) -> Tensor:
    """The value of a sampled action by twin critics: q [..., 2], log_prob [...], temperature [] → [...].

    v = min_i Q_i(s, a) - alpha * log pi(a | s). Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications,
    eq. 3, with the minimum of Fujimoto et al. 2018.
    """
    return q_t.amin(-1) - temperature * log_prob_t


def temperature_loss(log_temperature: Tensor, log_prob_t: Tensor, target_entropy: float) -> Tensor:
    """Falls as the temperature follows the entropy to its target: log_temperature [], log_prob [...] → [...].

    -log alpha * (log pi + target_entropy), no gradient into the policy. Haarnoja et al. 2018, Soft Actor-Critic
    Algorithms and Applications, eq. 18, in log alpha as usual.
    """
    return -log_temperature * (log_prob_t + target_entropy).detach()


def prediction_loss(
    prediction_t: Tensor, outcome_t: Tensor, mask_t: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Mean squared error over the valid rows and D: prediction, outcome [T, B, D], mask [T, B] → scalar.

    `weight` [B]: importance weights. The mean divides by the number of valid rows, not by their weights: weights
    below 1 make a smaller step. The outcome of an episode's last action lies in its final row; mask what has none.
    """
    loss_t = (prediction_t - outcome_t).square().mean(-1)
    return masked_mean(loss_t if weight is None else weight * loss_t, mask_t)


def beta_schedule(progress: float, start: float) -> float:
    """Importance exponent, linear from `start` to 1 in `progress` 0 to 1. Schaul et al. 2016, section 3.4."""
    return start + (1.0 - start) * min(max(progress, 0.0), 1.0)


def sequence_priorities(td_abs_t: Tensor, mask_t: Tensor, eta: float) -> Tensor:
    """One priority per window, eta * max + (1 - eta) * mean: |td| [T, B], mask [T, B] → [B].

    Over the valid rows; 0 for a window without any. The exponent alpha is the buffer's.
    Kapturowski et al. 2019, section 2.3.
    """
    size_t = torch.where(mask_t, td_abs_t, 0.0).detach()
    mean = size_t.sum(0) / mask_t.sum(0).clamp(min=1)
    return eta * size_t.amax(0) + (1.0 - eta) * mean
