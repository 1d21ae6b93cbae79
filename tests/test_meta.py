"""The inner loop against algebra, against a plain loop over tasks, and on the sinusoids of Finn et al. 2017."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from memagent.meta import MetaConfig, MetaLearner

K, DIM, STEPS = 3, 4, 3


@pytest.fixture
def quadratic() -> dict[str, Tensor]:
    """K tasks L_k(x) = (x - c_k)' A_k (x - c_k) / 2, judged by |x - q_k|^2 / 2; float64."""
    rng = torch.Generator().manual_seed(0)
    root = torch.randn(K, DIM, DIM, generator=rng, dtype=torch.float64)
    return {
        "A": root @ root.mT + torch.eye(DIM, dtype=torch.float64),
        "c": torch.randn(K, DIM, generator=rng, dtype=torch.float64),
        "q": torch.randn(K, DIM, generator=rng, dtype=torch.float64),
        "x": torch.randn(DIM, generator=rng, dtype=torch.float64),
        "log_rate": torch.randn(DIM, generator=rng, dtype=torch.float64) * 0.3 - 3.0,
    }


def free(**settings: Any) -> MetaConfig:
    """An inner loop that nothing clips or bounds."""
    return MetaConfig(**{"inner_grad_norm": None, "bound": None} | settings)


@torch.vmap
def bowl(params: dict[str, Tensor], support: dict[str, Tensor]) -> Tensor:
    gap = params["x"] - support["c"]
    return 0.5 * gap @ support["A"] @ gap


def meta_gradients(quadratic: dict[str, Tensor], first_order: bool) -> tuple[Tensor, Tensor]:
    """By the learner: the gradients of the outer loss for x and for the logarithms of its rates."""
    x = quadratic["x"].clone().requires_grad_()
    learner = MetaLearner({"x": x}, free(num_steps=STEPS, first_order=first_order))
    with torch.no_grad():
        learner.log_rates["x"].copy_(quadratic["log_rate"])
    adapted = learner.adapt({"x": x}, bowl, {"A": quadratic["A"], "c": quadratic["c"]})
    (0.5 * (adapted["x"] - quadratic["q"]).square().sum()).backward()
    return x.grad, learner.log_rates["x"].grad


def analytic_gradients(quadratic: dict[str, Tensor], first_order: bool) -> tuple[Tensor, Tensor]:
    """By algebra: x_{k+1} = x_k - a g_k, g_k = A (x_k - c), so dx_n/dx = P^n with P = I - diag(a) A."""
    a = quadratic["log_rate"].exp()
    for_x, for_log_rate = torch.zeros(2, DIM, dtype=torch.float64)
    for A, c, q in zip(quadratic["A"], quadratic["c"], quadratic["q"], strict=True):
        x, gradients = quadratic["x"], []
        for _ in range(STEPS):
            gradients.append(A @ (x - c))
            x = x - a * gradients[-1]
        # First order drops the inner gradients' own dependence on x: P becomes the identity.
        P = torch.eye(DIM, dtype=torch.float64) - (0.0 if first_order else a[:, None] * A)
        outer = x - q
        for_x = for_x + torch.linalg.matrix_power(P, STEPS).T @ outer
        for k, g in enumerate(gradients):
            for_log_rate = for_log_rate - a * (torch.linalg.matrix_power(P, STEPS - 1 - k).T @ outer) * g
    return for_x, for_log_rate


@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradient_of_a_quadratic_is_the_analytic_one(quadratic, first_order):
    for ours, exact in zip(
        meta_gradients(quadratic, first_order), analytic_gradients(quadratic, first_order), strict=True
    ):
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)


def test_first_and_second_order_differ_in_the_meta_gradient_alone(quadratic):
    assert not torch.allclose(
        meta_gradients(quadratic, False)[0], meta_gradients(quadratic, True)[0], rtol=1e-2
    )
    x, support = quadratic["x"].clone().requires_grad_(), {name: quadratic[name] for name in "Ac"}
    first, second = (
        MetaLearner({"x": x}, MetaConfig(first_order=order, bound=1.0)).adapt({"x": x}, bowl, support)["x"]
        for order in (True, False)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("clip", [None, 0.5])  # the gradients' norms are 3 and more
def test_meta_gradient_reaches_the_support_set(quadratic, clip):
    learner = MetaLearner({"x": quadratic["x"]}, free(num_steps=2, lr=0.05, inner_grad_norm=clip))
    A = quadratic["A"]

    def adapted(c: Tensor) -> Tensor:
        return learner.adapt({"x": quadratic["x"]}, bowl, {"A": A, "c": c})["x"]

    assert torch.autograd.gradcheck(adapted, (quadratic["c"].clone().requires_grad_(),))


def sine_tasks(count: int, shots: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points [count, shots, 1] of y = A sin(x - b), A in [0.1, 5], b in [0, pi], x in [-5, 5]."""
    amplitude = torch.rand(count, 1, 1, generator=rng) * 4.9 + 0.1
    phase = torch.rand(count, 1, 1, generator=rng) * math.pi
    x = torch.rand(count, shots, 1, generator=rng) * 10 - 5
    return x, amplitude * torch.sin(x - phase)


def network(seed: int = 0, width: int = 40) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
    )


def squared_error(net: nn.Module) -> Callable[[dict[str, Tensor], tuple[Tensor, Tensor]], Tensor]:
    """Of one task; `torch.vmap` makes it one of many."""

    def loss(params: dict[str, Tensor], points: tuple[Tensor, Tensor]) -> Tensor:
        x, y = points
        return (functional_call(net, params, (x,)) - y).square().mean()

    return loss


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("per_task", [False, True])
def test_all_tasks_at_once_equal_a_loop_over_them(per_task, clip):
    net = network(width=6).double()
    params = {name: p.detach().clone() for name, p in net.named_parameters()}
    learner = MetaLearner(params, free(num_steps=STEPS, lr=0.1, inner_grad_norm=clip))
    x, y = (z.double() for z in sine_tasks(K, 7, torch.Generator().manual_seed(1)))
    if per_task:
        params = {name: p + 0.1 * torch.randn(K, *p.shape, dtype=p.dtype) for name, p in params.items()}
    together = learner.adapt(params, torch.vmap(squared_error(net)), (x, y))

    for k in range(K):
        own = {name: (p[k] if per_task else p).clone().requires_grad_() for name, p in params.items()}
        for _ in range(STEPS):
            loss = squared_error(net)(own, (x[k], y[k]))
            gradients = torch.autograd.grad(loss, list(own.values()))
            norm = torch.cat([g.flatten() for g in gradients]).norm()
            factor = 1.0 if clip is None else min(1.0, clip / norm.item())
            own = {
                name: (p - 0.1 * factor * g).detach().requires_grad_()
                for (name, p), g in zip(own.items(), gradients, strict=True)
            }
        for name, p in own.items():
            torch.testing.assert_close(together[name][k], p, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("first_order", [False, True])
def test_no_graph_is_kept_under_no_grad(quadratic, first_order):
    x = quadratic["x"].clone().requires_grad_()
    learner = MetaLearner({"x": x}, MetaConfig(first_order=first_order))
    support = {"A": quadratic["A"], "c": quadratic["c"]}
    with torch.no_grad():
        acting = learner.adapt({"x": x}, bowl, support)["x"]
    training = learner.adapt({"x": x}, bowl, support)["x"]
    assert not acting.requires_grad and training.requires_grad
    assert torch.equal(acting, training)


def test_fixed_rates_get_no_gradient(quadratic):
    x = quadratic["x"].clone().requires_grad_()
    learner = MetaLearner({"x": x}, MetaConfig(learn_lr=False))
    learner.adapt({"x": x}, bowl, {"A": quadratic["A"], "c": quadratic["c"]})["x"].sum().backward()
    assert learner.log_rates["x"].grad is None and x.grad is not None


def test_rates_are_saved_under_dotted_names():
    net = network(width=5)
    learner, other = (MetaLearner(dict(net.named_parameters()), MetaConfig(lr=lr)) for lr in (0.3, 0.01))
    other.load_state_dict(learner.state_dict())
    assert list(other.rates()) == [name for name, _ in net.named_parameters()]
    for name, p in net.named_parameters():
        torch.testing.assert_close(other.rates()[name], torch.full_like(p, 0.3))


def test_a_task_with_a_broken_gradient_keeps_its_parameters():
    learner = MetaLearner({"w": torch.ones(2)}, free(num_steps=3, lr=0.1))
    scale = torch.tensor([1.0, math.nan, math.inf])
    adapted = learner.adapt({"w": torch.ones(2)}, lambda p, s: s * p["w"].sum(-1), scale)["w"]
    torch.testing.assert_close(adapted, torch.tensor([[0.7, 0.7], [1.0, 1.0], [1.0, 1.0]]))


def test_clipping_is_differentiable_at_a_zero_gradient():
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    learner = MetaLearner({"w": w}, MetaConfig(num_steps=2, inner_grad_norm=1.0))
    adapted = learner.adapt({"w": w}, lambda p, s: s * p["w"].square().sum(-1), torch.ones(1, dtype=w.dtype))
    adapted["w"].sum().backward()
    torch.testing.assert_close(w.grad, torch.full_like(w, (1 - 2 * 0.01) ** 2))


def test_clipping_is_per_task_and_over_all_parameters_together():
    """Task k has the gradient s_k (3, 4): 3 for u, 4 for v, of norm 5 s_k, which may be 2 at most."""
    params = {"u": torch.zeros(1), "v": torch.zeros(1)}
    learner = MetaLearner(params, free(num_steps=1, lr=0.5, inner_grad_norm=2.0))
    scale = torch.tensor([0.1, 0.4, 100.0])
    adapted = learner.adapt(params, lambda p, s: s * (3.0 * p["u"] + 4.0 * p["v"]).sum(-1), scale)
    norm = torch.tensor([0.5, 2.0, 2.0])
    torch.testing.assert_close(adapted["u"][:, 0], -0.5 * norm * 0.6)
    torch.testing.assert_close(adapted["v"][:, 0], -0.5 * norm * 0.8)


def test_adapted_parameters_stay_within_the_bound():
    """Down a slope of 1 a step goes 0.5 down: from 0.7 to the bound at -1 in four, and no further."""
    w = torch.tensor([0.7], requires_grad=True)
    learner = MetaLearner({"w": w}, MetaConfig(lr=0.5, inner_grad_norm=None, bound=1.0))

    def fallen(steps: int, slope: float = 1.0) -> Tensor:
        return learner.adapt(
            {"w": w}, lambda p, s: s * p["w"].sum(-1), torch.tensor([slope]), num_steps=steps
        )["w"]

    found = [round(fallen(steps).item(), 6) for steps in range(6)]
    assert found == [0.7, 0.2, -0.3, -0.8, -1.0, -1.0]
    assert fallen(5, slope=-1.0).item() == 1.0
    # No meta-gradient reaches through a step that the bound stopped.
    assert torch.autograd.grad(fallen(3).sum(), w)[0].item() == 1.0
    assert torch.autograd.grad(fallen(4).sum(), w)[0].item() == 0.0


def test_a_loss_that_is_not_one_number_per_task_is_refused():
    learner, w = MetaLearner({"w": torch.zeros(3)}), torch.zeros(3)
    losses = {"()": lambda p, s: p["w"].sum(), "(2, 3)": lambda p, s: p["w"]}
    for shape, loss in losses.items():
        with pytest.raises(ValueError, match=f"loss has shape {re.escape(shape)}.*each of 2 tasks"):
            learner.adapt({"w": w}, loss, torch.zeros(2, 1))


def test_a_parameter_may_be_one_number():
    a = torch.zeros(())
    rates = MetaConfig(num_steps=1, lr=0.1, inner_grad_norm=None)
    adapted = MetaLearner({"a": a}, rates).adapt({"a": a}, lambda p, s: (p["a"] - s) ** 2, torch.arange(3.0))
    torch.testing.assert_close(adapted["a"], 0.2 * torch.arange(3.0))


def test_zero_steps_give_every_task_the_parameters():
    w = torch.arange(3.0)
    adapted = MetaLearner({"w": w}).adapt(
        {"w": w}, lambda p, s: p["w"].sum(-1), {"a": [torch.zeros(5, 2)]}, num_steps=0
    )["w"]
    assert torch.equal(adapted, w.expand(5, 3))


@pytest.mark.parametrize(
    ("params", "support", "message"),
    [
        ({"v": torch.zeros(3)}, torch.zeros(2, 1), "expected"),
        ({"w": torch.zeros(4)}, torch.zeros(2, 1), "one per task"),
        ({"w": torch.zeros(5, 3)}, torch.zeros(2, 1), "leading dimension K"),
        ({"w": torch.zeros(3)}, (torch.zeros(2, 1), torch.zeros(4)), "leading dimension K"),
    ],
)
def test_wrong_shapes_are_refused_in_a_sentence(params, support, message):
    learner = MetaLearner({"w": torch.zeros(3)})
    with pytest.raises(ValueError, match=message):
        learner.adapt(params, lambda p, s: p["w"].sum(-1), support)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="no parameters"):
        MetaLearner({})
    with pytest.raises(ValueError, match="differ only"):
        MetaLearner({"a.b": torch.zeros(1), "a/b": torch.zeros(1)})
    with pytest.raises(ValueError, match="num_steps"):
        MetaLearner({"w": torch.zeros(1)}).adapt({"w": torch.zeros(1)}, bowl, torch.zeros(1), num_steps=-1)
    for wrong in (
        {"num_steps": -1},
        {"lr": 0.0},
        {"lr_lr": math.inf},
        {"inner_grad_norm": math.nan},
        {"bound": 0.0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MetaConfig(**wrong)


def mean_query_error(net: nn.Module, learner: MetaLearner, shots: int, steps: int) -> float:
    """Squared error on 100 fresh points of 200 fresh sinusoids after `steps` inner steps on `shots` points."""
    rng = torch.Generator().manual_seed(99)
    x, y = sine_tasks(200, shots + 100, rng)
    with torch.no_grad():
        adapted = learner.adapt(
            dict(net.named_parameters()),
            torch.vmap(squared_error(net)),
            (x[:, :shots], y[:, :shots]),
            num_steps=steps,
        )
        return torch.vmap(squared_error(net))(adapted, (x[:, shots:], y[:, shots:])).mean().item()


@pytest.fixture(scope="module")
def sinusoids():
    """(meta-trained network, its learner) and the null: the same network, data and updates, no inner loop."""
    meta_net, plain_net = network(), network()
    learner = MetaLearner(dict(meta_net.named_parameters()), free(num_steps=5, lr=0.01))
    meta_optimiser = torch.optim.Adam(
        [
            {"params": meta_net.parameters(), "lr": 3e-3},
            {"params": learner.parameters(), "lr": learner.config.lr_lr},
        ]
    )
    plain_optimiser = torch.optim.Adam(plain_net.parameters(), 3e-3)
    rng = torch.Generator().manual_seed(0)
    for _ in range(500):
        x, y = sine_tasks(25, 20, rng)
        adapted = learner.adapt(
            dict(meta_net.named_parameters()), torch.vmap(squared_error(meta_net)), (x[:, :10], y[:, :10])
        )
        loss = torch.vmap(squared_error(meta_net))(adapted, (x[:, 10:], y[:, 10:])).mean()
        meta_optimiser.zero_grad()
        loss.backward()
        meta_optimiser.step()

        plain_optimiser.zero_grad()
        squared_error(plain_net)(dict(plain_net.named_parameters()), (x, y)).backward()
        plain_optimiser.step()
    return meta_net, plain_net, learner


@pytest.mark.parametrize("shots", [5, 10])
def test_sinusoids_are_learned_from_a_few_points_and_not_without_the_meta_objective(sinusoids, shots):
    meta_net, plain_net, learner = sinusoids
    adapted = mean_query_error(meta_net, learner, shots, 5)
    unadapted = mean_query_error(meta_net, learner, shots, 0)
    # The null gets the better of the learned rates and the best fixed one of a decade-wide search.
    fixed = [MetaLearner(dict(plain_net.named_parameters()), free(lr=lr)) for lr in (0.1, 0.03, 0.01, 0.001)]
    null = min(mean_query_error(plain_net, rates, shots, 5) for rates in [learner, *fixed])
    print(f"{shots} shots: adapted {adapted:.3f}, unadapted {unadapted:.3f}, null {null:.3f}")
    assert adapted < 0.5 * null
    assert adapted < 0.5 * unadapted
