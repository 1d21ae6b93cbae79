"""The fused DNC as a PyTorch operation: one autograd node for all T steps, or none when nothing is learned."""

import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba.core import event
from torch import Tensor

from memagent.memory import addressing, kernels
from memagent.memory.crew import Crew
from memagent.memory.records import Array, Bank, Constants, Controller, Options, Weights
from memagent.memory.workspace import Lease, Shape, Workspace, WorkspacePool, empty_bank

if TYPE_CHECKING:
    from memagent.memory.controller import DNC
    from memagent.memory.states import DNCState

logger = logging.getLogger(__name__)
FORWARD_SPAN, BACKWARD_SPAN = 16, 8
"""Sequences that share one read of the weights, at most: more of them leave less cache to their states."""

workspaces, crew = WorkspacePool(), Crew()

FIRST_DERIVATIVE_ONLY = (
    "The fused memory was asked for a second derivative, a forward derivative or a torch.func transform, expected "
    'backward() and nothing else: set MemoryConfig(backend="reference").'
)


def fused_unroll(dnc: "DNC", x: Tensor, start: Tensor, state: "DNCState") -> tuple[Tensor, "DNCState"]:
    """Unroll a DNC over T steps by the compiled kernels: the same function as the reference in `controller`.

    Args:
        dnc: weights and config; float32 or float64 on the CPU, without link_sharpness.
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
    for name, given in (("x", x), *zip(state._fields, state, strict=True)):
        if given.dtype != dnc.bias.dtype or given.device.type != "cpu":
            raise TypeError(
                f"{name} is {given.dtype} on {given.device}, expected {dnc.bias.dtype} on cpu like the weights: "
                "convert it."
            )
    call = Call(dnc, x, start)
    inputs = (x, *state, *call.parameters)
    if not (torch.is_grad_enabled() and any(i.requires_grad for i in inputs)):
        y, *final = act(call, state)
    else:
        lease = Lease(workspaces, workspaces.borrow(call.shape._replace(training=True)))
        # What a node saves is freed with its graph: the lease rides along, and its workspace comes back.
        with torch.autograd.graph.saved_tensors_hooks(lambda saved: (saved, lease), lambda packed: packed[0]):
            y, *final = Unroll.apply(call, weakref.ref(lease), *inputs)
    return y, type(state)(*final)


class Call:
    """What one call of the kernels is made of, beside the state."""

    def __init__(self, dnc: "DNC", x: Tensor, start: Tensor) -> None:
        config, none = dnc.config, dnc.bias[:0]
        norms = [none] * 4
        if config.layer_norm:
            o_norm, r_norm = dnc.controller_norm, dnc.read_norm
            norms = [o_norm.weight, o_norm.bias, r_norm.weight, r_norm.bias]
        interface = dnc.interface
        controller = (dnc.weight_ih, dnc.weight_hh, dnc.bias)
        self.parameters = (
            *controller,
            *norms[:2],
            interface.weight,
            interface.bias,
            *norms[2:],
        )  # as in Weights
        self.x, self.start = x.detach().contiguous(), start.contiguous().numpy()
        self.options = Options(config.temporal_links, config.masking, config.deallocation, config.layer_norm)
        sizes = (config.memory_size, config.memory_dim, config.num_read_heads, config.hidden_size)
        self.shape = Shape(*x.shape, *sizes, interface.out_features, x.dtype, self.options, training=False)
        numbers = (config.strength_bias, addressing.COSINE_EPS, addressing.USAGE_EPS, addressing.USAGE_LEVELS)
        numbers += (addressing.MASK_FLOOR, getattr(dnc.controller_norm, "eps", 0.0))
        self.constants = Constants(*map(np.float32 if x.dtype == torch.float32 else np.float64, numbers))

    def forward(self, workspace: Workspace, h_c_r: tuple[Tensor, ...], initial: Bank, bank: Bank) -> Tensor:
        """Run the forward kernel, which writes the workspace's records and the bank: y [T, B, H + R*W]."""
        for slots, first in zip(workspace.controller, h_c_r, strict=True):
            slots[0] = array(first)
        y = torch.empty(
            self.shape.T, self.shape.B, self.shape.H + self.shape.R * self.shape.W, dtype=self.x.dtype
        )
        weights, w = Weights(*map(array, self.parameters)), workspace
        with telling_of_compilation():
            crew.run(
                kernels.forward_span, self.shape.B, FORWARD_SPAN, array(self.x), self.start, weights,
                w.controller, initial, w.zero, bank, w.lstm, w.record, array(y), self.constants, self.options,
            )  # fmt: skip
        return y

    def backward(self, workspace: Workspace, d_y: Tensor, weights: Weights) -> None:
        """Run the backward kernel, which writes the workspace's gradients."""
        transposed = Weights(*map(array, weights))._replace(
            weight_ih=array(weights.weight_ih[:, self.shape.I :].t()),
            weight_hh=array(weights.weight_hh.t()),
            interface=array(weights.interface.t()),
        )
        w = workspace
        with telling_of_compilation():
            crew.run(
                kernels.backward_span, self.shape.B, BACKWARD_SPAN, self.start, array(d_y), transposed,
                w.controller, w.initial, w.zero, w.bank, w.lstm, w.record, w.replay, w.d_controller, w.d_bank,
                w.d_steps, self.constants, self.options,
            )  # fmt: skip


def array(tensor: Tensor) -> Array:
    """The tensor's numbers as a contiguous NumPy array, shared where they are contiguous."""
    return tensor.detach().contiguous().numpy()


def act(call: Call, state: "DNCState") -> list[Tensor]:
    """The outputs of a call that keeps only the running state: y and the state after the last step."""
    T = call.shape.T
    workspace = workspaces.borrow(call.shape)
    # One step writes the caller's new state; several write two banks in turn.
    bank = empty_bank(call.shape, 1, 1) if T == 1 else workspace.bank
    y = call.forward(workspace, state[:3], Bank(*(array(s)[None] for s in state[3:])), bank)
    final = final_state(workspace.controller, bank, T)
    workspaces.give_back(workspace)
    return [y, *(final if T > 1 else [*final[:3], *(torch.from_numpy(a[0]) for a in bank)])]


def final_state(controller: Controller, bank: Bank, T: int) -> list[Tensor]:
    """Copies of the nine tensors of the state after step T - 1."""
    content, step = kernels.content_slot.py_func(T - 1, len(bank.M)), (T - 1) % len(bank.u)
    last = [a[T % len(a)] for a in controller]
    last += [bank.M[content], bank.u[step], bank.p[step], bank.L[content], bank.w_w[step], bank.w_r[step]]
    return [torch.from_numpy(a.copy()) for a in last]


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
        y = call.forward(workspace, state[:3], workspace.initial, workspace.bank)
        return y, *final_state(workspace.controller, workspace.bank, call.shape.T)

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors  # a graph that was freed says so here
        with torch.no_grad():
            d_inputs = gradients(ctx.call, ctx.lease().workspace, inputs, d_outputs, ctx.needs_input_grad[2:])
        if torch.is_grad_enabled():
            given = iter(FirstDerivative.apply(len(inputs), *inputs, *(d for d in d_inputs if d is not None)))
            d_inputs = [None if d is None else next(given) for d in d_inputs]
        return None, None, *d_inputs

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> None:
        raise RuntimeError(FIRST_DERIVATIVE_ONLY)


class FirstDerivative(torch.autograd.Function):
    """Passes gradients on, tied to the inputs they are of, so that differentiating them again says what to do."""

    @staticmethod
    def forward(ctx: Any, size: int, *inputs_and_gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(d.view_as(d) for d in inputs_and_gradients[size:])

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        raise RuntimeError(FIRST_DERIVATIVE_ONLY)


def gradients(
    call: Call,
    workspace: Workspace,
    inputs: tuple[Tensor, ...],
    d_outputs: tuple[Tensor | None, ...],
    needed: tuple[bool, ...],
) -> list[Tensor | None]:
    """The gradients by x, state and parameters, from those by y and the final state (None is zero)."""
    shape, lstm, weights = call.shape, workspace.lstm, Weights(*inputs[10:])
    I, d_y = shape.I, d_outputs[0]  # noqa: E741
    # (h, c, r) and (M, u, p, L, w_w, w_r) together are the state.
    d_state = (*workspace.d_controller, *workspace.d_bank)
    for running, d_final in zip(d_state, d_outputs[1:], strict=True):
        running[0] = 0.0 if d_final is None else array(d_final)
    if d_y is None:
        d_y = torch.zeros(shape.T, shape.B, shape.H + shape.R * shape.W, dtype=shape.dtype)
    call.backward(workspace, d_y, weights)

    def rows(steps: Array) -> Tensor:
        return torch.from_numpy(steps).flatten(0, 1)  # [T, B, size] -> [T*B, size]

    d_gates, d_o, d_xi, d_r = map(rows, workspace.d_steps)
    h_tm1, r_tm1 = (rows(steps[:-1]) for steps in (workspace.controller.h, workspace.controller.r))
    # What every step shares: one product over all T*B of them each.
    norms, d_gates_t = shape.options.layer_norm, d_gates.t().contiguous()
    d_weights = Weights(
        weight_ih=products(d_gates_t, torch.cat([call.x.flatten(0, 1), r_tm1], 1).t()),
        weight_hh=products(d_gates_t, h_tm1.t()),
        bias=d_gates.sum(0),
        o_scale=(d_o * rows(lstm.o_hat)).sum(0) if norms else None,
        o_shift=d_o.sum(0) if norms else None,
        interface=products(d_xi.t(), rows(lstm.o).t()),
        interface_bias=d_xi.sum(0),
        r_scale=(d_r * rows(lstm.r_hat)).sum(0) if norms else None,
        r_shift=d_r.sum(0) if norms else None,
    )
    d_x = products(d_gates, weights.weight_ih[:, :I].t()).view_as(call.x) if needed[0] else None
    wanted = zip(d_state, needed[1:10], strict=True)
    d_initial = (torch.from_numpy(d[0].copy()) if want else None for d, want in wanted)
    return [d_x, *d_initial, *d_weights]


def products(A: Tensor, C: Tensor) -> Tensor:
    """A C^T, by the kernels."""
    out = torch.empty(len(A), len(C), dtype=A.dtype)
    crew.run(kernels.products_span, len(A), FORWARD_SPAN, array(out), array(A), array(C))
    return out


@contextmanager
def telling_of_compilation() -> Iterator[None]:
    """Log, once, that Numba compiles a kernel rather than loading it."""
    listener = _CompilationListener()
    with event.install_listener("numba:compile", listener):
        yield


class _CompilationListener(event.Listener):
    told = False

    def on_start(self, _: event.Event) -> None:
        if not self.told:
            self.told = True
            logger.warning(
                "Compiling the memory's kernels: about half a minute, once; the result is kept on disk."
            )

    def on_end(self, _: event.Event) -> None:
        pass
