"""The arrays that the fused kernels read and write, by the names of the equations.

T time, B batch, N slots, W slot width, R read heads, H controller units, I inputs, S length of the interface vector,
K distinct norms of a slot (R with key masks, else 1). "steps" is T where all steps are kept and 1 where only the
last is.
"""

from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
T = TypeVar("T")


class Constants(NamedTuple):
    """Numbers of `addressing` and of the config, in the kernels' precision."""

    strength_bias: np.floating[Any]
    cosine_eps: np.floating[Any]
    usage_eps: np.floating[Any]
    usage_levels: np.floating[Any]
    mask_floor: np.floating[Any]
    norm_eps: np.floating[Any]


class Options(NamedTuple):
    """The switches of MemoryConfig that the kernels know."""

    links: bool
    masking: bool
    deallocation: bool
    layer_norm: bool


class Weights(NamedTuple, Generic[T]):
    """The parameters of a DNC; scales and shifts of a layer norm that is off have length 0."""

    weight_ih: T  # [4H, I + R*W]
    weight_hh: T  # [4H, H]
    bias: T  # [4H]
    o_scale: T  # [H]
    o_shift: T  # [H]
    interface: T  # [S, H]
    interface_bias: T  # [S]
    r_scale: T  # [R*W]
    r_shift: T  # [R*W]


class Bank(NamedTuple):
    """The external memory after each of some steps. Without temporal links p and L are empty."""

    M: Array  # [steps, B, N, W] memory
    u: Array  # [steps, B, N] usage
    p: Array  # [steps, B, N] precedence
    L: Array  # [steps, B, N, N] links
    w_w: Array  # [steps, B, N] write weights
    w_r: Array  # [steps, B, R, N] read weights


class Controller(NamedTuple):
    """What the controller knows before each step (zero where a sequence starts) and after the last."""

    h: Array  # [steps + 1, B, H]
    c: Array  # [steps + 1, B, H]
    r: Array  # [steps + 1, B, R*W]


class ControllerRecord(NamedTuple):
    """What the backward pass needs of each controller step."""

    x_r: Array  # [steps, B, I + R*W] inputs [x ; r[t-1]]
    gates: Array  # [steps, B, 4H] after their functions
    tanh_c: Array  # [steps, B, H]
    o: Array  # [steps, B, H] controller output after its norm
    o_hat: Array  # [steps, B, H] normalised h
    o_rstd: Array  # [steps, B]
    r_hat: Array  # [steps, B, R*W] normalised reads
    r_rstd: Array  # [steps, B]


class BankRecord(NamedTuple):
    """What the backward pass needs of each memory step."""

    xi: Array  # [steps, B, S] interface, every part in its range
    psi: Array  # [steps, B, N] retention
    prefix: Array  # [steps, B, N] product of the usages of the slots that are freer
    c_w: Array  # [steps, B, 1, N] content weights of the write key
    s_w: Array  # [steps, B, 1, N] its cosines
    m_w: Array  # [steps, B, 1, N] 1 / |M_n[t-1]|
    c_r: Array  # [steps, B, R, N] content weights of the read keys
    s_r: Array  # [steps, B, R, N] their cosines
    m_r: Array  # [steps, B, K, N] 1 / |M_n|
    f: Array  # [steps, B, R, N] forward weights
    b: Array  # [steps, B, R, N] backward weights


class StepGradients(NamedTuple):
    """Gradients by what every step computed."""

    gates: Array  # [steps, B, 4H] the gates before their functions
    xi: Array  # [steps, B, S] the raw interface


class SequenceGradients(NamedTuple):
    """Gradients by the parameters that are vectors, of each sequence by itself."""

    bias: Array  # [B, 4H]
    o_scale: Array  # [B, H]
    o_shift: Array  # [B, H]
    interface_bias: Array  # [B, S]
    r_scale: Array  # [B, R*W]
    r_shift: Array  # [B, R*W]


class Interface(NamedTuple):
    """Views of the parts of one interface vector, or of its gradient."""

    k_r: Array  # [R, W] read keys
    beta_r: Array  # [R] their strengths
    k_w: Array  # [1, W] write key
    beta_w: Array  # [1] its strength
    e: Array  # [W] erase
    v: Array  # [W] write vector
    f: Array  # [R] free gates
    g: Array  # [2] allocation gate, write gate
    pi: Array  # [R, 3] read modes: backward, content, forward; empty without links
    mask_r: Array  # [R, W] read masks, empty without masking
    mask_w: Array  # [1, W] write mask, empty without masking


class Scratch(NamedTuple):
    """Room for what one step of one sequence need not remember, of every sequence [B, ...]."""

    clamped: Array  # [N] usage in [eps, 1]
    rank: NDArray[np.signedinteger[Any]]  # [N] order of the slots by usage
    query: Array  # [R4, W] keys with their masks; R4 is R, up to the next multiple of four
    pull: Array  # [R4, N]
    back: Array  # [R, N]
    shrink: Array  # [R]
    reads: Array  # [R, W]
    d_b: Array  # [R4, N]
    d_c: Array  # [R, N]
    d_f: Array  # [R4, N]
    d_w_r: Array  # [R4, N]
    d_w: Array  # [1, N]
    d_p: Array  # [N]
    d_a: Array  # [N]
    d_psi: Array  # [N]
    d_h: Array  # [H]
    d_r: Array  # [R*W]
    d_o: Array  # [H]
    w_r: Array  # [R4, N] read weights
    f: Array  # [R4, N]
    b: Array  # [R4, N]
