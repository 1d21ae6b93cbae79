"""The fused DNC as a PyTorch operation: one autograd node for all T steps, or none when nothing is learned."""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from memagent.memory import addressing
from memagent.memory.fused import compilation, kernels
from memagent.memory.fused.records import Array, Bank, Constants, Controller, Options, Weights
from memagent.memory.fused.threads import BatchThreads
from memagent.memory.fused.workspace import Lease, Shape, Workspace, WorkspacePool, empty_bank
from memagent.memory.states import DNCState
from memagent.memory.weights import DNCWeights

FORWARD_SPAN, BACKWARD_SPAN = 16, 8
"""Sequences that share one read of the weights, at most: more of them leave less cache to their states."""

workspaces = WorkspacePool()
threads = BatchThreads()

FIRST_DERIVATIVE_ONLY = (
    "The fused memory was asked for a second derivative, a forward derivative or a torch.func transform, expected "
    'backward() and nothing else: set MemoryConfig(backend="reference").'
)


def fused_unroll(dnc: DNCWeights, x: Tensor, start: Tensor, state: DNCState) -> tuple[Tensor, DNCState]:
    """Unroll a DNC over T steps by the compiled kernels: the same function as the reference in `controller`.

    Args:
        dnc: weights and config; float32 or float64 on the CPU, without link_sharpness.
        x: inputs [T, B, I].
        start: [T, B] bool; start[t, b] resets sequence b before step t.
        state: the state before step 0. The kernels trust its shapes and x's, which `DNC.forward` has checked.

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

    def __init__(self, dnc: DNCWeights, x: Tensor, start: Tensor) -> None:
        config, interface = dnc.config, dnc.interface
        norms, eps = [dnc.bias[:0]] * 4, 0.0
        if isinstance(dnc.controller_norm, nn.LayerNorm) and isinstance(dnc.read_norm, nn.LayerNorm):
            norms = [p for norm in (dnc.controller_norm, dnc.read_norm) for p in (norm.weight, norm.bias)]
            eps = dnc.controller_norm.eps
        self.parameters = (  # as in Weights
            *(dnc.weight_ih, dnc.weight_hh, dnc.bias, *norms[:2]),
            *(interface.weight, interface.bias, *norms[2:]),
        )
        self.x, self.start = x.detach().contiguous(), start.contiguous().numpy()
        self.options = Options(config.temporal_links, config.masking, config.deallocation, config.layer_norm)
        self.shape = Shape(
            T=x.shape[0],
            B=x.shape[1],
            I=x.shape[2],
            N=config.memory_size,
            W=config.memory_dim,
            R=config.num_read_heads,
            H=config.hidden_size,
            S=interface.out_features,
            dtype=x.dtype,
            options=self.options,
            training=False,
        )
        real = np.float32 if x.dtype == torch.float32 else np.float64
        self.constants = Constants(
            strength_bias=real(config.strength_bias),
            cosine_eps=real(addressing.COSINE_EPS),
            usage_eps=real(addressing.USAGE_EPS),
            usage_levels=real(addressing.USAGE_LEVELS),
            mask_floor=real(addressing.MASK_FLOOR),
            norm_eps=real(eps),
        )

    def forward(self, workspace: Workspace, h_c_r: tuple[Tensor, ...], initial: Bank, bank: Bank) -> Tensor:
        """Run the forward kernel, which writes the workspace's records and the bank: y [T, B, H + R*W]."""
        for slots, first in zip(workspace.controller, h_c_r, strict=True):
            slots[0] = array(first)
        y = torch.empty(
            self.shape.T, self.shape.B, self.shape.H + self.shape.R * self.shape.W, dtype=self.x.dtype
        )
        weights, w = Weights(*map(array, self.parameters)), workspace
        run(
            kernels.forward_span, self.shape.dtype, self.shape.B, FORWARD_SPAN, array(self.x), self.start, weights,
            w.controller, initial, w.zero, bank, w.lstm, w.record, w.scratch, array(y), self.constants, self.options,
        )  # fmt: skip
        return y

    def backward(self, workspace: Workspace, d_y: Tensor, weights: Weights[Tensor]) -> None:
        """Run the backward kernel, which writes the workspace's gradients."""
        transposed = Weights(*map(array, weights))._replace(
            weight_ih=array(weights.weight_ih[:, self.shape.I :].t()),
            weight_hh=array(weights.weight_hh.t()),
            interface=array(weights.interface.t()),
        )
        w = workspace
        run(
            kernels.backward_span, self.shape.dtype, self.shape.B, BACKWARD_SPAN, self.start, array(d_y), transposed,
            w.controller, w.initial, w.zero, w.bank, w.lstm, w.record, w.replay, w.scratch, w.d_controller,
            w.d_bank, w.d_steps, w.d_vectors, self.constants, self.options,
        )  # fmt: skip


def run(function: Callable[..., Any], dtype: torch.dtype, size: int, longest: int, *arguments: Any) -> None:
    """Call a kernel on all of a batch, see `BatchThreads.run`; it comes from disk, see `compilation`."""
    compilation.load(function, dtype, *arguments)
    threads.run(function, size, longest, *arguments)


def array(tensor: Tensor) -> Array:
    """The tensor's numbers as a contiguous NumPy array, shared where they are contiguous."""
    return tensor.detach().contiguous().numpy()


def act(call: Call, state: DNCState) -> list[Tensor]:
    """The outputs of a call that keeps only the running state: y and the state after the last step."""
    T = call.shape.T
    workspace = workspaces.borrow(call.shape)
    # One step writes the caller's new state; several write two banks in turn.
    bank = empty_bank(call.shape, 1, 1) if T == 1 else workspace.bank
    y = call.forward(workspace, state[:3], Bank(*(array(s)[None] for s in state[3:])), bank)
    final = final_state(workspace.controller, bank, T)
    state_t = [torch.from_numpy(a if T == 1 and i > 2 else a.copy()) for i, a in enumerate(final)]
    workspaces.give_back(workspace)
    return [y, *state_t]


def final_state(controller: Controller, bank: Bank, T: int) -> list[Array]:
    """Where the nine arrays of the state after step T - 1 are: (h, c, r) and (M, u, p, L, w_w, w_r)."""
    content, step = kernels.content_slot.py_func(T - 1, len(bank.M)), (T - 1) % len(bank.u)
    contents = {"M": content, "L": content}
    return [a[T % len(a)] for a in controller] + [
        a[contents.get(name, step)] for name, a in zip(Bank._fields, bank, strict=True)
    ]


class Unroll(torch.autograd.Function):
    """The whole-sequence node. Inputs: x, the nine tensors of the state, the nine parameters of `Weights`."""

    @staticmethod
    def forward(ctx: Any, call: Call, lease: "weakref.ref[Lease]", *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.call, ctx.lease = call, lease
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)
        workspace, state = ctx.lease().workspace, inputs[1:10]
        for slots, first in zip(workspace.initial, state[3:], strict=True):
            slots[0] = array(first)
        y = call.forward(workspace, state[:3], workspace.initial, workspace.bank)
        final = final_state(workspace.controller, workspace.bank, call.shape.T)
        return y, *(torch.from_numpy(a.copy()) for a in final)

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
    shape, d_y, weights = call.shape, d_outputs[0], Weights(*inputs[10:])
    # (h, c, r) and (M, u, p, L, w_w, w_r) together are the state.
    d_state = (*workspace.d_controller, *workspace.d_bank)
    for running, d_final in zip(d_state, d_outputs[1:], strict=True):
        running[0] = 0.0 if d_final is None else array(d_final)
    if d_y is None:
        d_y = torch.zeros(shape.T, shape.B, shape.H + shape.R * shape.W, dtype=shape.dtype)
    for d in workspace.d_vectors:
        d.fill(0.0)
    call.backward(workspace, d_y, weights)

    d_x, d_weights = shared_gradients(call, workspace, weights)
    wanted = zip(d_state, needed[1:10], strict=True)
    return [d_x, *(torch.from_numpy(d[0].copy()) if want else None for d, want in wanted), *d_weights]


def shared_gradients(
    call: Call, workspace: Workspace, weights: Weights[Tensor]
) -> tuple[Tensor, Weights[Tensor | None]]:
    """By x and by the parameters: products over all T*B steps, and sums over the sequences."""
    flat = [
        a.reshape(-1, a.shape[-1])
        for a in (*workspace.d_steps, workspace.lstm.x_r, workspace.controller.h, workspace.lstm.o)
    ]  # [T*B, size]; of h the last step is left out
    T_B = call.shape.T * call.shape.B
    d_gates, d_xi, x_r, h, o = (torch.from_numpy(a[:T_B]) for a in flat)
    weight_ih, weight_hh, interface = d_gates.t() @ x_r, d_gates.t() @ h, d_xi.t() @ o
    d_x = (d_gates @ weights.weight_ih[:, : call.shape.I]).view_as(call.x)
    d_vectors = {
        name: torch.from_numpy(d.sum(0)) if call.options.layer_norm or "bias" in name else None
        for name, d in workspace.d_vectors._asdict().items()
    }
    return d_x, Weights(weight_ih=weight_ih, weight_hh=weight_hh, interface=interface, **d_vectors)
