"""The dynamics model: what the next k steps do to the observation and what they pay, given a context vector.

The context z [Z] is what distinguishes one condition of the plant from another. It scales and shifts both hidden layers
(FiLM; Perez et al. 2018, https://arxiv.org/abs/1709.07871, eq. 2): with the context the effect of an action can then
change its sign.

    h_1 = relu(a_1 * (W_1 x_t + b_1) + c_1),   h_2 = relu(a_2 * (W_2 h_1 + b_2) + c_2)
    x_t = [o_t ; u_t … u_{t+k-1} ; d_{t-1} … d_{t-h} ; u_{t-1} … u_{t-h}],   d the changes of the observation
    mean, s = W_3 h_2 + b_3,   log_var = low + (high - low) sigmoid(s),   [a_1 ; c_1 ; a_2 ; c_2] = F z + f

Pure functions of tensors: no environment, no agent. How z is found is `memagent.context`'s business.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

LOG_VAR = (-8.0, 4.0)
"""Bounds of the predicted log-variance: it can neither collapse nor hide everything."""
LOG_VAR_RANGE = LOG_VAR[1] - LOG_VAR[0]
BETA = 0.5
"""How much of the variance weighs the loss, see `gaussian_loss`."""


class Outcomes(NamedTuple):
    """What runs of k steps did: rows of any leading shape [...]."""

    inputs: Tensor  # [..., I], the observation before the run, its k actions as vectors, and the h steps before it
    outcome: Tensor  # [..., C + 1], the mean change of the observation and the mean reward over the run
    mask: Tensor  # [...] bool, the rows that count


def run_size(sizes: tuple[int, int, int], k: int, history: int) -> int:
    """I, numbers in the inputs of a run of k steps.

    Args:
        sizes: O, A and C + 1: numbers of an observation, of an action as vector and of an outcome.
        k: steps of the run.
        history: h, steps before it.
    """
    o, a, d = sizes
    return o + k * a + history * (d - 1 + a)


class DynamicsModel(nn.Module):
    """A Gaussian over the outcome of k steps, told the context.

    Args:
        input_dim: I, see `run_size`.
        outcome_dim: C + 1.
        context_dim: Z.
        hidden_size: units of each of the two hidden layers.
    """

    def __init__(self, input_dim: int, outcome_dim: int, context_dim: int, hidden_size: int = 64) -> None:
        super().__init__()
        self.input_dim, self.outcome_dim, self.context_dim = input_dim, outcome_dim, context_dim
        self.first = nn.Linear(input_dim, hidden_size)
        self.second = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, 2 * outcome_dim)
        self.film = nn.Linear(context_dim, 4 * hidden_size)
        with torch.no_grad():  # under z = 0 nothing is scaled or shifted at first
            self.film.bias.copy_(torch.tensor([1.0, 0.0, 1.0, 0.0]).repeat_interleave(hidden_size))

    def encode(self, inputs: Tensor) -> Tensor:
        """[..., I] -> [..., H]: the part that no context changes, so that an inner loop computes it once."""
        return self.first(inputs)

    def decode(self, encoded: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """What `encode` gave [K, S, H], under the contexts [K, Z] -> mean and log-variance [K, S, C + 1]."""
        a_1, c_1, a_2, c_2 = self.film(context).unsqueeze(-2).chunk(4, -1)  # [K, 1, H] each
        h = torch.addcmul(c_1, a_1, encoded).relu()
        h = torch.addcmul(c_2, a_2, self.second(h)).relu()
        mean, spread = self.output(h).chunk(2, -1)
        return mean, LOG_VAR[0] + LOG_VAR_RANGE * spread.sigmoid()

    def forward(self, inputs: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """inputs [K, S, I], context [K, Z] -> mean and log-variance [K, S, C + 1]."""
        return self.decode(self.encode(inputs), context)


def gaussian_loss(mean: Tensor, log_var: Tensor, outcome: Tensor) -> Tensor:
    """exp(beta log_var) (-log N(outcome; mean, exp(log_var))), its mean over C + 1: [..., C + 1] -> [...].

    Without the constant, and no gradient through the weight: it keeps what is hard to predict from being given up
    (Seitzer et al. 2022, On the Pitfalls of Heteroscedastic Uncertainty Estimation, https://arxiv.org/abs/2203.09168,
    eq. 4).
    """
    loss = surprise(mean, log_var, outcome)
    return (loss * (BETA * log_var.detach()).exp()).mean(-1)


def surprise(mean: Tensor, log_var: Tensor, outcome: Tensor) -> Tensor:
    """-log N(outcome; mean, exp(log_var)) in nats, without the constant; any shape."""
    return 0.5 * ((outcome - mean).square() * (-log_var).exp() + log_var)


def runs(
    obs: Tensor,
    change: Tensor,
    action: Tensor,
    reward: Tensor,
    final: Tensor,
    k: int,
    history: int = 0,
    length: Tensor | None = None,
) -> Outcomes:
    """Every run of k steps in rows of streams, with the h steps before it; time first.

    Args:
        obs: observations of rows 0 to T - 1 or farther, [T, ..., O].
        change: by how much the observation of row t + 1 differs from that of row t, [T, ..., C].
        action: as vectors [T, ..., A].
        reward: [T, ...].
        final: [T, ...] bool, rows without action: a run that has one is masked, and no history reaches beyond one.
        k: steps of a run.
        history: h, steps before it that are shown; the first h rows give histories alone.
        length: how many of them are shown with each run, [T + 1 - k - h, ...]; None: all.

    Returns:
        Outcomes of the T + 1 - k - h runs. A history that is shorter than h is filled up with zeros.
    """
    count, h = len(reward) + 1 - k - history, history
    happened = torch.cat((change, reward.unsqueeze(-1)), -1)[h:]
    parts = [obs[h : h + count], _joined(action[h:].unfold(0, k, 1))]
    if h:
        rows = slice(0, h + count - 1)
        past_final, *past = (x[rows].unfold(0, h, 1).flip(-1) for x in (final, change, action))  # [..., h]
        live = past_final.logical_not().cumprod(-1)
        if length is not None:
            live = live * (torch.arange(h, device=length.device) < length.unsqueeze(-1))
        parts += [_joined(live.unsqueeze(-2) * x) for x in past]
    return Outcomes(
        inputs=torch.cat(parts, -1),
        outcome=happened.unfold(0, k, 1).mean(-1),
        mask=final[h:].unfold(0, k, 1).any(-1).logical_not(),
    )


def _joined(windows: Tensor) -> Tensor:
    """Vectors of several steps, [..., A, k], as one, step by step: [..., k A]."""
    return windows.transpose(-1, -2).flatten(-2)
