"""What the GPU kernels read and write: tuples of tensors on the host, of pointers in a kernel."""

import math
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from memagent.memory import addressing
from memagent.memory.bank import Interface, interface_layout
from memagent.memory.config import MemoryConfig

ROWS = 16
"""Rows of an N x N matrix that are worked on at once."""
TILE = 8192
"""Numbers of a weight matrix that are worked on at once: 32 for each of 256 threads."""
PARTS = Interface._fields[1:-2]
"""Those parts of the interface whose places a kernel has to know: the read keys come first, sharpness is not done."""


class Tape(NamedTuple):
    """The state before and after every step, a slot each; where nothing is learned, two slots take turns.

    Slots and sequences are one dimension. Behind them lies one sequence of zeros, the state at a start.
    """

    v: Any  # [slots*B + 1, R*W + H] what the controller recurs on: r, then h
    c: Any  # [slots*B + 1, H]
    M: Any  # [slots*B + 1, N, W]
    u: Any  # [slots*B + 1, N]
    p: Any  # [slots*B + 1, N]
    L: Any  # [slots*B + 1, N, N]
    w_w: Any  # [slots*B + 1, N]
    w_r: Any  # [slots*B + 1, R, N]


class Record(NamedTuple):
    """What the backward pass would otherwise compute again, for every step; one slot where nothing is learned."""

    gates: Any  # [steps, B, 4H] i, f, g, o before their functions
    xi: Any  # [steps, B, S] raw interface
    prefix: Any  # [steps, B, N] product of the usages of freer slots
    s_w: Any  # [steps, B, N] cosine of write key and slot
    c_w: Any  # [steps, B, N]
    s_r: Any  # [steps, B, R, N] cosine of read key and slot
    c_r: Any  # [steps, B, R, N]
    b: Any  # [steps, B, R, N]
    f: Any  # [steps, B, R, N]
    reads: Any  # [steps, B, R*W] before their layer norm


class Weights(NamedTuple):
    """The parameters as the kernels read them: the matrices laid out for vector times matrix."""

    recurrent: Any  # forward [R*W + H, 4H], backward its transpose
    interface: Any  # forward [H, S up to a multiple of 16], backward [S, H]
    interface_bias: Any  # [S]
    o_scale: Any  # [H], as the next unused without layer norm
    o_shift: Any  # [H]
    r_scale: Any  # [R*W]
    r_shift: Any  # [R*W]


class Gradients(NamedTuple):
    """What the backward kernel writes for every step; the parameters' gradients are products and sums of it."""

    gates: Any  # [T, B, 4H]
    xi: Any  # [T, B, S]
    o: Any  # [T, B, H] by the controller's output after its layer norm
    r: Any  # [T, B, R*W] by the reads after theirs


class Scratch(NamedTuple):
    """Vectors of a sequence that threads of its program hand to one another in the backward pass."""

    d_b: Any  # [B, R, N]
    d_f: Any  # [B, R, N]
    d_w_r: Any  # [B, R, N] by w_r[t-1], the part from rows of L
    d_w: Any  # [B, N] by w_w, the part from rows of L
    d_a: Any  # [B, N]


class Shape(NamedTuple):
    """Sizes, powers of two that hold them, places of the interface's parts, options: constants of a kernel."""

    N: int
    W: int
    R: int
    H: int
    S: int
    interface_stride: int
    N_2: int
    W_2: int
    R_2: int
    H_2: int
    S_2: int
    G_2: int  # holds 4H
    V_2: int  # holds R*W + H
    rows: int  # of N x N worked on at once, as the next four of the matrices of weights
    gates_rows: int
    xi_rows: int
    o_rows: int
    v_rows: int
    links: bool
    masking: bool
    deallocation: bool
    layer_norm: bool
    read_strengths: int
    write_key: int
    write_strength: int
    erase: int
    write_vector: int
    free_gates: int
    allocation_gate: int
    write_gate: int
    read_modes: int
    read_masks: int
    write_mask: int
    strength_bias: float
    norm_eps: float
    cosine_eps: float
    usage_eps: float
    usage_levels: float
    mask_floor: float
    to_integer: float  # adding and subtracting it rounds to the nearest integer, halves to even


def kernel_shape(config: MemoryConfig, norm_eps: float, dtype: torch.dtype) -> Shape:
    """The constants of a DNC's kernels."""
    N, W, R, H = config.memory_size, config.memory_dim, config.num_read_heads, config.hidden_size
    layout = interface_layout(config)
    ends = list(accumulate(math.prod(shape) for shape in layout.values()))
    places = dict(zip(layout, [0, *ends], strict=False))
    S, up = ends[-1], triton.next_power_of_2

    def at_once(rows: int, columns: int) -> int:
        return min(up(rows), max(1, TILE // up(columns)))

    return Shape(
        N=N,
        W=W,
        R=R,
        H=H,
        S=S,
        interface_stride=-(-S // 16) * 16,
        N_2=up(N),
        W_2=up(W),
        R_2=up(R),
        H_2=up(H),
        S_2=up(S),
        G_2=up(4 * H),
        V_2=up(R * W + H),
        rows=min(ROWS, up(N)),
        gates_rows=at_once(R * W + H, 4 * H),
        xi_rows=at_once(H, S),
        o_rows=at_once(S, H),
        v_rows=at_once(4 * H, R * W + H),
        links=config.temporal_links,
        masking=config.masking,
        deallocation=config.deallocation,
        layer_norm=config.layer_norm,
        **{name: places.get(name, 0) for name in PARTS},
        strength_bias=config.strength_bias,
        norm_eps=norm_eps,
        cosine_eps=addressing.COSINE_EPS,
        usage_eps=addressing.USAGE_EPS,
        usage_levels=addressing.USAGE_LEVELS,
        mask_floor=addressing.MASK_FLOOR,
        to_integer=1.5 * 2.0 ** (23 if dtype == torch.float32 else 52),
    )


def state_sizes(s: Shape) -> Tape:
    """Shape of each of a sequence's states."""
    P = s.N if s.links else 0
    return Tape(
        v=(s.R * s.W + s.H,), c=(s.H,), M=(s.N, s.W), u=(s.N,), p=(P,), L=(P, P), w_w=(s.N,), w_r=(s.R, s.N)
    )


def record_sizes(s: Shape) -> Record:
    """Shape of each of a step's records."""
    slots, heads, linked = (s.N,), (s.R, s.N), (s.R, s.N if s.links else 0)
    return Record(
        gates=(4 * s.H,),
        xi=(s.S,),
        prefix=slots,
        s_w=slots,
        c_w=slots,
        s_r=heads,
        c_r=heads,
        b=linked,
        f=linked,
        reads=(s.R * s.W,),
    )


def gradient_sizes(s: Shape) -> Gradients:
    """Shape of each of a step's gradients."""
    return Gradients(gates=(4 * s.H,), xi=(s.S,), o=(s.H,), r=(s.R * s.W,))


def scratch_sizes(s: Shape) -> Scratch:
    """Shape of each of a sequence's scratch vectors."""
    heads = (s.R, s.N)
    return Scratch(d_b=heads, d_f=heads, d_w_r=heads, d_w=(s.N,), d_a=(s.N,))


def empty(sizes: Any, *leading: int, like: Tensor) -> Any:
    """A tuple as `sizes`, of uninitialised tensors [*leading, *size]."""
    return type(sizes)(*(like.new_empty(*leading, *size) for size in sizes))
