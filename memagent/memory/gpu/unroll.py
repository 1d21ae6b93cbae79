"""The GPU's DNC as a PyTorch operation: one autograd node for all T steps."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from memagent.memory.gpu.backward import backward_kernel
from memagent.memory.gpu.forward import forward_kernel
from memagent.memory.gpu.records import (
    Gradients,
    Record,
    Shape,
    Tape,
    Weights,
    empty,
    gradient_sizes,
    kernel_shape,
    record_sizes,
    scratch_sizes,
    state_sizes,
)
from memagent.memory.states import DNCState
from memagent.memory.weights import DNCWeights

WARPS = 8
FIRST_DERIVATIVE_ONLY = (
    "The memory's GPU kernels were asked for a torch.func transform, expected backward() and nothing else: set "
    'MemoryConfig(backend="reference").'
)


def triton_unroll(dnc: DNCWeights, x: Tensor, start: Tensor, state: DNCState) -> tuple[Tensor, DNCState]:
    """Unroll a DNC over T steps by the GPU's kernels: the same function as the reference in `controller`.

    Args:
        dnc: weights and config; float32 or float64, without link_sharpness.
        x: inputs [T, B, I].
        start: [T, B] bool; start[t, b] resets sequence b before step t.
        state: the state before step 0.

    Returns:
        y [T, B, H + R*W] and the state after the last step. First gradients flow to x, state and the weights.

    Raises:
        RuntimeError: under a torch.func transform, or when a gradient is differentiated again.
        TypeError: x, start or the state are not of the weights' dtype or on their device.
    """
    if torch._C._are_functorch_transforms_active():
        raise RuntimeError(FIRST_DERIVATIVE_ONLY)
    weight = dnc.bias
    for name, given in (("x", x), *zip(state._fields, state, strict=True)):
        if given.dtype != weight.dtype or given.device != weight.device:
            raise TypeError(
                f"{name} is {given.dtype} on {given.device}, expected {weight.dtype} on {weight.device} like the "
                "weights: convert it."
            )
    if start.device != weight.device:
        raise TypeError(f"start is on {start.device}, expected {weight.device} like the weights: move it.")
    eps, norms = 0.0, [weight[:0]] * 4
    if isinstance(dnc.controller_norm, nn.LayerNorm) and isinstance(dnc.read_norm, nn.LayerNorm):
        norms = [p for norm in (dnc.controller_norm, dnc.read_norm) for p in (norm.weight, norm.bias)]
        eps = dnc.controller_norm.eps
    parameters = (dnc.weight_ih, dnc.weight_hh, dnc.bias, dnc.interface.weight, dnc.interface.bias, *norms)
    inputs = (x, *state, *parameters)
    training = torch.is_grad_enabled() and any(i.requires_grad for i in inputs)
    y, *final = Unroll.apply(kernel_shape(dnc.config, eps, x.dtype), training, start, *inputs)
    return y, DNCState(*final)


class Unroll(torch.autograd.Function):
    """The whole-sequence node. Inputs: x, the nine tensors of the state, the nine parameters."""

    @staticmethod
    def forward(ctx: Any, s: Shape, training: bool, start: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        x, state, parameters = inputs[0], DNCState(*inputs[1:10]), inputs[10:]
        weight_ih, weight_hh, bias = parameters[:3]
        T, B, I = x.shape  # noqa: E741
        slots, steps = (T + 1, T) if training else (2, 1)
        tape = empty(state_sizes(s), slots * B + 1, like=x)
        for part, first in zip(tape, on_tape(state), strict=True):
            part[:B] = first
            part[-1] = 0.0
        record = empty(record_sizes(s), steps * B, like=x)
        y = x.new_empty(T, B, s.H + s.R * s.W)
        recurrent = torch.cat([weight_ih[:, I:], weight_hh], 1).t().contiguous()
        interface = F.pad(parameters[3].t(), (0, s.interface_stride - s.S)).contiguous()
        weights = Weights(recurrent, interface, *(p.contiguous() for p in parameters[4:]))
        x_gates = F.linear(x, weight_ih[:, :I], bias)
        flags = start.contiguous().view(torch.uint8)
        with torch.cuda.device_of(x):
            forward_kernel[(B,)](
                x_gates, flags, weights, tape, record, y, T, B, slots, steps, s, num_warps=WARPS
            )  # fmt: skip
        if training:
            ctx.shape = s
            ctx.save_for_backward(flags, *inputs, *tape, *record)
        last = T % slots * B
        return y, *(part.clone() for part in from_tape(Tape(*(part[last : last + B] for part in tape)), s))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        s, (flags, x, *rest) = ctx.shape, ctx.saved_tensors
        parameters, tape, record = rest[9:18], Tape(*rest[18:26]), Record(*rest[26:])
        T, B, I = x.shape  # noqa: E741
        d_state = Tape(
            *(d.clone(memory_format=torch.contiguous_format) for d in on_tape(DNCState(*d_outputs[1:])))
        )
        d_steps = empty(gradient_sizes(s), T * B, like=x)
        scratch = empty(scratch_sizes(s), B, like=x)
        weights = Weights(
            torch.cat([parameters[0][:, I:], parameters[1]], 1), *(p.contiguous() for p in parameters[3:])
        )
        with torch.cuda.device_of(x):
            backward_kernel[(B,)](
                flags, weights, tape, record, d_outputs[0].contiguous(), d_state, d_steps, scratch, T, B, s,
                num_warps=WARPS,
            )  # fmt: skip
        d_x = (d_steps.gates @ parameters[0][:, :I]).view_as(x)
        d_parameters = parameter_gradients(s, x, flags, parameters, tape, record, d_steps)
        return None, None, None, d_x, *from_tape(d_state, s), *d_parameters


def on_tape(state: DNCState) -> Tape:
    """The state as the tape keeps it."""
    return Tape(torch.cat([state.r, state.h], 1), state.c, *state[3:])


def from_tape(tape: Tape, s: Shape) -> DNCState:
    """The state that the tape keeps."""
    return DNCState(tape.v[:, s.R * s.W :], tape.c, tape.v[:, : s.R * s.W], *tape[2:])


def parameter_gradients(
    s: Shape,
    x: Tensor,
    flags: Tensor,
    parameters: list[Tensor],
    tape: Tape,
    record: Record,
    d: Gradients,
) -> tuple[Tensor | None, ...]:
    """Products and sums over all T*B steps, in the order of the parameters."""
    steps, B, reads = len(d.gates), x.shape[1], s.R * s.W
    v_tm1 = tape.v[:steps].masked_fill(flags.view(steps, 1).bool(), 0.0)
    d_recurrent = d.gates.t() @ v_tm1
    d_weight_ih = torch.cat([d.gates.t() @ x.reshape(steps, -1), d_recurrent[:, :reads]], 1)
    o = tape.v[B : B + steps, reads:]
    d_norms: tuple[Tensor | None, ...] = (None,) * 4
    if s.layer_norm:
        o_hat, r_hat = (F.layer_norm(raw, raw.shape[1:], eps=s.norm_eps) for raw in (o, record.reads))
        d_norms = ((d.o * o_hat).sum(0), d.o.sum(0), (d.r * r_hat).sum(0), d.r.sum(0))
        o = o_hat * parameters[5] + parameters[6]
    return d_weight_ih, d_recurrent[:, reads:], d.gates.sum(0), d.xi.t() @ o, d.xi.sum(0), *d_norms
