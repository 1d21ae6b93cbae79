"""The evidence that a phase is over: what single steps did, against what they would do under the phase's context.

A dynamics model of single steps is told z as memory and heads are, and never shapes it: z is found best in runs of k
steps, which drown the sensors' noise, and a change shows soonest in the first steps after it. The evidence of a step is
the log-likelihood ratio of z = 0, with which the model knows nothing of the plant, against the phase's z.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memagent.dynamics import DynamicsModel, Outcomes, gaussian_loss, surprise

Moments = tuple[float, float, float]
"""Of peaks above LOW_PEAK: how many (in all, or a step), their mean in nats, and the mean square."""

LOW_PEAK = 0.25
"""Evidence in nats from which a peak counts: lower ones say nothing of how high they can be."""
STEPS, PEAKS, NEWEST = 1_000, 100, 1 / 16
"""A tail is averaged over about STEPS steps and PEAKS peaks, and beyond these over the share NEWEST of all so far."""
RARELY = 0.05
"""Share of steps in phases with few runs below which these have no tail of their own."""
HEAVIEST = 0.45
"""Largest shape of that tail; with 0.5 and more the heights have no variance to tell it by."""


class Detector(nn.Module):
    """What single steps say of a change, and how much of it happens by chance.

    Args:
        input_dim, outcome_dim, context_dim, hidden_size: as in `DynamicsModel`, for runs of one step.
    """

    step_count: Tensor
    peak_count: Tensor
    peak_rate: Tensor
    peak_excess: Tensor
    peak_square: Tensor

    def __init__(self, input_dim: int, outcome_dim: int, context_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.model = DynamicsModel(input_dim, outcome_dim, context_dim, hidden_size)
        # Of phases at either stage (see `BeliefTracker.stage`): steps and peaks so far; then the peaks a step above
        # LOW_PEAK, their mean height above it in nats, and the mean square of that.
        self.register_buffer("step_count", torch.zeros(2))
        self.register_buffer("peak_count", torch.zeros(2))
        self.register_buffer("peak_rate", torch.full((2,), 0.01))
        self.register_buffer("peak_excess", torch.full((2,), 0.5))
        self.register_buffer("peak_square", torch.full((2,), 0.5))

    def loss(self, told: Tensor, steps: Outcomes) -> Tensor:
        """The loss of steps [K, S, ...] under contexts as told [K, Z]: [K, S]."""
        mean, log_var = self.model(steps.inputs, told.detach())
        return gaussian_loss(mean, log_var, steps.outcome)

    @torch.no_grad()
    def evidence(self, told: Tensor, steps: Outcomes) -> Tensor:
        """By how many nats z = 0 explains steps [K, S, ...] better than contexts as told [K, Z]: [K, S]."""
        encoded, contexts = self.model.encode(steps.inputs), torch.cat((told, torch.zeros_like(told)))
        mean, log_var = self.model.decode(torch.cat((encoded, encoded)), contexts)  # both in one pass
        known, unknown = surprise(mean, log_var, steps.outcome.repeat(2, 1, 1)).sum(-1).chunk(2)
        return known - unknown

    def observe_peaks(
        self, peaks: NDArray[np.float32], stage: NDArray[np.int64], false_alarms: float | None = None
    ) -> None:
        """Follow how often and how far the evidence rises while nothing changes.

        In each mean the n-th entry weighs about as n to the power 1 / NEWEST - 1 (polynomial-decay averaging, Shamir
        and Zhang 2013, https://arxiv.org/abs/1212.1824): what the young model gave is forgotten, and single high peaks
        do not move it much.

        Args:
            peaks: of n steps, [n], 0 where the evidence has not just fallen back to 0.
            stage: of their phases, [n]; -1: the step does not count.
            false_alarms: in 10,000 steps, where the evidence ends phases; None: it does not. Peaks that raise an alarm
                are not among `peaks`, nor can they be told from changes, so that as many of them as are asked for
                count, as high as the tail so far has them. Without them it would sink: cut off, fitted, cut off lower.
        """
        for i in (0, 1):
            here = stage == i
            if not (steps := int(np.count_nonzero(here))):
                continue
            excess = peaks[here & (peaks > LOW_PEAK)] - LOW_PEAK
            seen = _summed(excess)
            if false_alarms is not None:
                tail = self.peak_rate[i].item(), self.peak_excess[i].item(), self.peak_square[i].item()
                seen = _with_unseen(steps, seen, tail, false_alarms)
            count, mean, square = seen
            self.step_count[i] += steps
            share = (steps / (STEPS + NEWEST * self.step_count[i])).clamp(max=1.0)
            self.peak_rate[i] += share * (count / steps - self.peak_rate[i])
            if count:
                self.peak_count[i] += count
                share = (count / (PEAKS + NEWEST * self.peak_count[i])).clamp(max=1.0)
                self.peak_excess[i] += share * (mean - self.peak_excess[i])
                self.peak_square[i] += share * (square - self.peak_square[i])

    def thresholds(self, false_alarms: float) -> NDArray[np.float64]:
        """The evidence, in nats, that is exceeded `false_alarms` times in 10,000 steps without a change: [2], by stage.

        Peaks over a low threshold follow a generalised Pareto distribution (Pickands 1975, Statistical Inference Using
        Extreme Order Statistics), whose shape xi and scale are estimated by moments (Hosking and Wallis 1987, Parameter
        and Quantile Estimation for the Generalized Pareto Distribution), from what training has followed.
        """
        parts = (self.peak_rate.tolist(), self.peak_excess.tolist(), self.peak_square.tolist())
        early, late = (_threshold(*tail, false_alarms) for tail in zip(*parts, strict=True))
        few, many = self.step_count.tolist()
        if few < RARELY * many:  # such steps came when the model knew nothing, and hardly since
            early = late
        return np.array([early, late])


def _summed(excess: NDArray[np.float32]) -> Moments:
    """How many there are, their mean and mean square."""
    if not len(excess):
        return 0.0, 0.0, 0.0
    return float(len(excess)), float(excess.mean()), float(np.square(excess).mean())


def _with_unseen(steps: int, seen: Moments, tail: Moments, false_alarms: float) -> Moments:
    """The peaks that `steps` steps have shown, with those above the threshold that they have by chance.

    Args:
        steps: how many.
        seen: number, mean and mean square of the peaks.
        tail: the peaks a step, their mean and mean square, as known so far.
        false_alarms: peaks above the threshold, in 10,000 steps.
    """
    rate, mean, square = tail
    if not (unseen := steps * min(false_alarms / 1e4, rate)):
        return seen
    xi, scale = _shape_and_scale(mean, square)
    above = _threshold(rate, mean, square, false_alarms) - LOW_PEAK
    # Beyond the threshold such a tail begins with the scale below. Were its shape kept there too, a heavy tail would
    # stay heavy, whatever is seen.
    beyond = scale + xi * above
    first, second = above + beyond, above**2 + 2.0 * above * beyond + 2.0 * beyond**2
    count = seen[0] + unseen
    share = unseen / count
    return count, seen[1] + share * (first - seen[1]), seen[2] + share * (second - seen[2])


def _shape_and_scale(mean: float, square: float) -> tuple[float, float]:
    """Of a generalised Pareto tail with these moments."""
    of_variance = mean**2 / max(square - mean**2, 1e-12)  # 1 where the tail is exponential
    xi = min(max(0.5 * (1.0 - of_variance), 0.0), HEAVIEST)
    return xi, mean * (1.0 - xi)


def _threshold(rate: float, mean: float, square: float, false_alarms: float) -> float:
    """What peaks at this rate, with these moments above LOW_PEAK, exceed `false_alarms` times in 10,000 steps."""
    ratio = rate * 1e4 / false_alarms
    if ratio <= 1.0:
        return LOW_PEAK
    xi, scale = _shape_and_scale(mean, square)
    return LOW_PEAK + scale * (math.log(ratio) if xi < 1e-6 else (ratio**xi - 1.0) / xi)
