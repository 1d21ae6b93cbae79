"""What runs of k steps did, by arithmetic on numbered rows; the model and its loss against torch's own."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from memagent.dynamics import BETA, LOG_VAR, DynamicsModel, gaussian_loss, runs

T, B, K, S = 7, 3, 2, 4
INPUTS, OUTCOMES, CONTEXT, HIDDEN = 5, 3, 2, 6


def numbered_rows() -> dict[str, Tensor]:
    """Row t of stream b: observation (t, b), action (10 t, b, 1), change t², reward 2 t + b; T and one row more."""
    t, b = torch.meshgrid(torch.arange(T + 1.0), torch.arange(float(B)), indexing="ij")
    return {
        "obs": torch.stack((t, b), -1),
        "change": (t**2)[:T, :, None],
        "action": torch.stack((10 * t, b, torch.ones_like(t)), -1)[:T],
        "reward": (2 * t + b)[:T],
        "final": torch.zeros(T, B, dtype=torch.bool),
    }


@pytest.mark.parametrize("k", [1, 2, 3, T])
def test_a_run_holds_its_first_observation_its_actions_and_their_mean_outcome(k: int) -> None:
    found = runs(**numbered_rows(), k=k)
    starts = range(T + 1 - k)  # the last run ends at row T, which gives its observation alone
    assert found.inputs.shape == (len(starts), B, 2 + 3 * k)
    assert found.outcome.shape == (len(starts), B, 2) and found.mask.shape == (len(starts), B)
    assert found.mask.all()
    for start in starts:
        for b in range(B):
            steps = range(start, start + k)
            actions = [number for t in steps for number in (10 * t, b, 1)]
            assert found.inputs[start, b].tolist() == [start, b, *actions]
            expected = [np.mean([t**2 for t in steps]), np.mean([2 * t + b for t in steps])]
            np.testing.assert_allclose(found.outcome[start, b], expected, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 3])
def test_a_run_with_a_row_without_action_does_not_count(k: int) -> None:
    """A run may end on a final row, whose observation the last change is made of; none may start there or cross it."""
    rows = numbered_rows()
    rows["final"][4, 1] = True
    found = runs(**rows, k=k)
    assert found.mask[:, [0, 2]].all()
    counted = found.mask[:, 1].nonzero()[:, 0].tolist()
    assert counted == [t for t in range(T + 1 - k) if not t <= 4 < t + k]


def test_rows_of_any_shape_give_the_same_runs() -> None:
    rows = numbered_rows()
    plain = runs(**rows, k=2)
    shaped = runs(**{name: x[:, None, :, None] for name, x in rows.items()}, k=2)
    for a, b in zip(plain, shaped, strict=True):
        assert torch.equal(a, b[:, 0, :, 0])


@pytest.mark.parametrize("k", [1, 3])
def test_a_run_comes_with_the_steps_before_it_the_newest_first(k: int) -> None:
    """Across a row without action, or farther back than asked for, there are zeros."""
    h, rows = 2, numbered_rows()
    rows["final"][2, 1] = True
    count = T + 1 - k - h
    length = torch.full((count, B), h)
    length[1, 2] = 1
    plain, found = runs(**rows, k=k), runs(**rows, k=k, history=h, length=length)
    size = plain.inputs.shape[-1]
    assert found.inputs.shape == (count, B, size + h * (1 + 3))
    assert torch.equal(found.inputs[..., :size], plain.inputs[h:])
    assert torch.equal(found.outcome, plain.outcome[h:]) and torch.equal(found.mask, plain.mask[h:])
    for t in range(h, h + count):
        for b in range(B):
            past = [t - back for back in range(1, h + 1)]
            if b == 1:
                past = [p for p in past if not p <= 2 < t]
            if (t - h, b) == (1, 2):
                past = past[:1]
            gap = h - len(past)
            changes = [p**2 for p in past] + [0] * gap
            actions = [x for p in past for x in (10 * p, b, 1)] + [0] * 3 * gap
            assert found.inputs[t - h, b, size:].tolist() == [*changes, *actions]


def model(seed: int = 0) -> DynamicsModel:
    torch.manual_seed(seed)
    return DynamicsModel(INPUTS, OUTCOMES, CONTEXT, HIDDEN)


def test_at_first_a_context_of_zero_scales_and_shifts_nothing() -> None:
    net, x = model(), torch.randn(K, S, INPUTS)
    h = net.second(net.first(x).relu()).relu()
    mean, log_var = net(x, torch.zeros(K, CONTEXT))
    torch.testing.assert_close(mean, net.output(h)[..., :OUTCOMES])
    spread = net.output(h)[..., OUTCOMES:].sigmoid()
    torch.testing.assert_close(log_var, LOG_VAR[0] + (LOG_VAR[1] - LOG_VAR[0]) * spread)


def test_a_context_scales_and_shifts_both_hidden_layers_of_its_own_task_alone() -> None:
    """Against the equations of the module's docstring, a loop over tasks and rows."""
    net, x, z = model(), torch.randn(K, S, INPUTS), torch.randn(K, CONTEXT)
    mean, log_var = net(x, z)
    for k in range(K):
        a_1, c_1, a_2, c_2 = (net.film.weight @ z[k] + net.film.bias).split(HIDDEN)
        for s in range(S):
            h = (a_1 * (net.first.weight @ x[k, s] + net.first.bias) + c_1).clamp(min=0)
            h = (a_2 * (net.second.weight @ h + net.second.bias) + c_2).clamp(min=0)
            out = net.output.weight @ h + net.output.bias
            torch.testing.assert_close(mean[k, s], out[:OUTCOMES])
            low, high = LOG_VAR
            torch.testing.assert_close(log_var[k, s], low + (high - low) * out[OUTCOMES:].sigmoid())


def test_the_log_variance_keeps_its_bounds_however_large_the_outputs_are() -> None:
    net = model()
    with torch.no_grad():
        net.output.weight.mul_(1e4)
    _, log_var = net(torch.randn(1, 200, INPUTS), torch.zeros(1, CONTEXT))
    assert log_var.min().item() == LOG_VAR[0]
    assert log_var.max().item() == LOG_VAR[1]


def test_the_loss_is_the_negative_log_likelihood_weighted_by_the_variance_without_its_gradient() -> None:
    rng = torch.Generator().manual_seed(0)
    mean, log_var, outcome = torch.randn(3, K, S, OUTCOMES, generator=rng, dtype=torch.float64)
    mean.requires_grad_()
    log_var.requires_grad_()
    density = Normal(mean, (0.5 * log_var).exp()).log_prob(outcome) + 0.5 * np.log(2 * np.pi)
    weight = log_var.detach().exp() ** BETA
    expected = (weight * -density).mean(-1)
    found = gaussian_loss(mean, log_var, outcome)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for ours, torchs in zip(
        *(torch.autograd.grad(x.sum(), (mean, log_var)) for x in (found, expected)), strict=True
    ):
        torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-12)
