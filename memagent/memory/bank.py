"""One step of the DNC's external memory: an interface vector and the bank of t-1 in, reads and the bank of t out."""

import math
from typing import NamedTuple

from torch import Tensor

from memagent.memory import addressing
from memagent.memory.config import MemoryConfig


class BankState(NamedTuple):
    """The external memory of B sequences. Without temporal links p is [B, 0] and L is [B, 0, 0]."""

    M: Tensor  # [B, N, W] memory
    u: Tensor  # [B, N] usage
    p: Tensor  # [B, N] precedence
    L: Tensor  # [B, N, N] links
    w_w: Tensor  # [B, N] write weights
    w_r: Tensor  # [B, R, N] read weights


class Interface(NamedTuple):
    """What the controller tells the bank, every part in its range. Parts of an option that is off are None."""

    read_keys: Tensor  # k_r [B, R, W]
    read_strengths: Tensor  # beta_r [B, R], >= 1
    write_key: Tensor  # k_w [B, 1, W]
    write_strength: Tensor  # beta_w [B, 1], >= 1
    erase: Tensor  # e [B, W], in (0, 1)
    write_vector: Tensor  # v [B, W]
    free_gates: Tensor  # f [B, R], in (0, 1)
    allocation_gate: Tensor  # g_a [B, 1], in (0, 1)
    write_gate: Tensor  # g_w [B, 1], in (0, 1)
    read_modes: Tensor | None = None  # pi [B, R, 3] over (backward, content, forward), sums to 1
    read_masks: Tensor | None = None  # [B, R, W], in (0.1, 1)
    write_mask: Tensor | None = None  # [B, 1, W], in (0.1, 1)
    backward_sharpness: Tensor | None = None  # [B, R], >= 1
    forward_sharpness: Tensor | None = None  # [B, R], >= 1


def interface_layout(config: MemoryConfig) -> dict[str, tuple[int, ...]]:
    """The parts of the interface vector, in order, with their shapes per sequence."""
    R, W = config.num_read_heads, config.memory_dim
    layout: dict[str, tuple[int, ...]] = {
        "read_keys": (R, W),
        "read_strengths": (R,),
        "write_key": (1, W),
        "write_strength": (1,),
        "erase": (W,),
        "write_vector": (W,),
        "free_gates": (R,),
        "allocation_gate": (1,),
        "write_gate": (1,),
    }
    if config.temporal_links:
        layout["read_modes"] = (R, 3)
    if config.masking:
        layout |= {"read_masks": (R, W), "write_mask": (1, W)}
    if config.link_sharpness:
        layout |= {"backward_sharpness": (R,), "forward_sharpness": (R,)}
    return layout


def interface_size(config: MemoryConfig) -> int:
    """Length of the interface vector: W R + 3 W + 5 R + 3 with links and no other option."""
    return sum(math.prod(shape) for shape in interface_layout(config).values())


def parse_interface(xi: Tensor, config: MemoryConfig) -> Interface:
    """Cut the interface vector xi [B, size] into its parts and bring each into its range."""
    layout = interface_layout(config)
    pieces = xi.split([math.prod(shape) for shape in layout.values()], dim=-1)
    raw = {
        name: piece if len(shape) == 1 else piece.unflatten(-1, shape)
        for (name, shape), piece in zip(layout.items(), pieces, strict=True)
    }
    return Interface(**{name: _into_range(name, piece, config) for name, piece in raw.items()})


def _into_range(name: str, raw: Tensor, config: MemoryConfig) -> Tensor:
    if name in ("read_strengths", "write_strength"):
        return addressing.oneplus(raw + config.strength_bias)
    if name in ("backward_sharpness", "forward_sharpness"):
        return addressing.oneplus(raw)
    if name in ("erase", "free_gates", "allocation_gate", "write_gate"):
        return raw.sigmoid()
    if name in ("read_masks", "write_mask"):
        return addressing.MASK_FLOOR + (1.0 - addressing.MASK_FLOOR) * raw.sigmoid()
    if name == "read_modes":
        return raw.softmax(-1)
    return raw


def step(state: BankState, xi: Interface, config: MemoryConfig) -> tuple[Tensor, BankState]:
    """Free, allocate, write, link, read: reads r [B, R, W] and the state after the step."""
    # psi, u, a: what is free
    psi = addressing.retention(xi.free_gates, state.w_r)
    u = addressing.usage(state.u, state.w_w, psi)
    a = addressing.allocation(u)

    # c_w = softmax(beta_w cos(k_w, M[t-1])), w_w, M: the write
    c_w = addressing.content_weights(state.M, xi.write_key, xi.write_strength, xi.write_mask).squeeze(1)
    w_w = addressing.write_weights(xi.write_gate, xi.allocation_gate, a, c_w)
    # Csordás & Schmidhuber 2019: M[t-1] scaled by psi, after the look-up of c_w
    kept = state.M * psi.unsqueeze(-1) if config.deallocation else state.M
    M = addressing.erase_and_write(kept, w_w, xi.erase, xi.write_vector)

    # c_r,i = softmax(beta_r,i cos(k_r,i, M)) on the new M
    w_r = addressing.content_weights(M, xi.read_keys, xi.read_strengths, xi.read_masks)
    L, p = state.L, state.p
    if config.temporal_links:
        # L with last step's p, then p; f_i = L w_r,i[t-1], b_i = L^T w_r,i[t-1]
        L = addressing.links(state.L, state.p, w_w)
        p = addressing.precedence(state.p, w_w)
        forward, backward = state.w_r @ L.transpose(1, 2), state.w_r @ L
        if xi.forward_sharpness is not None and xi.backward_sharpness is not None:
            forward = addressing.sharpen(forward, xi.forward_sharpness)
            backward = addressing.sharpen(backward, xi.backward_sharpness)
        assert xi.read_modes is not None
        w_r = addressing.read_weights(xi.read_modes, backward, w_r, forward)

    # r_i = M^T w_r,i
    return w_r @ M, BankState(M, u, p, L, w_w, w_r)
