"""float64 gradient checks of the reference, and finite gradients where formulas have a 0/0."""

import pytest
import torch
from memory.dnc_cases import build_dnc, generic_state, small_config
from torch.autograd import gradcheck, gradgradcheck

from memagent.memory import DNCState, bank

TINY = {"memory_size": 4, "memory_dim": 3, "num_read_heads": 2, "hidden_size": 3}


def tiny(config):
    return small_config(
        **TINY,
        temporal_links=config.temporal_links,
        layer_norm=config.layer_norm,
        masking=config.masking,
        deallocation=config.deallocation,
        link_sharpness=config.link_sharpness,
        strength_bias=min(config.strength_bias, 1.0),  # as sharp as finite differences can follow
    )


def step_and_inputs(config):
    """The bank's step as a function of differentiable tensors, at a generic point."""
    state = bank.BankState(*generic_state(config, batch=2, seed=5)[3:])
    used = [n for n, s in enumerate(state) if s.numel()]
    xi = torch.randn(
        2, bank.interface_size(config), dtype=torch.float64, generator=torch.Generator().manual_seed(6)
    )

    def step(xi, *tensors):
        parts = list(state)
        for n, tensor in zip(used, tensors, strict=True):
            parts[n] = tensor
        reads, after = bank.step(bank.BankState(*parts), bank.parse_interface(xi, config), config)
        return (reads, *(s for s in after if s.numel()))

    return step, [t.clone().requires_grad_() for t in (xi, *(state[n] for n in used))]


def test_gradients_of_a_step(config):
    step, inputs = step_and_inputs(tiny(config))
    assert gradcheck(step, inputs)


def test_second_gradients_of_a_step(config):
    step, inputs = step_and_inputs(tiny(config))
    assert gradgradcheck(step, inputs, fast_mode=True, atol=1e-4)


def test_gradients_of_an_unroll_with_a_reset(config):
    config = tiny(config)
    memory = build_dnc(config, input_dim=2)
    x = torch.randn(
        3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(7), requires_grad=True
    )
    start = torch.tensor([[False, False], [True, False], [False, False]])
    state = generic_state(config, batch=2, seed=8)
    names = [name for name, _ in memory.named_parameters()]

    def unroll(x, *weights):
        y, after = torch.func.functional_call(
            memory, dict(zip(names, weights, strict=True)), (x, start, state)
        )
        return y, after.M

    inputs = [x, *(p.detach().clone().requires_grad_() for p in memory.parameters())]
    assert gradcheck(unroll, inputs, fast_mode=True)
    assert gradgradcheck(unroll, inputs, fast_mode=True, atol=1e-4)


def special_states(config):
    zero = DNCState(*(torch.zeros_like(s) for s in generic_state(config)))
    generic = generic_state(config)
    tied = generic._replace(u=torch.full_like(generic.u, 0.5), M=torch.ones_like(generic.M))
    one_hot_r, one_hot_w = torch.zeros_like(generic.w_r), torch.zeros_like(generic.w_w)
    one_hot_r[..., 0], one_hot_w[..., 1] = 1.0, 1.0
    full = generic._replace(
        u=torch.ones_like(generic.u), w_r=one_hot_r, w_w=one_hot_w, p=one_hot_w[:, : generic.p.shape[1]]
    )
    return {"zero": zero, "tied": tied, "saturated": full}


@pytest.mark.parametrize("which", ["zero", "tied", "saturated"])
@pytest.mark.parametrize("gain", [0.0, 1.0, 1e3], ids=["no_interface", "plain", "saturated_gates"])
def test_gradients_are_finite_on_special_states(config, which, gain):
    memory = build_dnc(config, gain=gain)
    if gain == 0.0:
        torch.nn.init.zeros_(memory.interface.bias)  # keys of zeros
    state = DNCState(*(s.clone().requires_grad_() for s in special_states(config)[which]))
    x = torch.zeros(3, len(state.h), memory.input_dim, dtype=torch.float64, requires_grad=True)
    y, after = memory(x, torch.zeros(x.shape[:2], dtype=torch.bool), state)
    loss = y.square().sum() + sum(s.square().sum() for s in after)
    wanted = [x, *state, *memory.parameters()]
    for gradient in torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("which", ["zero", "tied", "saturated"])
def test_second_gradients_are_finite_on_special_states(config, which):
    memory, state = build_dnc(config), special_states(config)[which]
    x = torch.zeros(2, len(state.h), memory.input_dim, dtype=torch.float64, requires_grad=True)
    y, _ = memory(x, torch.zeros(x.shape[:2], dtype=torch.bool), state)
    weights = list(memory.parameters())
    first = torch.autograd.grad(y.square().sum(), weights, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), weights, allow_unused=True)
    assert all(g.isfinite().all() for g in (*first, *second) if g is not None)
