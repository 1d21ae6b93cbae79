"""A DNC with T, B, N, W, R, H and I all different and odd sizes among them, and states that are hard on kernels."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from memagent.memory import DNC, DNCState, MemoryConfig
from memagent.memory.fused.unroll import fused_unroll

# More sequences than a span holds, and sizes that are no multiples of what is handled at once.
T, B, N, W, R, H, IN = 5, 11, 29, 18, 3, 23, 7
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "paper": {"layer_norm": False, "strength_bias": 0.0},
    "no_links": {"temporal_links": False},
    "masking": {"masking": True},
    "deallocation": {"deallocation": True},
    "all": {"masking": True, "deallocation": True},
    "all_without_links": {
        "masking": True,
        "deallocation": True,
        "temporal_links": False,
        "layer_norm": False,
    },
}
STATES = ("random", "zero", "saturated", "tied")


class Case(NamedTuple):
    """A memory and what it is called with."""

    dnc: DNC
    x: Tensor
    start: Tensor
    state: DNCState


def make_case(
    state: str = "random",
    dtype: torch.dtype = torch.float32,
    seed: int = 3,
    resets: float = 0.0,
    steps: int = T,
    **options: Any,
) -> Case:
    """A case in general position; resets is the share of steps at which a sequence starts, options may have sizes."""
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    sizes = {"memory_size": N, "memory_dim": W, "num_read_heads": R, "hidden_size": H}
    dnc = DNC(MemoryConfig(**(sizes | options), backend="reference"), IN).double()
    with torch.no_grad():
        for parameter in dnc.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=g, dtype=torch.float64)
    x = torch.randn(steps, B, IN, generator=g, dtype=torch.float64)
    start = torch.rand(steps, B, generator=g) < resets
    make = {"random": random_state, "zero": zero_state, "saturated": saturated_state, "tied": tied_state}[
        state
    ]
    made = make(dnc, g)
    return Case(dnc.to(dtype), x.to(dtype), start, DNCState(*(s.to(dtype) for s in made)))


def zero_state(dnc: DNC, g: torch.Generator) -> DNCState:
    return dnc.initial_state(B)


def random_state(dnc: DNC, g: torch.Generator) -> DNCState:
    """Distinct usages, weights that sum to less than one, links without a diagonal."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=g, dtype=torch.float64)

    N, W, R = dnc.config.memory_size, dnc.config.memory_dim, dnc.config.num_read_heads
    P = N if dnc.config.temporal_links else 0
    h, c, r, M = (2 * rand(*s) - 1 for s in ((B, H), (B, H), (B, R * W), (B, N, W)))
    ranks = torch.stack([torch.randperm(N, generator=g) for _ in range(B)])
    u = (ranks + 0.5 + 0.4 * rand(B, N)) / (N + 1)
    L = rand(B, P, P) / N * (1 - torch.eye(P, dtype=torch.float64))
    return DNCState(h, c, r, M, u, rand(B, P) / N, L, rand(B, N) / N, rand(B, R, N) / N)


def saturated_state(dnc: DNC, g: torch.Generator) -> DNCState:
    """Usages of exactly 0 and 1, one-hot weights and links, large content, interface values far out."""
    state, slots = random_state(dnc, g), torch.arange(B) % N
    hot = torch.nn.functional.one_hot(slots, N).double()
    with torch.no_grad():
        dnc.interface.bias *= 20
    links = {"p": hot, "L": torch.eye(N, dtype=torch.float64).roll(1, 0).expand(B, N, N)}
    return state._replace(
        M=30 * state.M,
        u=(state.u > 0.5).double(),
        w_w=hot.roll(1, 1),
        w_r=hot.roll(2, 1).unsqueeze(1).expand(B, R, N).contiguous(),
        **(links if dnc.config.temporal_links else {}),
    )


def tied_state(dnc: DNC, g: torch.Generator) -> DNCState:
    """All usages equal, nothing written or read before."""
    state = random_state(dnc, g)
    still = {"w_w": torch.zeros_like(state.w_w), "w_r": torch.zeros_like(state.w_r)}
    return state._replace(u=torch.full_like(state.u, 0.5), **still)


class Result(NamedTuple):
    """Values and gradients of one unroll."""

    y: Tensor
    state: DNCState
    d_x: Tensor
    d_state: tuple[Tensor, ...]
    d_parameters: tuple[Tensor, ...]

    def named(self) -> dict[str, Tensor]:
        """Every tensor with at least one element."""
        names = {"y": self.y, "d_x": self.d_x} | self.state._asdict()
        names |= {f"d_{name}": d for name, d in zip(self.state._fields, self.d_state, strict=True)}
        names |= {f"d_parameter_{i}": d for i, d in enumerate(self.d_parameters)}
        return {name: value for name, value in names.items() if value.numel()}


def unroll(case: Case, *, fused: bool) -> Result:
    """Both outputs and every gradient, of a loss that weighs all outputs at random."""
    return results_of(fused_unroll if fused else lambda dnc, *arguments: dnc(*arguments), case)


def results_of(function: Callable[..., tuple[Tensor, DNCState]], case: Case) -> Result:
    """The same of any implementation, function(dnc, x, start, state)."""
    x = case.x.clone().requires_grad_()
    state = DNCState(*(s.clone().requires_grad_() for s in case.state))
    y, final = function(case.dnc, x, case.start, state)
    g = torch.Generator().manual_seed(1)
    d_outputs = [torch.randn(o.shape, generator=g, dtype=torch.float64).to(o) for o in (y, *final)]
    parameters = tuple(case.dnc.parameters())
    d = torch.autograd.grad((y, *final), (x, *state, *parameters), d_outputs, materialize_grads=True)
    return Result(y.detach(), DNCState(*(s.detach() for s in final)), d[0], d[1:10], d[10:])


def difference(given: Tensor, expected: Tensor) -> float:
    """max |a - b| / max |b|; where b is zero everywhere, a has to be."""
    error, scale = (given - expected).abs().max().item(), expected.abs().max().item()
    return error / scale if scale else error
