"""The state of a memory: NamedTuples of tensors, batch first, zero where a sequence starts."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor


class DNCState(NamedTuple):
    """State of B sequences; zero at a start. Without temporal links p is [B, 0] and L is [B, 0, 0]."""

    h: Tensor  # [B, H] controller output, before its layer norm
    c: Tensor  # [B, H] controller cell
    r: Tensor  # [B, R*W] reads as the controller sees them, after their layer norm
    M: Tensor  # [B, N, W] memory
    u: Tensor  # [B, N] usage
    p: Tensor  # [B, N] precedence
    L: Tensor  # [B, N, N] links
    w_w: Tensor  # [B, N] write weights
    w_r: Tensor  # [B, R, N] read weights


class LSTMState(NamedTuple):
    """State of B sequences; zero at a start."""

    h: Tensor  # [B, H]
    c: Tensor  # [B, H]


class GRUState(NamedTuple):
    """State of B sequences; zero at a start."""

    h: Tensor  # [B, H]


class NoState(NamedTuple):
    """Nothing is remembered."""


State: TypeAlias = DNCState | LSTMState | GRUState | NoState
StateT = TypeVar("StateT", DNCState, LSTMState, GRUState)
Shapes: TypeAlias = Sequence[tuple[int, ...]]


def zeros(
    shapes: Shapes,
    like: Tensor,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> Iterator[Tensor]:
    """Zero tensors of these shapes, on like's device and of its dtype unless given."""
    device, dtype = device or like.device, dtype or like.dtype
    return (torch.zeros(shape, device=device, dtype=dtype) for shape in shapes)


def check_state(state: State, kind: type[State], shapes: Shapes) -> None:
    """Raise a ValueError unless state is of this kind and its parts have these shapes."""
    if not isinstance(state, kind):
        raise ValueError(
            f"The state is a {type(state).__name__}, expected a {kind.__name__}: pass what this memory's "
            "initial_state or last call gave."
        )
    for name, part, shape in zip(state._fields, state, shapes, strict=True):
        if part.shape != shape:
            raise ValueError(
                f"The state's {name} has shape {tuple(part.shape)}, expected {shape} for this batch and "
                "configuration: pass a state of as many sequences as the input, from a memory of these sizes."
            )


def reset_state(state: StateT, start_t: Tensor) -> StateT:
    """The state with every sequence of start_t [B] (bool) set back to zero."""
    return type(state)(*(s.masked_fill(start_t.view(-1, *(1,) * (s.dim() - 1)), 0.0) for s in state))


def steps_with_start(start: Tensor) -> list[bool]:
    """For each step, whether a sequence starts there; a step without one needs no reset.

    All True where looking would be wrong or slow: under vmap and compilation, and off the CPU.
    """
    if start.device.type != "cpu" or torch.compiler.is_compiling():
        return [True] * start.shape[0]
    try:
        return start.any(dim=1).tolist()
    except RuntimeError:  # vmap over start: its values are not one list
        return [True] * start.shape[0]
