"""The inner loop: a few gradient steps from shared parameters to those of each task.

MAML (Finn, Abbeel, Levine 2017, https://arxiv.org/abs/1703.03400, eq. 1) with the step sizes of Meta-SGD (Li, Zhou,
Chen, Li 2017, https://arxiv.org/abs/1707.09835, eq. 3): one inner rate for every element of every parameter, kept
as a logarithm so that it stays positive, and learned by the outer loss together with the parameters.

    theta_0 = theta,    theta_{k+1} = clip(theta_k - exp(log_rate) * clip_norm(grad L_support(theta_k)))

The learner knows parameters by name and a loss by its values, nothing else: which network they belong to and what the
loss means is the caller's business. Tasks share no adapted parameter, so one gradient of the sum of their losses holds
the gradient of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Loss = Callable[[dict[str, Tensor], Any], Tensor]


@dataclass(frozen=True)
class MetaConfig:
    """The inner loop of adaptation."""

    num_steps: int = 5
    """Inner gradient steps from the meta-parameters to the adapted ones."""
    lr: float = 0.01
    """Inner rate that every element starts from."""
    first_order: bool = False
    """Treat the inner gradients as constants (first-order MAML, Finn et al. 2017, section 5.2)."""
    learn_lr: bool = True
    """Learn one inner rate per element of every parameter, in log space (Meta-SGD, Li et al. 2017)."""
    lr_lr: float = 0.02
    """Rate of the optimiser that learns the logarithms of the inner rates."""
    inner_grad_norm: float | None = 1.0
    """Largest L2 norm of one task's inner gradient over all its parameters; none: not clipped."""
    bound: float | None = 4.0
    """Adapted parameters stay within plus and minus this; none: they are not bounded."""

    def __post_init__(self) -> None:
        if self.num_steps < 0:
            raise ValueError(f"num_steps is {self.num_steps}; give 0 (no adaptation) or more inner steps.")
        for name in ("lr", "lr_lr", "inner_grad_norm", "bound"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}; give a positive, finite number.")


class MetaLearner(nn.Module):
    """Adapts any dict of parameters to K tasks at once; its own parameters are the inner rates.

    Args:
        params: the meta-parameters by name, for their shapes, dtype and device; they are not kept.
        config: number of steps, rates, order of the meta-gradient.

    Raises:
        ValueError: without parameters, or for two names that differ only in "." and "/".
    """

    def __init__(self, params: Mapping[str, Tensor], config: MetaConfig | None = None) -> None:
        super().__init__()
        if not params:
            raise ValueError("MetaLearner got no parameters; pass those that the inner loop is to adapt.")
        self.config = config or MetaConfig()
        start = math.log(self.config.lr)
        rates = {
            _key(name): nn.Parameter(torch.full_like(p, start), requires_grad=self.config.learn_lr)
            for name, p in params.items()
        }
        if len(rates) < len(params):
            raise ValueError(f"Two of {sorted(params)} differ only in '.' and '/'; rename one of them.")
        self.names = tuple(params)
        self.log_rates = nn.ParameterDict(rates)

    def rates(self) -> dict[str, Tensor]:
        """The inner rate of every element, by parameter name; each has its parameter's shape."""
        return {name: self.log_rates[_key(name)].exp() for name in self.names}

    def adapt(
        self, params: Mapping[str, Tensor], loss: Loss, support: Any, *, num_steps: int | None = None
    ) -> dict[str, Tensor]:
        """Take `num_steps` inner steps on each task's support set.

        Differentiable with respect to `params`, the inner rates and whatever `support` and `loss` carry a graph of;
        under `torch.no_grad()` (acting) nothing is kept. A task whose inner gradient has a NaN or an infinity skips
        that step and keeps its parameters, so what comes back is finite if `params` was. Its *meta*-gradient is not
        repaired (zero times infinity is NaN): clip the outer gradient with `error_if_nonfinite=True`, or skip the
        outer step.

        Args:
            params: by name, each either shared by all tasks (the shape given at construction) or already one per
                task (a leading dimension K).
            loss: `loss(params, support) -> [K]`, the loss of each task, for parameters [K, ...]; the loss of task k
                must depend on the parameters of task k alone. `torch.vmap` makes one of a loss of a single task.
            support: tensors in any nesting of dicts, tuples and lists, each with a leading dimension K.
            num_steps: instead of the configured number; with 0 the parameters come back, one copy (view) per task.

        Returns:
            The adapted parameters by name, each with a leading dimension K.

        Raises:
            ValueError: for names or shapes other than those of construction, a K on which support, parameters and
                losses do not agree, or a negative number of steps.
        """
        steps = self.config.num_steps if num_steps is None else num_steps
        if steps < 0:
            raise ValueError(f"num_steps is {steps}; give 0 (no adaptation) or more inner steps.")
        adapted = self._per_task(params, support)
        rates, bound = self.rates(), self.config.bound
        # The outer graph has to hold the inner gradients only where they are differentiated again.
        second_order = torch.is_grad_enabled() and not self.config.first_order
        for _ in range(steps):
            at = adapted if second_order else {name: p.detach() for name, p in adapted.items()}
            with torch.set_grad_enabled(second_order):
                step = _safe(_gradient(at, loss, support), self.config.inner_grad_norm)
            adapted = {name: p - rates[name] * step[name] for name, p in adapted.items()}
            if bound is not None:
                adapted = {name: p.clamp(-bound, bound) for name, p in adapted.items()}
        return adapted

    def _per_task(self, params: Mapping[str, Tensor], support: Any) -> dict[str, Tensor]:
        """Every parameter with a leading dimension K, as a view where it was shared."""
        if set(params) != set(self.names):
            raise ValueError(f"adapt got parameters {sorted(params)}, expected {sorted(self.names)}.")
        counts = {len(x) if x.dim() else None for x in _tensors(support)}
        own = {name for name in self.names if params[name].shape != self.log_rates[_key(name)].shape}
        for name in own:
            given, shape = params[name].shape, self.log_rates[_key(name)].shape
            if given[1:] != shape:
                raise ValueError(
                    f"Parameter {name} has shape {tuple(given)}; give {tuple(shape)} (shared by all tasks) "
                    f"or (K, {', '.join(map(str, shape))}) (one per task)."
                )
            counts.add(given[0])
        count = counts.pop() if len(counts) == 1 else None
        if count is None:
            raise ValueError(
                "The support set and the parameters given per task do not agree on the number of tasks; every tensor "
                "of the support set needs the same leading dimension K, as have such parameters."
            )
        return {n: p if n in own else p.expand(count, *p.shape) for n, p in params.items()}


def _gradient(params: dict[str, Tensor], loss: Loss, support: Any) -> dict[str, Tensor]:
    """Each task's gradient of its loss, by parameter name [K, ...]; differentiable where gradients are on."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        at = {name: p if p.requires_grad else p.detach().requires_grad_() for name, p in params.items()}
        losses, count = loss(at, support), len(next(iter(at.values())))
        if losses.shape != (count,):
            raise ValueError(
                f"The loss has shape {tuple(losses.shape)}; give the loss of each of {count} tasks, [{count}]."
            )
        found = torch.autograd.grad(losses.sum(), list(at.values()), create_graph=again)
    return dict(zip(at, found, strict=True))


def _tensors(nested: Any) -> Iterator[Tensor]:
    """The tensors in any nesting of dicts, tuples and lists."""
    if isinstance(nested, Tensor):
        yield nested
        return
    for part in nested.values() if isinstance(nested, Mapping) else nested:
        yield from _tensors(part)


def _key(name: str) -> str:
    """Parameter names hold dots, which nn.ParameterDict refuses."""
    return name.replace(".", "/")


def _safe(gradient: dict[str, Tensor], max_norm: float | None) -> dict[str, Tensor]:
    """Clip each task's gradient [K, ...] to `max_norm` and zero it where the task has a NaN or an infinity."""
    squares = torch.stack([g.square().reshape(len(g), -1).sum(-1) for g in gradient.values()]).sum(0)  # [K]
    finite = squares.isfinite()
    # min(1, c / |g|) written so that its derivative stays finite at g = 0, where that of |g| is not.
    scale = None if max_norm is None else max_norm * squares.clamp(min=max_norm**2).rsqrt()

    def mend(g: Tensor) -> Tensor:
        shape = (-1, *[1] * (g.dim() - 1))
        clipped = g if scale is None else scale.view(shape) * g
        return torch.where(finite.view(shape), clipped, 0.0)

    return {name: mend(g) for name, g in gradient.items()}
