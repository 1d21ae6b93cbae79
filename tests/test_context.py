"""The inner loop of the context: compiled against the reference, what it must not touch, and what it brings."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from envs import compiling
from memagent import dynamics, fused_context
from memagent.context import AdaptConfig, ContextModel
from memagent.dynamics import Outcomes
from memagent.meta import MetaConfig

K, S, INPUTS, OUTCOMES, CONTEXT, HIDDEN = 5, 7, 4, 3, 2, 6
COUNTS = (4, 6, 0, 7, 1)  # rows that count, of every task
EMPTY = 2
SIZES = AdaptConfig(context_dim=CONTEXT, hidden_size=HIDDEN)
FREE = MetaConfig(lr=0.3, inner_grad_norm=None, bound=None)
CONFIGS = {
    "free": FREE,
    "some clipped": replace(FREE, inner_grad_norm=0.5),
    "all clipped": replace(FREE, inner_grad_norm=1e-2),
    "none clipped": replace(FREE, inner_grad_norm=1e3),
    "bounded": replace(FREE, bound=0.1),
    "clipped and bounded": replace(FREE, inner_grad_norm=0.5, bound=0.2),
    "first order": replace(FREE, first_order=True, inner_grad_norm=0.5, bound=0.2),
    "one step": replace(FREE, num_steps=1, inner_grad_norm=0.5),
    "no step": replace(FREE, num_steps=0),
    "defaults": MetaConfig(),
}


def context_model(
    meta: MetaConfig, dtype: torch.dtype = torch.float64, seed: int = 0, adapt: AdaptConfig = SIZES
) -> ContextModel:
    """With weights and rates all different."""
    torch.manual_seed(seed)
    model = ContextModel(INPUTS, OUTCOMES, adapt, meta).to(dtype)
    with torch.no_grad():
        for p in model.model.parameters():
            p.add_(0.2 * torch.randn_like(p))
        model.meta.log_rates["context"].add_(0.5 * torch.randn(CONTEXT, dtype=dtype))
    return model


def support_rows(dtype: torch.dtype = torch.float64) -> Outcomes:
    """Numbers of order one, of which some rows of every task count."""
    rng = torch.Generator().manual_seed(1)
    inputs = torch.randn(K, S, INPUTS, generator=rng, dtype=torch.float64)
    outcome = torch.randn(K, S, OUTCOMES, generator=rng, dtype=torch.float64)
    rank = torch.rand(K, S, generator=rng).argsort(-1).argsort(-1)
    return Outcomes(inputs.to(dtype), outcome.to(dtype), rank < torch.tensor(COUNTS)[:, None])


def reference(model: ContextModel, support: Outcomes) -> Tensor:
    """What `fit` does where the inner loop is not compiled."""
    rows = (model.model.encode(support.inputs), support.outcome, support.mask)
    start = torch.zeros(CONTEXT, dtype=support.inputs.dtype)
    return model.meta.adapt({"context": start}, model._support_loss, rows)["context"]


def gradients(
    fit: Callable[[ContextModel, Outcomes], Tensor], model: ContextModel, support: Outcomes
) -> dict[str, Tensor]:
    """Of a weighted sum of the contexts, by every parameter, zeros where there is none; and the contexts."""
    context = fit(model, support)
    weight = torch.linspace(-1.0, 2.0, context.numel(), dtype=context.dtype).view_as(context)
    # The encoder has its part of the outer loss in training too; without one, a fit of no steps has no graph.
    ((weight * context).sum() + 0.0 * sum(p.sum() for p in model.parameters())).backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    return {"contexts": context.detach(), **found}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_compiled_fit_is_the_reference_in_value_and_in_every_gradient(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    model, support = context_model(CONFIGS[name], dtype), support_rows(dtype)
    ours, theirs = gradients(ContextModel.fit, model, support), gradients(reference, model, support)
    for part, expected in theirs.items():
        torch.testing.assert_close(ours[part], expected, rtol=tolerance, atol=tolerance, msg=part)
    if CONFIGS[name].num_steps and not CONFIGS[name].first_order:
        moved = {part for part, g in ours.items() if g.abs().max() > 1e-6}
        assert moved == theirs.keys()  # the fit reaches all there is, or the comparison shows little


def test_the_cases_clip_and_bound_what_they_say() -> None:
    support = support_rows()

    def fitted(name: str) -> Tensor:
        return context_model(CONFIGS[name]).fit(support).detach()

    free = fitted("free")
    assert torch.equal(fitted("none clipped"), free)
    as_free = {n: torch.isclose(fitted(n), free).all(-1).sum() for n in ("some clipped", "all clipped")}
    assert as_free["all clipped"] == 1 < as_free["some clipped"] < K  # the empty task has nothing to clip
    for name in ("bounded", "clipped and bounded"):
        bound = CONFIGS[name].bound
        assert fitted(name).abs().max() == bound < free.abs().max()
        assert (fitted(name).abs() < bound).sum() > CONTEXT  # more than the empty task's


def set_loss(monkeypatch: pytest.MonkeyPatch, **numbers: object) -> None:
    """Other numbers for the loss of model and inner loop."""
    for name, value in numbers.items():
        monkeypatch.setattr(dynamics, name, value)
        monkeypatch.setattr(fused_context, name, value)


def test_the_gradient_of_the_compiled_fit_is_the_numerical_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Independent of the reference. The loss's weight must be 1: where it is not, no gradient goes through it."""
    set_loss(monkeypatch, BETA=0.0)
    model, support = context_model(replace(FREE, num_steps=2, inner_grad_norm=0.5, bound=0.2)), support_rows()
    names, params = zip(*model.named_parameters(), strict=True)

    def fitted(*some: Tensor) -> Tensor:
        given = {f"of.{name}": p for name, p in zip(names, some, strict=True)}
        return functional_call(Fit(model), given, (support,))

    assert torch.autograd.gradcheck(fitted, tuple(p.detach().clone().requires_grad_() for p in params))


class Fit(nn.Module):
    """`fit` as the forward pass of a module, which `functional_call` needs."""

    def __init__(self, of: ContextModel) -> None:
        super().__init__()
        self.of = of

    def forward(self, support: Outcomes) -> Tensor:
        return self.of.fit(support)


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    model = context_model(FREE)
    (first,) = torch.autograd.grad(
        model.fit(support_rows()).square().sum(), model.model.film.bias, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_the_compiled_fit_follows_the_numbers_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba's cache outlives a change of another module's constants: they must come in as data."""
    model, support = context_model(FREE), support_rows()
    before = model.fit(support)
    set_loss(monkeypatch, BETA=0.1, LOG_VAR=(-3.0, 1.0), LOG_VAR_RANGE=4.0)
    after = model.fit(support)
    torch.testing.assert_close(after, reference(model, support), rtol=1e-10, atol=1e-10)
    assert not torch.isclose(after, before)[[k for k in range(K) if k != EMPTY]].any()


@pytest.mark.parametrize("fit", [ContextModel.fit, reference])
def test_a_task_without_rows_has_a_context_of_zero_and_sends_no_gradient(
    fit: Callable[[ContextModel, Outcomes], Tensor],
) -> None:
    model, support = context_model(MetaConfig()), support_rows()
    support.inputs.requires_grad_()
    context = fit(model, support)
    assert not context[EMPTY].any() and context[[0, 1, 3, 4]].any(-1).all()
    context.sum().backward()
    sent = support.inputs.grad.any(-1)
    assert torch.equal(sent, support.mask)  # rows that do not count send none either
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("broken", [math.nan, math.inf, 1e200])
def test_broken_rows_leave_their_task_finite_and_the_others_untouched(broken: float) -> None:
    model, support = context_model(MetaConfig()), support_rows()
    healthy = gradients(ContextModel.fit, model, support)["contexts"]
    support.outcome[1, support.mask[1].nonzero()[0]] = broken
    found = gradients(ContextModel.fit, model, support)
    assert all(part.isfinite().all() for part in found.values())
    others = [0, 2, 3, 4]
    assert torch.equal(found["contexts"][others], healthy[others])
    assert not found["contexts"][1].any()
    # Where no row that counts is broken, nothing changes.
    support = support_rows()
    support.outcome[~support.mask] = broken
    assert torch.equal(model.fit(support), healthy)


def test_memory_and_heads_are_told_contexts_of_order_one_without_gradient_and_zero_as_zero() -> None:
    model = context_model(MetaConfig())
    context = 0.03 * torch.randn(50, CONTEXT, dtype=torch.float64, requires_grad=True)
    context = torch.where(torch.arange(50)[:, None] % 2 == 0, context, 0.0)  # every other had no rows
    assert torch.equal(model.told(context), context)  # nothing is known of the scale at first
    model.observe_scale(torch.zeros(3, CONTEXT, dtype=torch.float64))
    assert model.mean_square.item() == 1.0
    for _ in range(600):
        model.observe_scale(context)
    told = model.told(context)
    assert not told.requires_grad
    assert told[::2].square().mean().item() == pytest.approx(1.0, rel=0.01)
    assert not told[1::2].any()
    ratio = told[::2] / context[::2]
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))  # one factor for all
    again = context_model(MetaConfig(), seed=1)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.told(context), told)


def test_the_squared_error_is_that_of_the_mean_under_a_context_as_it_is_told() -> None:
    model, support = context_model(MetaConfig()), support_rows()
    context = model.fit(support).detach()
    for _ in range(50):
        model.observe_scale(context)
    found = model.squared_error(model.told(context)[:, None].expand(K, S, CONTEXT), support)
    for k in range(K):
        mean, _ = model.model(support.inputs[k : k + 1], context[k : k + 1])
        torch.testing.assert_close(found[k], (mean[0] - support.outcome[k]).square().mean(-1))


def test_acting_infers_what_training_fits_and_tells() -> None:
    model, support = context_model(MetaConfig()), support_rows()
    model.observe_scale(model.fit(support))
    found = model.infer(support)
    assert not found.requires_grad
    assert torch.equal(found, model.told(model.fit(support)))


@pytest.mark.parametrize("compiled", [True, False])
def test_acting_may_take_more_steps_than_training(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "ENABLED", compiled)
    support = support_rows()

    def infer(meta: MetaConfig, acting_steps: int | None) -> Tensor:
        model = context_model(meta, adapt=replace(SIZES, acting_steps=acting_steps))
        return model.infer(support)

    five, nine = MetaConfig(num_steps=5), MetaConfig(num_steps=9)
    assert torch.equal(infer(five, 9), infer(nine, None))
    assert torch.equal(infer(five, 5), infer(five, None))
    assert not torch.equal(infer(five, 9), infer(five, None))
    model = context_model(five, adapt=replace(SIZES, acting_steps=9))
    torch.testing.assert_close(model.fit(support), reference(model, support))  # training keeps its own


PLANTS, SHOTS, QUERY = 16, 8, 16


def plants(rows: int, rng: torch.Generator) -> Outcomes:
    """A push of u moves plant k by ±gain_k u, in noise, and pays -u²; sign and gain are hidden. [PLANTS, rows, …]"""
    sign = (torch.rand(PLANTS, 1, generator=rng) < 0.5).float() * 2.0 - 1.0
    gain = 0.5 + torch.rand(PLANTS, 1, generator=rng)
    seen, push, noise = torch.randn(3, PLANTS, rows, generator=rng)
    moved = sign * gain * push + 0.1 * noise
    mask = torch.ones(PLANTS, rows, dtype=torch.bool)
    return Outcomes(torch.stack((seen, push), -1), torch.stack((moved, -push.square()), -1), mask)


def part(rows: Outcomes, which: slice) -> Outcomes:
    return Outcomes(*(x[:, which] for x in rows))


@pytest.fixture(scope="module")
def trained() -> ContextModel:
    torch.manual_seed(0)
    sizes = AdaptConfig(context_dim=4, hidden_size=32)
    model, rng = ContextModel(2, 2, sizes, MetaConfig()), torch.Generator().manual_seed(0)
    groups = [(model.model, 3e-3), (model.meta, model.meta.config.lr_lr)]
    optimiser = torch.optim.Adam([{"params": list(m.parameters()), "lr": rate} for m, rate in groups])
    for _ in range(400):
        rows = plants(SHOTS + QUERY, rng)
        count = torch.randint(SHOTS + 1, (PLANTS, 1), generator=rng)  # as the learner does: from none on
        support = part(rows, slice(SHOTS))._replace(mask=torch.arange(SHOTS) < count)
        context = model.fit(support)
        model.observe_scale(context)
        optimiser.zero_grad()
        model.loss(context, part(rows, slice(SHOTS, None))).mean().backward()
        optimiser.step()
    return model


@torch.no_grad()
def errors(model: ContextModel) -> dict[str, float]:
    """Mean squared errors of the predicted motion in fresh plants, by what the context is fitted to."""
    rng, squares = torch.Generator().manual_seed(99), {"own": 0.0, "nothing": 0.0, "another": 0.0}
    for _ in range(20):
        rows = plants(SHOTS + QUERY, rng)
        support, query = part(rows, slice(SHOTS)), part(rows, slice(SHOTS, None))
        own = model.fit(support)
        contexts = {"own": own, "nothing": torch.zeros_like(own), "another": own.roll(1, 0)}
        for name, context in contexts.items():
            mean, _ = model.model(query.inputs, context)
            squares[name] += (mean - query.outcome)[..., 0].square().mean().item() / 20
    return squares


def test_eight_rows_tell_a_plant_that_it_was_never_trained_on(trained: ContextModel) -> None:
    """The best without a context is the mean plant's: 1.08, the mean square of the gain. Another plant's says less."""
    found = errors(trained)
    print({name: round(error, 3) for name, error in found.items()})
    assert 0.9 < found["nothing"] < 1.4
    assert found["own"] < 0.3 * found["nothing"]
    assert found["another"] > found["nothing"]


def test_trained_contexts_are_told_at_order_one(trained: ContextModel) -> None:
    rng = torch.Generator().manual_seed(7)
    told = torch.cat([trained.infer(plants(SHOTS, rng)) for _ in range(10)])
    assert 0.3 < told.square().mean().item() < 3.0


def test_wrong_sizes_are_refused_in_a_sentence() -> None:
    sizes = ("context_dim", "steps_ahead", "hidden_size", "train_support", "support", "acting_steps")
    for name in (*sizes, "reward_unit"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            AdaptConfig(**{name: 0})
    for name in ("history", "evidence_history", "young"):
        with pytest.raises(ValueError, match=f"{name} is -1"):
            AdaptConfig(**{name: -1})


def test_rows_of_other_sizes_are_refused_before_they_are_read() -> None:
    model, rows = context_model(FREE), support_rows()
    wide = rows._replace(outcome=torch.cat((rows.outcome, rows.outcome), -1))
    with pytest.raises(ValueError, match=r"shapes .* give"):
        model.fit(wide)
    with pytest.raises(ValueError, match="one precision"):
        model.fit(rows._replace(outcome=rows.outcome.float()))
