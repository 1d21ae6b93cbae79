import gc

import pytest
import torch
from kernels.kernel_cases import B, T, make_case

from memagent.memory import DNC, MemoryConfig
from memagent.memory.fused.unroll import fused_unroll, workspaces


@pytest.fixture(autouse=True)
def no_workspaces() -> None:
    gc.collect()
    workspaces.clear()


def free() -> int:
    return len(workspaces)


def train(case, scale: float = 1.0) -> torch.Tensor:
    return fused_unroll(case.dnc, scale * case.x, case.start, case.state)[0].square().mean()


def gradient_of(loss: torch.Tensor, case, **options) -> torch.Tensor:
    return torch.autograd.grad(loss, case.dnc.weight_hh, **options)[0]


def test_training_goes_on_in_one_workspace() -> None:
    case = make_case()
    for _ in range(5):
        loss = train(case)
        assert free() == 0
        loss.backward()
        assert free() == 1


def test_a_graph_that_is_dropped_gives_its_workspace_back() -> None:
    loss = train(make_case())
    assert free() == 0
    del loss
    gc.collect()
    assert free() == 1


def test_two_graphs_alive_at_once_do_not_mix() -> None:
    case = make_case()
    alone = [gradient_of(train(case, scale), case) for scale in (1.0, 2.0)]
    first, second = train(case, 1.0), train(case, 2.0)
    together = [gradient_of(loss, case) for loss in (first, second)]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert not torch.equal(*alone) and free() == 2


def test_acting_between_forward_and_backward_leaves_the_gradient_alone() -> None:
    case = make_case()
    expected = gradient_of(train(case), case)
    loss = train(case)
    with torch.no_grad():
        fused_unroll(case.dnc, 3 * case.x, case.start, case.state)
    assert torch.equal(gradient_of(loss, case), expected)


def test_a_retained_graph_gives_the_same_gradient_again() -> None:
    case = make_case()
    loss = train(case)
    first = gradient_of(loss, case, retain_graph=True)
    assert free() == 0 and torch.equal(gradient_of(loss, case), first) and free() == 1
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_what_happens_to_outputs_and_weights_after_the_forward_pass_does_not_matter() -> None:
    case = make_case()
    expected = gradient_of(train(case), case)
    y, final = fused_unroll(case.dnc, case.x, case.start, case.state)
    loss = y.square().mean()
    with torch.no_grad():
        for tensor in (*final, *case.state):
            tensor.fill_(7.0)
    assert torch.equal(gradient_of(loss, case), expected)


def test_only_what_is_asked_for_is_returned() -> None:
    case = make_case()
    y, final = fused_unroll(case.dnc, case.x, case.start, case.state)
    assert y.shape == (T, B, case.dnc.output_dim) and all(s.requires_grad for s in final)
    # A loss on the final state alone, and none on y.
    assert gradient_of(final.M.sum(), case).abs().max() > 0
    assert case.x.grad is None


SETTING = 'backend="reference"'


def test_a_second_derivative_says_which_setting_to_use() -> None:
    case = make_case()
    x = case.x.clone().requires_grad_()
    y, _ = fused_unroll(case.dnc, x, case.start, case.state)
    (d_x,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert d_x.isfinite().all()
    with pytest.raises(RuntimeError, match=SETTING):
        d_x.sum().backward()


def test_a_gradient_by_a_weight_refuses_to_be_differentiated_by_another() -> None:
    case = make_case()
    d = gradient_of(train(case), case, create_graph=True)
    with pytest.raises(RuntimeError, match=SETTING):
        torch.autograd.grad(d.sum(), case.dnc.interface.weight)


def test_function_transforms_say_which_setting_to_use() -> None:
    case = make_case()
    with pytest.raises(RuntimeError, match=SETTING):
        torch.func.grad(lambda x: fused_unroll(case.dnc, x, case.start, case.state)[0].sum())(case.x)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # what PyTorch itself imports for it
def test_a_forward_derivative_says_which_setting_to_use() -> None:
    case = make_case()
    with torch.autograd.forward_ad.dual_level():
        x = torch.autograd.forward_ad.make_dual(case.x, torch.ones_like(case.x))
        with pytest.raises(RuntimeError, match=SETTING):
            fused_unroll(case.dnc, x, case.start, case.state)


def test_another_dtype_than_the_weights_is_refused() -> None:
    case = make_case()
    with pytest.raises(TypeError, match=r"x is torch\.float64"):
        fused_unroll(case.dnc, case.x.double(), case.start, case.state)
    with pytest.raises(TypeError, match=r"M is torch\.float16"):
        fused_unroll(case.dnc, case.x, case.start, case.state._replace(M=case.state.M.half()))


def test_the_module_takes_the_fused_path_by_itself_on_the_cpu() -> None:
    dnc = DNC(MemoryConfig(memory_size=9, memory_dim=4, num_read_heads=2, hidden_size=6), 3)
    assert dnc.backend == "fused"
    y, _ = dnc(torch.randn(2, 3, 3), torch.zeros(2, 3, dtype=torch.bool), dnc.initial_state(3))
    assert type(y.grad_fn).__name__ == "UnrollBackward"
