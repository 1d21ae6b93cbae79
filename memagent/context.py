"""The context vector: a few gradient steps fit it to what the plant does, and the policy is told it.

CAVIA (Zintgraf et al. 2019, Fast Context Adaptation via Meta-Learning, https://arxiv.org/abs/1810.03642): MAML whose
task-specific parameters are an input, here of the dynamics model. From z_0 = 0 the inner loop descends the model's
negative log-likelihood of the steps that a phase has seen; the outer loss is the same on other steps of that phase, and
trains the model through the inner steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from envs import compiling
from memagent.dynamics import DynamicsModel, Outcomes, gaussian_loss
from memagent.meta import MetaConfig, MetaLearner

PhaseSignal = Literal["info", "detect", "none"]
SCALE_RATE = 0.02
"""Share of the newest contexts in the running mean of their squares."""


@dataclass(frozen=True)
class AdaptConfig:
    """The context vector: fitted to each phase of the environment, and told to memory and heads."""

    enabled: bool = True
    """Train the dynamics model, fit the context while acting, and tell it to memory and heads."""
    phase_signal: PhaseSignal = "info"
    """How a change is known of. "info": the environment's `info["phase"]` tells (a labelled setting). "detect": by
    itself, from what happens (`memagent.belief`, `memagent.detector`); no label is read, nor in training.
    "none": not at all; the newest steps are fitted, whatever phase they are of, and training draws the steps of a phase
    by its label. Where a change is known of, context and memory begin anew."""
    false_alarms: float = 1.0
    """Alarms that may be raised without a change in 10,000 steps of an environment; fewer come later, and miss more."""
    context_dim: int = 16
    """Numbers in the context vector."""
    steps_ahead: int = 8
    """Steps whose joint outcome the dynamics model predicts, told the actions: what they do adds up over steps, and the
    noise of sensors does not."""
    history: int = 1
    """Steps before these that it is shown: out of them it makes what no single observation shows, such as a velocity,
    and where it predicts few steps, the more there are, the better through the sensors' noise."""
    evidence_history: int = 8
    """The same of the detector, which weighs single steps."""
    hidden_size: int = 64
    """Units of the dynamics models' two hidden layers."""
    acting_steps: int | None = None
    """Inner steps from 0 to the context that memory and heads are told; none: those that the model is trained through,
    `MetaConfig.num_steps`. More of them go on where these end, and lead farther outside the training ranges."""
    reward_unit: float | None = None
    """The models predict asinh(reward / this) in place of the scaled reward: where small differences of the reward tell
    the phase, such as the cost of a distance, they then count beside rare large rewards; none: the reward as it is."""
    train_support: int = 64
    """Most runs of steps that a context is fitted to in training; how many is drawn anew for every window, from none.
    As many others judge it."""
    support: int = 128
    """Most runs of steps that a context is fitted to while acting: a uniform sample of the phase, or ("none") the
    newest. Phases that have fewer end by a threshold of their own."""
    young: int = 16
    """Runs of a phase up to which the context is fitted after each; then, whenever they have grown by a quarter.
    Evidence that the phase is over counts from there on."""

    def __post_init__(self) -> None:
        for name in ("context_dim", "steps_ahead", "hidden_size", "acting_steps", "train_support", "support"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; give a whole number, 1 or more.")
        if self.reward_unit is not None and not 0 < self.reward_unit < math.inf:
            raise ValueError(f"reward_unit is {self.reward_unit}; give a positive, finite number, or none.")
        if not self.false_alarms > 0:
            raise ValueError(f"false_alarms is {self.false_alarms}; give a number above 0, per 10,000 steps.")
        for name in ("history", "evidence_history", "young"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a whole number, 0 or more.")


class ContextModel(nn.Module):
    """A dynamics model, the inner loop that fits its context, and the scale in which the policy is told it.

    Args:
        input_dim, outcome_dim: as in `DynamicsModel`.
        adapt: sizes.
        meta: the inner loop.
    """

    mean_square: Tensor

    def __init__(self, input_dim: int, outcome_dim: int, adapt: AdaptConfig, meta: MetaConfig | None) -> None:
        super().__init__()
        self.model = DynamicsModel(input_dim, outcome_dim, adapt.context_dim, adapt.hidden_size)
        self.meta = MetaLearner({"context": torch.zeros(adapt.context_dim)}, meta)
        self.acting_steps = adapt.acting_steps or self.meta.config.num_steps
        self.register_buffer("mean_square", torch.ones(()))

    @property
    def context_dim(self) -> int:
        """Z."""
        return self.model.context_dim

    def fit(self, support: Outcomes, *, num_steps: int | None = None) -> Tensor:
        """The context of each of K tasks, fitted to its rows [K, S, ...] -> [K, Z]; 0 where no row counts.

        Differentiable with respect to the model and the inner rates, unless under `torch.no_grad()`. `num_steps`: inner
        steps in place of those configured.
        """
        encoded, meta = self.model.encode(support.inputs), self.meta
        rows = (encoded, support.outcome, support.mask)
        if encoded.device.type == "cpu" and compiling.ENABLED:
            from memagent.fused_context import fused_fit  # only now: importing it loads numba

            config = meta.config if num_steps is None else replace(meta.config, num_steps=num_steps)
            return fused_fit(self.model, *rows, meta.rates()["context"], config)
        start = encoded.new_zeros(self.context_dim)
        return meta.adapt({"context": start}, self._support_loss, rows, num_steps=num_steps)["context"]

    @torch.no_grad()
    def fit_as_acting(self, support: Outcomes, fitted: Tensor | None = None) -> Tensor:
        """The contexts by as many inner steps as acting takes, without gradient; `fitted`: what `fit` has found."""
        if fitted is not None and self.acting_steps == self.meta.config.num_steps:
            return fitted.detach()
        return self.fit(support, num_steps=self.acting_steps)

    def observe_scale(self, context: Tensor) -> None:
        """Follow the mean square of the contexts [K, Z] that training fits, of those that are not 0."""
        fitted = context.detach()[context.detach().any(-1)]
        if len(fitted):
            self.mean_square.lerp_(fitted.square().mean(), SCALE_RATE)

    def told(self, context: Tensor) -> Tensor:
        """Contexts [K, Z] as memory and heads are told them: without gradient, of order one.

        The inner rates decide how large a context is, and they change as they are learned. One factor for all numbers
        keeps their proportions: those that say little stay small, and 0 stays 0.
        """
        return context.detach() * self.mean_square.clamp(min=1e-12).rsqrt()

    @torch.no_grad()
    def infer(self, support: Outcomes) -> Tensor:
        """The contexts that memory and heads are told, fitted to rows [K, S, ...] -> [K, Z]."""
        return self.told(self.fit_as_acting(support))

    @torch.no_grad()
    def squared_error(self, told: Tensor, rows: Outcomes) -> Tensor:
        """The mean squared error of the predicted means of rows [...], under a context each, as told, [..., Z]."""
        context = told * self.mean_square.sqrt()
        mean, _ = self.model(rows.inputs.unsqueeze(-2), context)
        return (mean.squeeze(-2) - rows.outcome).square().mean(-1)

    def loss(self, context: Tensor, rows: Outcomes) -> Tensor:
        """The loss of every row [K, S, ...] under the contexts [K, Z] -> [K, S]."""
        mean, log_var = self.model(rows.inputs, context)
        return gaussian_loss(mean, log_var, rows.outcome)

    def _support_loss(self, params: dict[str, Tensor], rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The mean loss over each task's rows that count, [K]."""
        encoded, outcome, mask = rows
        mean, log_var = self.model.decode(encoded, params["context"])
        loss = gaussian_loss(mean, log_var, outcome)
        return torch.where(mask, loss, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)
