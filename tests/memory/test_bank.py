import pytest
import torch
from memory.dnc_cases import B, N, R, W, generic_state, small_config

from memagent.memory import MemoryConfig, bank

F64 = torch.float64


def random_interface(config, seed=0, gain=2.0):
    g = torch.Generator().manual_seed(seed)
    raw = torch.randn(B, bank.interface_size(config), generator=g, dtype=F64) * gain
    return bank.parse_interface(raw, config)


def zero_bank(config):
    return bank.BankState(*(torch.zeros_like(s) for s in generic_state(config)[3:]))


def test_the_interface_has_the_papers_size_and_order():
    assert bank.interface_size(MemoryConfig()) == 471
    layout = bank.interface_layout(small_config(masking=True, link_sharpness=True))
    assert layout == {
        "read_keys": (R, W),
        "read_strengths": (R,),
        "write_key": (1, W),
        "write_strength": (1,),
        "erase": (W,),
        "write_vector": (W,),
        "free_gates": (R,),
        "allocation_gate": (1,),
        "write_gate": (1,),
        "read_modes": (R, 3),
        "read_masks": (R, W),
        "write_mask": (1, W),
        "backward_sharpness": (R,),
        "forward_sharpness": (R,),
    }
    assert list(layout) == list(bank.Interface._fields)
    assert bank.interface_size(small_config()) == W * R + 3 * W + 5 * R + 3
    assert bank.interface_size(small_config(temporal_links=False)) == W * R + 3 * W + 2 * R + 3


def test_every_part_is_cut_in_order_and_brought_into_its_range():
    config = small_config(masking=True, link_sharpness=True)
    raw = torch.linspace(-3.0, 3.0, bank.interface_size(config), dtype=F64).repeat(B, 1)
    xi = bank.parse_interface(raw, config)
    pieces = dict(zip(xi._fields, raw.split([part[0].numel() for part in xi], dim=-1), strict=True))

    def softplus(x):
        return (1.0 + x.exp()).log()

    for name, expected in {
        "read_keys": pieces["read_keys"],
        "write_vector": pieces["write_vector"],
        "read_strengths": 1.0 + softplus(pieces["read_strengths"] + 5.0),
        "write_strength": 1.0 + softplus(pieces["write_strength"] + 5.0),
        "erase": 1.0 / (1.0 + (-pieces["erase"]).exp()),
        "free_gates": 1.0 / (1.0 + (-pieces["free_gates"]).exp()),
        "allocation_gate": 1.0 / (1.0 + (-pieces["allocation_gate"]).exp()),
        "write_gate": 1.0 / (1.0 + (-pieces["write_gate"]).exp()),
        "write_mask": 0.1 + 0.9 / (1.0 + (-pieces["write_mask"]).exp()),
        "read_masks": 0.1 + 0.9 / (1.0 + (-pieces["read_masks"]).exp()),
        "forward_sharpness": 1.0 + softplus(pieces["forward_sharpness"]),
    }.items():
        torch.testing.assert_close(getattr(xi, name).flatten(1), expected, msg=name)
    torch.testing.assert_close(xi.read_modes.sum(-1), torch.ones(B, R, dtype=F64))


def test_a_mask_never_falls_below_a_tenth():
    config = small_config(masking=True)
    xi = bank.parse_interface(torch.full((B, bank.interface_size(config)), -1e4, dtype=F64), config)
    assert torch.equal(xi.read_masks, torch.full((B, R, W), 0.1, dtype=F64))
    assert torch.equal(xi.write_mask, torch.full((B, 1, W), 0.1, dtype=F64))


def test_strength_bias_is_in_the_maths():
    sharp, plain = small_config(), small_config(strength_bias=0.0)
    raw = torch.zeros(B, bank.interface_size(sharp), dtype=F64)
    assert bank.parse_interface(raw, sharp).read_strengths.min() > 6.0
    assert bank.parse_interface(raw, plain).read_strengths.max() < 1.7


@pytest.mark.parametrize("gain", [1.0, 5.0, 50.0], ids=["soft", "sharp", "saturated"])
@pytest.mark.parametrize("fresh", [True, False])
def test_invariants_hold_at_every_step(config, gain, fresh):
    state = zero_bank(config) if fresh else bank.BankState(*generic_state(config)[3:])
    for t in range(12):
        xi = random_interface(config, seed=t, gain=gain)
        _, state = bank.step(state, xi, config)
        eps = 1e-9
        for name in ("u", "p", "L", "w_w", "w_r"):
            value = getattr(state, name)
            assert (value >= -eps).all() and (value <= 1.0 + eps).all(), name
        assert (state.w_w.sum(-1, keepdim=True) <= xi.write_gate + eps).all()
        assert (state.w_r.sum(-1) <= 1.0 + eps).all()
        assert (state.L.sum(1) <= 1.0 + eps).all() and (state.L.sum(2) <= 1.0 + eps).all()
        assert (state.L.diagonal(dim1=1, dim2=2) == 0.0).all()
        assert (state.p.sum(-1) <= 1.0 + eps).all()


def test_permuting_the_slots_permutes_the_state_and_leaves_the_reads_alone(config):
    state, xi = bank.BankState(*generic_state(config)[3:]), random_interface(config)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    links = order if config.temporal_links else order[:0]

    def permute(s):
        L = s.L[:, links][:, :, links]
        return bank.BankState(
            s.M[:, order], s.u[:, order], s.p[:, links], L, s.w_w[:, order], s.w_r[..., order]
        )

    reads, after = bank.step(state, xi, config)
    permuted_reads, permuted_after = bank.step(permute(state), xi, config)
    torch.testing.assert_close(permuted_reads, reads)
    for name, value, expected in zip(after._fields, permuted_after, permute(after), strict=True):
        torch.testing.assert_close(value, expected, msg=name)


def test_sequences_of_a_batch_do_not_meet(config):
    state, xi = bank.BankState(*generic_state(config)[3:]), random_interface(config)
    reads, after = bank.step(state, xi, config)
    alone = bank.Interface(*(None if part is None else part[1:2] for part in xi))
    reads_1, after_1 = bank.step(bank.BankState(*(s[1:2] for s in state)), alone, config)
    torch.testing.assert_close(reads_1, reads[1:2])
    for value, expected in zip(after_1, after, strict=True):
        torch.testing.assert_close(value, expected[1:2])


def test_reads_see_what_was_written_in_the_same_step():
    config = small_config(temporal_links=False)
    xi = random_interface(config)._replace(
        write_gate=torch.ones(B, 1, dtype=F64), allocation_gate=torch.ones(B, 1, dtype=F64)
    )
    xi = xi._replace(
        read_keys=xi.write_vector[:, None].expand(B, R, W), read_strengths=torch.full((B, R), 500.0)
    )
    reads, state = bank.step(zero_bank(config), xi, config)
    torch.testing.assert_close(state.M[:, 0], xi.write_vector, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(reads, state.M[:, :1].expand(B, R, W), rtol=1e-4, atol=1e-4)


def test_a_head_follows_the_links_in_the_order_of_writing():
    config = small_config()
    one = torch.ones(B, 1, dtype=F64)
    state, vectors = zero_bank(config), torch.randn(4, B, W, dtype=F64)
    for v in vectors:  # four allocated writes: slots 0, 1, 2, 3
        xi = random_interface(config)._replace(
            write_gate=one, allocation_gate=one, write_vector=v, free_gates=torch.zeros(B, R, dtype=F64)
        )
        _, state = bank.step(state, xi, config)
    at_slot_1 = torch.zeros(B, R, N, dtype=F64)
    at_slot_1[..., 1] = 1.0
    for mode, slot in ((2, 2), (0, 0)):  # forward: the slot written next; backward: the one before
        modes = torch.zeros(B, R, 3, dtype=F64)
        modes[..., mode] = 1.0
        xi = random_interface(config)._replace(write_gate=0.0 * one, read_modes=modes)
        reads, _ = bank.step(state._replace(w_r=at_slot_1), xi, config)
        torch.testing.assert_close(reads, vectors[slot][:, None].expand(B, R, W), rtol=1e-4, atol=1e-4)


def test_deallocation_scales_the_memory_by_psi_after_the_look_up():
    config, plain = small_config(deallocation=True), small_config()
    state, xi = bank.BankState(*generic_state(config)[3:]), random_interface(config)
    psi = (1.0 - xi.free_gates[..., None] * state.w_r).prod(1)
    _, kept = bank.step(state, xi, plain)
    _, forgot = bank.step(state, xi, config)
    assert torch.equal(forgot.w_w, kept.w_w)
    erased = 1.0 - kept.w_w[..., None] * xi.erase[:, None]
    torch.testing.assert_close(kept.M - forgot.M, (1.0 - psi[..., None]) * state.M * erased)


def test_masking_and_sharpness_change_the_reads():
    state, raw = generic_state(small_config())[3:], random_interface(small_config())
    base, _ = bank.step(bank.BankState(*state), raw, small_config())
    for option in ("masking", "link_sharpness"):
        config = small_config(**{option: True})
        extra = random_interface(config)
        mixed = bank.Interface(*(a if a is not None else b for a, b in zip(raw, extra, strict=True)))
        reads, _ = bank.step(bank.BankState(*state), mixed, config)
        assert (reads - base).abs().max() > 1e-3
