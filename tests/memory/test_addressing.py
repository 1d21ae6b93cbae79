import math

import pytest
import torch
from memory.dnc_cases import B, N, R, W
from torch.func import grad, vmap

from memagent.memory import addressing

F64 = torch.float64


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=F64)


def rand(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=F64)


def sort_free_allocation(u):
    """a_i = (1 - u_i) prod over j of u_j, where j comes before i: by usage rounded to 2^-16, then by index."""
    u = [min(max(value, addressing.USAGE_EPS), 1.0) for value in u]
    level = [round(value * 2**16) for value in u]
    return [
        (1.0 - u[i]) * math.prod(u[j] for j in range(len(u)) if (level[j], j) < (level[i], i))
        for i in range(len(u))
    ]


@pytest.mark.parametrize(
    "u",
    [
        [0.5, 0.2, 0.9, 0.1, 0.7],
        [0.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0],
        [0.3, 0.0, 0.3, 1.0, 0.3, 0.0],
        [0.25 + 1e-7, 0.25, 0.25 - 1e-7],
    ],
    ids=["distinct", "empty", "full", "tied", "near_ties"],
)
def test_allocation_takes_slots_by_usage_then_index(u):
    a = addressing.allocation(torch.tensor([u], dtype=F64))[0]
    torch.testing.assert_close(a, torch.tensor(sort_free_allocation(u), dtype=F64), rtol=1e-12, atol=1e-15)


def test_allocation_sums_to_one_minus_the_product_of_usages():
    u = rand(B, N)
    a = addressing.allocation(u)
    torch.testing.assert_close(a.sum(-1), 1.0 - u.prod(-1))
    assert (a >= 0.0).all()


def test_ties_go_to_the_first_slot():
    assert addressing.allocation(torch.zeros(1, N, dtype=F64)).argmax().item() == 0
    assert addressing.allocation(torch.full((1, N), 0.4, dtype=F64)).argmax().item() == 0


def test_near_ties_pick_the_same_slot_in_float32_and_float64():
    level = 0.25 + rand(64, N).sub(0.5) * 2e-6  # within one step of 2^-16, in another order in each precision
    a64, a32 = addressing.allocation(level), addressing.allocation(level.float())
    assert (level.argmin(-1) != 0).any()  # without the rounding another slot would be first
    assert (a64.argmax(-1) == 0).all() and (a32.argmax(-1) == 0).all()
    torch.testing.assert_close(a32.double(), a64, rtol=0, atol=1e-5)


def test_usage_of_exactly_zero_and_one_has_finite_first_and_second_gradients():
    for u in (torch.zeros(1, N), torch.ones(1, N), torch.tensor([[0.0, 1.0, 0.5, 1.0, 0.0, 0.5, 1.0]])):
        u = u.double().requires_grad_()
        (first,) = torch.autograd.grad(
            (addressing.allocation(u) * torch.arange(N)).sum(), u, create_graph=True
        )
        assert first.isfinite().all()
        (second,) = torch.autograd.grad(first.square().sum(), u, allow_unused=True, materialize_grads=True)
        assert second.isfinite().all()


def test_allocation_works_under_vmap_of_grad():
    u, weight = rand(5, B, N), randn(N)
    batched = vmap(grad(lambda u: (addressing.allocation(u) * weight).sum()))(u)
    for k in range(5):
        leaf = u[k].clone().requires_grad_()
        (addressing.allocation(leaf) * weight).sum().backward()
        torch.testing.assert_close(batched[k], leaf.grad)


def test_retention_is_a_product_over_heads_with_gradients_at_zero():
    f, w_r = rand(B, R), rand(B, R, N)
    expected = torch.stack([(1.0 - f[:, i, None] * w_r[:, i]) for i in range(R)]).prod(0)
    torch.testing.assert_close(addressing.retention(f, w_r), expected)

    f = torch.ones(1, R, dtype=F64, requires_grad=True)
    w_r = torch.zeros(1, R, N, dtype=F64)
    w_r[:, :, 2] = 1.0  # both heads free slot 2 wholly: two factors are zero
    psi = addressing.retention(f, w_r)
    assert psi[0].tolist() == [1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    assert torch.autograd.grad(psi.sum(), f)[0].isfinite().all()


def test_usage_grows_where_written_and_shrinks_where_freed():
    u, w_w, psi = rand(B, N), rand(B, N) * 0.5, rand(B, N)
    torch.testing.assert_close(addressing.usage(u, w_w, psi), (1.0 - (1.0 - u) * (1.0 - w_w)) * psi)


def test_content_weights_are_a_softmax_of_cosines():
    M, k, beta = randn(B, N, W), randn(B, R, W), rand(B, R) + 1.0
    cosine = torch.nn.functional.cosine_similarity(k[:, :, None], M[:, None], dim=-1)
    expected = (beta[..., None] * cosine).softmax(-1)
    torch.testing.assert_close(addressing.content_weights(M, k, beta), expected, rtol=1e-5, atol=1e-7)


def test_a_mask_multiplies_key_and_memory():
    M, k, beta, mask = randn(B, N, W), randn(B, R, W), rand(B, R) + 1.0, rand(B, R, W)
    for i in range(R):
        m = mask[:, i : i + 1]
        expected = addressing.content_weights(M * m, k[:, i : i + 1] * m, beta[:, i : i + 1])
        masked = addressing.content_weights(M, k[:, i : i + 1], beta[:, i : i + 1], m)
        torch.testing.assert_close(masked, expected)
    ones = addressing.content_weights(M, k, beta, torch.ones_like(mask))
    torch.testing.assert_close(ones, addressing.content_weights(M, k, beta))


def test_zero_memory_has_a_finite_second_derivative():
    M = torch.zeros(B, N, W, dtype=F64, requires_grad=True)
    k = torch.zeros(B, R, W, dtype=F64, requires_grad=True)
    for key in (k, randn(B, R, W).requires_grad_()):
        for mask in (None, rand(B, R, W)):
            c = addressing.content_weights(M, key, torch.full((B, R), 6.0, dtype=F64), mask)
            first = torch.autograd.grad((c * randn(N)).sum(), (M, key), create_graph=True)
            second = torch.autograd.grad(sum(f.square().sum() for f in first), (M, key))
            assert all(g.isfinite().all() for g in (*first, *second))


def test_writing_one_hot_with_full_erase_replaces_the_row():
    M, v = randn(B, N, W), randn(B, W)
    w = torch.zeros(B, N, dtype=F64)
    w[:, 3] = 1.0
    written = addressing.erase_and_write(M, w, torch.ones(B, W, dtype=F64), v)
    assert torch.equal(written[:, 3], v)
    rest = torch.arange(N) != 3
    assert torch.equal(written[:, rest], M[:, rest])
    kept = addressing.erase_and_write(M, w, torch.zeros(B, W, dtype=F64), v)
    torch.testing.assert_close(kept[:, 3], M[:, 3] + v)


def test_two_one_hot_writes_i_then_j_link_j_to_i():
    i, j = 2, 5
    L, p = torch.zeros(B, N, N, dtype=F64), torch.zeros(B, N, dtype=F64)
    for slot in (i, j):
        w = torch.zeros(B, N, dtype=F64)
        w[:, slot] = 1.0
        L, p = addressing.links(L, p, w), addressing.precedence(p, w)
    expected = torch.zeros(N, N, dtype=F64)
    expected[j, i] = 1.0
    assert torch.equal(L, expected.expand(B, N, N))
    assert torch.equal(p, w)


def test_links_and_precedence_keep_their_bounds_over_many_writes():
    L, p = torch.zeros(B, N, N, dtype=F64), torch.zeros(B, N, dtype=F64)
    g = torch.Generator().manual_seed(4)
    for _ in range(50):
        w = (torch.randn(B, N, generator=g, dtype=F64) * 4.0).softmax(-1) * torch.rand(
            B, 1, generator=g, dtype=F64
        )
        L, p = addressing.links(L, p, w), addressing.precedence(p, w)
        assert (L >= 0.0).all() and (L.sum(1) <= 1.0 + 1e-12).all() and (L.sum(2) <= 1.0 + 1e-12).all()
        assert (L.diagonal(dim1=1, dim2=2) == 0.0).all()
        assert (p >= 0.0).all() and (p.sum(-1) <= 1.0 + 1e-12).all()


def test_sharpen_raises_to_a_power_and_normalises():
    d, s = rand(B, R, N) / N, 1.0 + rand(B, R) * 4.0
    expected = d ** s[..., None]
    torch.testing.assert_close(
        addressing.sharpen(d, s), expected / expected.sum(-1, keepdim=True), rtol=1e-4, atol=1e-6
    )


def test_sharpen_leaves_a_row_of_zeros_with_finite_gradients():
    d = torch.zeros(B, R, N, dtype=F64)
    d[0, 0, 3] = 0.5
    d.requires_grad_()
    s = torch.full((B, R), 1.5, dtype=F64, requires_grad=True)
    sharp = addressing.sharpen(d, s)
    assert (sharp[1:] == 0.0).all() and (sharp[0, 1] == 0.0).all()
    first = torch.autograd.grad((sharp * randn(N)).sum(), (d, s), create_graph=True)
    second = torch.autograd.grad(sum(f.square().sum() for f in first), (d, s))
    assert all(g.isfinite().all() for g in (*first, *second))


def test_read_weights_mix_backward_content_and_forward_in_this_order():
    ways = [rand(B, R, N), randn(B, R, N), rand(B, R, N) + 1.0]
    for mode in range(3):
        pi = torch.zeros(B, R, 3, dtype=F64)
        pi[..., mode] = 1.0
        assert torch.equal(addressing.read_weights(pi, *ways), ways[mode])


def test_write_weights_gate_and_mix():
    a, c = rand(B, N), rand(B, N) + 1.0
    half, full, none = (torch.full((B, 1), value, dtype=F64) for value in (0.5, 1.0, 0.0))
    assert torch.equal(addressing.write_weights(full, full, a, c), a)
    assert torch.equal(addressing.write_weights(full, none, a, c), c)
    assert torch.equal(addressing.write_weights(none, half, a, c), torch.zeros_like(a))
    torch.testing.assert_close(addressing.write_weights(half, half, a, c), 0.25 * (a + c))
