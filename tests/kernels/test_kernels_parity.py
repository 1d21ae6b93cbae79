import pytest
import torch
from kernels.kernel_cases import OPTIONS, STATES, TOLERANCE, Case, R, W, difference, make_case, unroll

from memagent.memory.fused.kernels import SEGMENT
from memagent.memory.fused.unroll import fused_unroll

DTYPES = (torch.float32, torch.float64)


def assert_parity(case: Case) -> None:
    fused, reference = unroll(case, fused=True).named(), unroll(case, fused=False).named()
    assert fused.keys() == reference.keys()
    differences = {name: difference(fused[name], reference[name]) for name in reference}
    assert max(differences.values()) <= TOLERANCE[case.x.dtype], differences


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_values_and_all_gradients_equal_the_reference(options: dict, state: str, dtype: torch.dtype) -> None:
    assert_parity(make_case(state, dtype, **options))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_resets_inside_equal_the_reference(options: dict, dtype: torch.dtype) -> None:
    case = make_case("random", dtype, resets=0.4, **options)
    assert case.start[0].any() and case.start[1:].any() and not case.start.all()
    assert_parity(case)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("slots", "width", "heads"), [(3, 5, 1), (16, 64, 4), (33, 70, 5), (8, 144, 8)])
def test_any_sizes_equal_the_reference(slots: int, width: int, heads: int, dtype: torch.dtype) -> None:
    # Rows of less than a vector, of four, of some and an end; heads in part of a group of four, in one, in two
    sizes = {"memory_size": slots, "memory_dim": width, "num_read_heads": heads}
    assert_parity(make_case("random", dtype, resets=0.2, deallocation=True, masking=heads == 5, **sizes))


@pytest.mark.parametrize("steps", [SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT - 2])
def test_segments_of_a_long_sequence_are_replayed_as_they_were(steps: int) -> None:
    assert_parity(make_case("random", torch.float64, steps=steps, resets=0.1, deallocation=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_step_of_one_sequence_equals_the_reference(dtype: torch.dtype) -> None:
    case = make_case("random", dtype)
    first = type(case.state)(*(s[:1] for s in case.state))
    assert_parity(Case(case.dnc, case.x[:1, :1], case.start[:1, :1], first))


def test_acting_equals_training_to_the_bit() -> None:
    case = make_case("random", resets=0.2, steps=11)
    with torch.no_grad():
        acted = fused_unroll(case.dnc, case.x, case.start, case.state)
    trained = fused_unroll(case.dnc, case.x, case.start, case.state)
    assert trained[0].requires_grad and not acted[0].requires_grad
    assert torch.equal(acted[0], trained[0])
    assert all(torch.equal(a, b) for a, b in zip(acted[1], trained[1], strict=True))


@pytest.mark.parametrize("no_grad", [True, False])
def test_one_call_equals_as_many_calls_as_steps_to_the_bit(no_grad: bool) -> None:
    case, outputs = make_case("random", resets=0.2, steps=11), []
    with torch.set_grad_enabled(not no_grad):
        y, final = fused_unroll(case.dnc, case.x, case.start, case.state)
        state = case.state
        for t in range(len(case.x)):
            y_t, state = fused_unroll(case.dnc, case.x[t : t + 1], case.start[t : t + 1], state)
            outputs.append(y_t)
    assert torch.equal(torch.cat(outputs), y)
    assert all(torch.equal(a, b) for a, b in zip(state, final, strict=True))


def test_the_given_state_stays_as_it_was() -> None:
    case = make_case("random", resets=0.5)
    before = [s.clone() for s in case.state]
    with torch.no_grad():
        for steps in (1, len(case.x)):
            fused_unroll(case.dnc, case.x[:steps], case.start[:steps], case.state)
    unroll(case, fused=True)
    assert all(torch.equal(a, b) for a, b in zip(case.state, before, strict=True))


def test_arrays_that_are_not_contiguous_give_the_same() -> None:
    case = make_case("random")
    spread = Case(
        case.dnc,
        case.x.transpose(0, 2).contiguous().transpose(0, 2),
        case.start.t().contiguous().t(),
        type(case.state)(*(s.transpose(0, -1).contiguous().transpose(0, -1) for s in case.state)),
    )
    assert not spread.x.is_contiguous() and not spread.state.M.is_contiguous()
    given, expected = unroll(spread, fused=True).named(), unroll(case, fused=True).named()
    assert all(torch.equal(given[name], expected[name]) for name in expected)


def test_a_nan_stays_in_its_own_sequence_and_is_seen() -> None:
    case = make_case("random")
    x = case.x.clone()
    x[2, 1] = float("nan")
    with torch.no_grad():
        y, _ = fused_unroll(case.dnc, x, case.start, case.state)
        clean, _ = fused_unroll(case.dnc, case.x, case.start, case.state)
    others = torch.arange(x.shape[1]) != 1
    assert y[2:, 1, : -R * W].isnan().all() and torch.equal(y[:, others], clean[:, others])


def test_gradients_are_finite_where_the_state_is_hardest() -> None:
    for state in ("zero", "saturated", "tied"):
        result = unroll(make_case(state, resets=0.3), fused=True)
        assert all(value.isfinite().all() for value in result.named().values())
