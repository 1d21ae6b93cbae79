"""The arrays that the fused kernels write, allocated once per shape and lent to one call at a time.

A training call keeps its workspace until its graph is freed or its backward pass is over; a second graph of the same
shape meanwhile gets a second one. Fresh memory for every call would cost a page fault per 4 KB, more than the
arithmetic on it.
"""

import threading
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import torch

from memagent.memory.addressing import USAGE_LEVELS
from memagent.memory.fused.kernels import SEGMENT
from memagent.memory.fused.records import (
    Array,
    Bank,
    BankRecord,
    Controller,
    ControllerRecord,
    Options,
    Scratch,
    SequenceGradients,
    StepGradients,
)


class Shape(NamedTuple):
    """What decides the arrays of a call."""

    T: int
    B: int
    I: int  # noqa: E741 - the letter of the memory input
    N: int
    W: int
    R: int
    H: int
    S: int  # length of the interface vector
    dtype: torch.dtype
    options: Options
    training: bool


def empty(*shape: int, dtype: torch.dtype) -> Array:
    """An array whose rows start on cache lines where their length allows it."""
    return torch.empty(shape, dtype=dtype).numpy()


def empty_bank(shape: Shape, steps: int, contents: int) -> Bank:
    """A bank of this many steps, with M and L after this many of them; its numbers are not set."""
    B, N, W, R, dtype = shape.B, shape.N, shape.W, shape.R, shape.dtype
    P = N if shape.options.links else 0
    return Bank(
        M=empty(contents, B, N, W, dtype=dtype),
        u=empty(steps, B, N, dtype=dtype),
        p=empty(steps, B, P, dtype=dtype),
        L=empty(contents, B, P, P, dtype=dtype),
        w_w=empty(steps, B, N, dtype=dtype),
        w_r=empty(steps, B, R, N, dtype=dtype),
    )


def scratch(shape: Shape) -> Scratch:
    """Room for one step of every sequence: zeros, which the rows of heads that do not exist stay."""
    B, N, W, R, H, dtype = shape.B, shape.N, shape.W, shape.R, shape.H, shape.dtype
    R4 = -(-R // 4) * 4
    # Ranks go up to levels * N + N - 1; 32 bits hold them below 32,768 slots, and are compared twice as fast.
    rank_dtype = np.int32 if (USAGE_LEVELS + 1) * N <= 2**31 else np.int64

    def room(*size: int) -> Array:
        return torch.zeros(B, *size, dtype=dtype).numpy()

    return Scratch(
        clamped=room(N), rank=np.empty((B, N), rank_dtype), query=room(R4, W), pull=room(R4, N), back=room(R, N),
        shrink=room(R), reads=room(R, W), d_b=room(R4, N), d_c=room(R, N), d_f=room(R4, N), d_w_r=room(R4, N),
        d_w=room(1, N), d_p=room(N), d_a=room(N), d_psi=room(N), d_h=room(H), d_r=room(R * W), d_o=room(H),
        w_r=room(R4, N), f=room(R4, N), b=room(R4, N)
    )  # fmt: skip


class Workspace:
    """Every array of one call. A training call keeps all T steps, any other call the running state."""

    def __init__(self, shape: Shape) -> None:
        T, B, I, N, W, R, H, S, dtype, options, training = shape  # noqa: E741
        steps, P, once = T if training else 1, N if options.links else 0, int(training)

        def per_step(*size: int) -> Array:
            return empty(steps, B, *size, dtype=dtype)

        self.shape = shape
        # One sequence of zeros, for the steps at which one starts.
        self.zero = Bank(*(np.zeros_like(a) for a in empty_bank(shape._replace(B=1), 1, 1)))
        # M and L: two in turn, and in training those before every SEGMENT-th step, to replay the steps between.
        self.initial = empty_bank(shape, once, once)
        self.bank = empty_bank(shape, T if training else 2, 2 + once * (T // SEGMENT))
        self.replay = empty_bank(shape, 0, once * min(T, SEGMENT))
        self.controller = Controller(*(empty(steps + 1, B, n, dtype=dtype) for n in (H, H, R * W)))
        self.lstm = ControllerRecord(
            x_r=per_step(I + R * W),
            gates=per_step(4 * H),
            tanh_c=per_step(H),
            o=per_step(H),
            o_hat=per_step(H),
            o_rstd=per_step(),
            r_hat=per_step(R * W),
            r_rstd=per_step(),
        )
        self.record = BankRecord(
            xi=per_step(S),
            psi=per_step(N),
            prefix=per_step(N),
            c_w=per_step(1, N),
            s_w=per_step(1, N),
            m_w=per_step(1, N),
            c_r=per_step(R, N),
            s_r=per_step(R, N),
            m_r=per_step(R if options.masking else 1, N),
            f=per_step(R, P),
            b=per_step(R, P),
        )
        self.scratch = scratch(shape)
        # The gradients of the backward pass: by the running state, and by what every step computed.
        self.d_bank = empty_bank(shape, once, once)
        self.d_controller = Controller(*(empty(once, B, n, dtype=dtype) for n in (H, H, R * W)))
        self.d_steps = StepGradients(*(empty(T * once, B, n, dtype=dtype) for n in (4 * H, S)))
        sizes = (4 * H, H, H, S, R * W, R * W)
        self.d_vectors = SequenceGradients(*(empty(B * once, n, dtype=dtype) for n in sizes))


class WorkspacePool:
    """Workspaces by shape, each lent to one call at a time."""

    def __init__(self) -> None:
        self._free: dict[Shape, list[Workspace]] = defaultdict(list)
        self._lock = threading.Lock()

    def borrow(self, shape: Shape) -> Workspace:
        """A workspace nobody else holds: one that came back, else a new one."""
        with self._lock:
            if self._free[shape]:
                return self._free[shape].pop()
        return Workspace(shape)

    def give_back(self, workspace: Workspace) -> None:
        """Let others have it. The giver must not touch it again."""
        with self._lock:
            self._free[workspace.shape].append(workspace)

    def __len__(self) -> int:
        """How many workspaces wait to be borrowed."""
        return sum(map(len, self._free.values()))

    def clear(self) -> None:
        """Free the memory of all workspaces that are not lent."""
        with self._lock:
            self._free.clear()


class Lease:
    """Holds a workspace, and gives it back when nobody holds the lease."""

    def __init__(self, pool: WorkspacePool, workspace: Workspace) -> None:
        self._pool, self.workspace = pool, workspace

    def __del__(self) -> None:
        self._pool.give_back(self.workspace)
