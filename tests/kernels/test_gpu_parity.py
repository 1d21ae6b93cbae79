"""The GPU's kernels against the float64 reference: by Triton's interpreter, or with TRITON_INTERPRET=0 on a GPU."""

import os

import pytest
import torch
from kernels.kernel_cases import (
    OPTIONS,
    TOLERANCE,
    Case,
    R,
    Result,
    W,
    difference,
    make_case,
    results_of,
    unroll,
)

from memagent.memory import DNC, DNCState, MemoryConfig
from memagent.memory.controller import choose_backend

pytest.importorskip("triton", reason="the GPU's kernels are compiled, or interpreted, by Triton")
from memagent.memory.gpu.unroll import triton_unroll

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
STEPS, BATCH = 3, 2  # the interpreter takes more than a second for a step of one sequence


def small_case(
    state: str = "random", dtype: torch.dtype = torch.float64, steps: int = STEPS, **options
) -> Case:
    """Two sequences; the first starts anew at step 1."""
    case = make_case(state, dtype, steps=steps, **options)
    start = torch.zeros(steps, BATCH, dtype=torch.bool)
    start[1:2, 0] = True
    return Case(case.dnc, case.x[:, :BATCH], start, DNCState(*(s[:BATCH] for s in case.state)))


def by_kernels(case: Case) -> Result:
    dnc, x, start, state = case
    on_device = DNCState(*(s.to(DEVICE) for s in state))
    return results_of(triton_unroll, Case(dnc.to(DEVICE), x.to(DEVICE), start.to(DEVICE), on_device))


def assert_parity(state: str, dtype: torch.dtype, **options) -> None:
    given = by_kernels(small_case(state, dtype, **options)).named()
    expected = unroll(small_case(state, torch.float64, **options), fused=False).named()
    assert given.keys() == expected.keys()
    differences = {name: difference(given[name].cpu().double(), expected[name]) for name in expected}
    assert max(differences.values()) <= TOLERANCE[dtype], differences


@pytest.mark.parametrize(
    ("options", "state", "dtype"),
    [
        ("defaults", "random", torch.float32),
        ("defaults", "tied", torch.float64),
        ("paper", "saturated", torch.float64),
        ("no_links", "zero", torch.float64),
        ("deallocation", "random", torch.float32),
        ("all", "random", torch.float64),
        ("all_without_links", "random", torch.float64),
    ],
)
def test_values_and_all_gradients_equal_the_float64_reference(
    options: str, state: str, dtype: torch.dtype
) -> None:
    assert_parity(state, dtype, **OPTIONS[options])


@pytest.mark.parametrize(("slots", "width", "heads"), [(3, 5, 1), (33, 70, 5)])
def test_any_sizes_equal_the_reference(slots: int, width: int, heads: int) -> None:
    sizes = {"memory_size": slots, "memory_dim": width, "num_read_heads": heads}
    assert_parity("random", torch.float64, steps=1, masking=heads == 5, **sizes)


def test_acting_equals_training_to_the_bit_and_leaves_its_arguments_alone() -> None:
    dnc, x, start, state = small_case(steps=4, dtype=torch.float32)
    dnc, x, start = dnc.to(DEVICE), x.to(DEVICE), start.to(DEVICE)
    state = DNCState(*(s.to(DEVICE) for s in state))
    before = [s.clone() for s in state]
    with torch.no_grad():
        acted, acted_state = triton_unroll(dnc, x, start, state)
    trained, trained_state = triton_unroll(dnc, x, start, state)
    assert trained.requires_grad and not acted.requires_grad
    assert torch.equal(acted, trained)
    assert all(torch.equal(a, b) for a, b in zip(acted_state, trained_state, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(state, before, strict=True))


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # what NumPy says of NaN
def test_a_nan_stays_in_its_own_sequence_and_ends_at_a_start() -> None:
    dnc, x, start, state = small_case(steps=2, dtype=torch.float32)
    x = x.clone()
    x[0, 0] = float("nan")
    arguments = (x.to(DEVICE), start.to(DEVICE), DNCState(*(s.to(DEVICE) for s in state)))
    with torch.no_grad():
        y, after = triton_unroll(dnc.to(DEVICE), *arguments)
    assert y[0, 0, : -R * W].isnan().all()
    assert y[0, 1].isfinite().all() and y[1].isfinite().all() and all(s.isfinite().all() for s in after)


def test_a_second_derivative_and_torch_func_are_refused() -> None:
    dnc, x, start, state = small_case(steps=1, dtype=torch.float32)
    dnc, x, start = dnc.to(DEVICE), x.to(DEVICE), start.to(DEVICE)
    state = DNCState(*(s.to(DEVICE) for s in state))
    y, _ = triton_unroll(dnc, x, start, state)
    (first,) = torch.autograd.grad(y.square().sum(), dnc.bias, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
    with pytest.raises(RuntimeError, match='backend="reference"'):
        torch.func.grad(lambda x: triton_unroll(dnc, x, start, state)[0].sum())(x)


@pytest.mark.parametrize("name", ["x", "start", "M"])
def test_what_is_of_another_dtype_or_device_is_named(name: str) -> None:
    dnc, x, start, state = small_case(dtype=torch.float32)
    if name == "x":
        x = x.double()
    elif name == "start":
        start = start.to("meta")
    else:
        state = state._replace(M=state.M.double())
    with pytest.raises(TypeError, match=f"{name} is .*expected .*weights"):
        triton_unroll(dnc, x, start, state)


@pytest.mark.parametrize("options", [{}, {"memory_dim": 128}, {"memory_size": 512}, {"link_sharpness": True}])
def test_auto_takes_the_kernels_on_cuda_where_they_can_run(options: dict) -> None:
    class OnCuda:
        device, dtype = torch.device("cuda"), torch.float32

    fits = not options.keys() & {"link_sharpness"} and options.get("memory_size", 128) == 128
    assert choose_backend(MemoryConfig(**options), OnCuda) == ("triton" if fits else "reference")
    assert choose_backend(MemoryConfig(backend="reference", **options), OnCuda) == "reference"


def test_the_gpu_backend_is_refused_on_the_cpu() -> None:
    dnc = DNC(MemoryConfig(backend="triton"), 3)
    with pytest.raises(ValueError, match=r'backend is "triton" with .* on cpu'):
        dnc(torch.zeros(1, 1, 3), torch.zeros(1, 1, dtype=torch.bool), dnc.initial_state(1))
