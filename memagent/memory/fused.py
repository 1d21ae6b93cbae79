"""The fused DNC as a PyTorch operation: one autograd node for the whole sequence, or none when nothing is learned."""

import logging
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from memagent.memory import addressing, kernels
from memagent.memory.kernels import Array, Bank, Constants, Controller, Options, Weights
from memagent.memory.crew import Crew
from memagent.memory.workspace import Shape, Workspace, WorkspacePool, empty_bank

if TYPE_CHECKING:
    from memagent.memory.controller import DNC, DNCState

logger = logging.getLogger(__name__)
workspaces, crew = WorkspacePool(), Crew()

FIRST_DERIVATIVE_ONLY = (
    "The fused memory was asked for a second derivative or a torch.func transform, expected first derivatives alone: "
    'set MemoryConfig(backend="reference").'
)


def fused_unroll(dnc: "DNC", x: Tensor, start: Tensor, state: "DNCState") -> tuple[Tensor, "DNCState"]:
    """Unroll a DNC over T steps by the compiled kernels; the same function as the reference in `controller`.

    Args:
        dnc: weights and config; float32 or float64 on the CPU, no link_sharpness.
        x: inputs [T, B, I].
        start: [T, B] bool; start[t, b] resets sequence b before step t.
        state: the state before step 0.

    Returns:
        y [T, B, H + R*W] and the state after the last step. Gradients flow to x, state and the weights.

    Raises:
        RuntimeError: under a torch.func transform, or when a gradient is differentiated again.
        TypeError: x or the state are not of the weights' dtype, or not on the CPU.
    """
    if torch._C._are_functorch_transforms_active():
        raise RuntimeError(FIRST_DERIVATIVE_ONLY)
    _check(dnc, x, state)
    call = Call(dnc, x, start)
    inputs = (x, *state, *call.parameters)
    if not (torch.is_grad_enabled() and any(i.requires_grad for i in inputs)):
        y, *final = call.act(state)
    else:
        lease = Lease(workspaces.borrow(call.shape._replace(training=True)))
        # What a node saves is freed with its graph; the lease rides along, and its workspace comes back.
        with torch.autograd.graph.saved_tensors_hooks(lambda saved: (saved, lease), lambda packed: packed[0]):
            y, *final = Unroll.apply(call, weakref.ref(lease), *inputs)
    return y, type(state)(*final)


def _check(dnc: "DNC", x: Tensor, state: "DNCState") -> None:
    for name, given in (("x", x), *zip(state._fields, state, strict=True)):
        if given.dtype != dnc.bias.dtype or given.device.type != "cpu":
            raise TypeError(
                f"{name} is {given.dtype} on {given.device}, expected {dnc.bias.dtype} on cpu as the weights: convert "
                'it, or set MemoryConfig(backend="reference").'
            )


class Lease:
    """Holds a workspace, and gives it back when nobody holds the lease."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def __del__(self) -> None:
        workspaces.give_back(self.workspace)


class Call:
    """One call of the kernels: shapes, constants and weights as they take them."""

    def __init__(self, dnc: "DNC", x: Tensor, start: Tensor) -> None:
        config, none = dnc.config, dnc.bias[:0]
        norms = [none] * 4
        if config.layer_norm:
            o_norm, r_norm = dnc.controller_norm, dnc.read_norm
            norms = [o_norm.weight, o_norm.bias, r_norm.weight, r_norm.bias]
        self.parameters = (
            dnc.weight_ih, dnc.weight_hh, dnc.bias, *norms[:2], dnc.interface.weight, dnc.interface.bias, *norms[2:],
        )  # fmt: skip
        self.x, self.start = x.detach().contiguous(), start.contiguous().numpy()
        self.options = Options(config.temporal_links, config.masking, config.deallocation, config.layer_norm)
        self.shape = Shape(
            *x.shape, config.memory_size, config.memory_dim, config.num_read_heads, config.hidden_size,
            dnc.interface.out_features, x.dtype, self.options, training=False,
        )  # fmt: skip
        self.blocks = -(-x.shape[1] // kernels.BLOCK)
        real = np.float32 if x.dtype == torch.float32 else np.float64
        self.constants = Constants(
            *(
                real(c)
                for c in (
                    config.strength_bias,
                    addressing.COSINE_EPS,
                    addressing.USAGE_EPS,
                    addressing.USAGE_LEVELS,
                    addressing.MASK_FLOOR,
                    getattr(dnc.controller_norm, "eps", 0.0),
                )
            )
        )

    def act(self, state: "DNCState") -> list[Tensor]:
        """y and the state after the last step, keeping only the running state."""
        T, B = self.shape.T, self.shape.B
        workspace = workspaces.borrow(self.shape)
        # One step writes the caller's new state; several write two banks in turn.
        bank = empty_bank(self.shape, 1) if T == 1 else workspace.bank
        initial = Bank(*(array(s)[None] for s in state[3:]))
        y, last = self.forward(state, workspace, initial, bank), (T - 1) % len(bank.M)
        final = [torch.from_numpy(a[T % len(a)].copy()) for a in workspace.controller]
        final += [torch.from_numpy(a[last] if T == 1 else a[last].copy()) for a in bank]
        workspaces.give_back(workspace)
        return [y, *final]

    def forward(self, state: "DNCState", workspace: Workspace, initial: Bank, bank: Bank) -> Tensor:
        """Run the forward kernel: y [T, B, H + R*W]; the workspace's records and the bank are written."""
        shape = self.shape
        for slots, first in zip(workspace.controller, state[:3], strict=True):
            slots[0] = array(first)
        y = torch.empty(shape.T, shape.B, shape.H + shape.R * shape.W, dtype=shape.dtype)
        crew.run(
            kernels.forward_block, self.blocks, array(self.x), self.start, Weights(*map(array, self.parameters)), workspace.controller, initial,
            workspace.zero, bank, workspace.lstm, workspace.record, array(y), self.constants, self.options,
        )  # fmt: skip
        return y


def array(tensor: Tensor) -> Array:
    """The tensor's numbers as a contiguous NumPy array, shared where they are contiguous."""
    return tensor.detach().contiguous().numpy()


class Unroll(torch.autograd.Function):
    """The whole-sequence node. Inputs: x, the nine tensors of the state, the nine parameters of `Weights`."""

    @staticmethod
    def forward(ctx: Any, call: Call, lease: "weakref.ref[Lease]", *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.call, ctx.lease = call, lease
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)
        workspace, state = lease().workspace, inputs[1:10]
        for slots, first in zip(workspace.initial, state[3:], strict=True):
            slots[0] = array(first)
        y = call.forward(state, workspace, workspace.initial, workspace.bank)
        T = call.shape.T
        final = [torch.from_numpy(a[T].copy()) for a in workspace.controller]
        final += [torch.from_numpy(a[T - 1].copy()) for a in workspace.bank]
        return y, *final

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors  # a freed graph says so here
        with torch.no_grad():
            gradients = backward(ctx.call, ctx.lease().workspace, inputs, d_outputs, ctx.needs_input_grad[2:])
        if torch.is_grad_enabled():
            gradients = refuse_second_derivative(inputs, gradients)
        return None, None, *gradients


def backward(
    call: Call,
    workspace: Workspace,
    inputs: tuple[Tensor, ...],
    d_outputs: tuple[Tensor | None, ...],
    needed: tuple[bool, ...],
) -> list[Tensor | None]:
    """The gradients of x, state and parameters from those of y and the final state (None is zero)."""
    shape, lstm, weights = call.shape, workspace.lstm, Weights(*inputs[10:])
    I, RW = shape.I, shape.R * shape.W  # noqa: E741
    d_running = (*workspace.d_controller, *workspace.d_bank)
    # State is (h, c, r, M, u, p, L, w_w, w_r), as are the two together.
    for running, d_final in zip(d_running, d_outputs[1:], strict=True):
        running[0] = 0.0 if d_final is None else array(d_final)
    d_y = (
        torch.zeros(shape.T, shape.B, shape.H + RW, dtype=shape.dtype)
        if d_outputs[0] is None
        else d_outputs[0]
    )
    transposed = weights._replace(
        weight_ih=weights.weight_ih[:, I:].t(),
        weight_hh=weights.weight_hh.t(),
        interface=weights.interface.t(),
    )
    crew.run(
        kernels.backward_block, call.blocks, call.start, array(d_y), Weights(*map(array, transposed)), workspace.controller, workspace.initial,
        workspace.zero, workspace.bank, lstm, workspace.record, workspace.d_controller, workspace.d_bank,
        workspace.d_steps, call.constants, call.options,
    )  # fmt: skip

    def rows(a: Array) -> Tensor:
        return torch.from_numpy(a).flatten(0, 1)  # [T*B, size]

    d_gates, d_o, d_xi, d_r = map(rows, workspace.d_steps)
    h_tm1, r_tm1 = (rows(a[:-1]) for a in (workspace.controller.h, workspace.controller.r))
    # What every step shares: one product over all T*B steps each.
    d_weights = Weights(
        weight_ih=torch.cat([d_gates.t() @ call.x.flatten(0, 1), d_gates.t() @ r_tm1], 1),
        weight_hh=d_gates.t() @ h_tm1,
        bias=d_gates.sum(0),
        o_scale=(d_o * rows(lstm.o_hat)).sum(0) if call.options.layer_norm else None,
        o_shift=d_o.sum(0) if call.options.layer_norm else None,
        interface=d_xi.t() @ rows(lstm.o),
        interface_bias=d_xi.sum(0),
        r_scale=(d_r * rows(lstm.r_hat)).sum(0) if call.options.layer_norm else None,
        r_shift=d_r.sum(0) if call.options.layer_norm else None,
    )
    d_x = (d_gates @ weights.weight_ih[:, :I]).view_as(call.x) if needed[0] else None
    d_state = (
        torch.from_numpy(running[0].copy()) if wanted else None
        for running, wanted in zip(d_running, needed[1:10], strict=True)
    )
    return [d_x, *d_state, *d_weights]


class FirstDerivative(torch.autograd.Function):
    """Passes gradients on, tied to the inputs they are of, so that differentiating them again says what to do."""

    @staticmethod
    def forward(ctx: Any, size: int, *inputs_and_gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(g.view_as(g) for g in inputs_and_gradients[size:])

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        raise RuntimeError(FIRST_DERIVATIVE_ONLY)


def refuse_second_derivative(
    inputs: tuple[Tensor, ...], gradients: list[Tensor | None]
) -> list[Tensor | None]:
    """The same gradients, which raise when they are differentiated."""
    given = iter(FirstDerivative.apply(len(inputs), *inputs, *(g for g in gradients if g is not None)))
    return [None if g is None else next(given) for g in gradients]
