"""The unroll: `y, state = memory(x, start, state)` over T steps, for the DNC, LSTM, GRU and no memory at all.

A sequence that starts at step t is reset to the zero state before that step, inside the unroll, so that acting
(T = 1) and training (T > 1) are the same function. Modules hold weights only; state is a NamedTuple of tensors, batch
first, that comes in and goes out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envs import compiling
from memagent.memory import bank
from memagent.memory.config import MemoryConfig
from memagent.memory.fused.unroll import fused_unroll
from memagent.memory.states import (
    DNCState,
    GRUState,
    LSTMState,
    NoState,
    Shapes,
    check_state,
    reset_state,
    steps_with_start,
    zeros,
)

REGISTERS_HOLD = 128 * 128
"""Largest N W for which "auto" takes the GPU's kernels: a program holds M in its registers."""


CellStateT = TypeVar("CellStateT", LSTMState, GRUState)


class DNCTrace(NamedTuple):
    """What the bank did at every step, for pictures."""

    usage: Tensor  # [T, B, N]
    write_weights: Tensor  # [T, B, N]
    read_weights: Tensor  # [T, B, R, N]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def gate_parameters(
    num_gates: int, input_dim: int, hidden_size: int
) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
    """weight_ih [G H, I] (Xavier), weight_hh [G H, H] (orthogonal) and bias [G H] of the G gates of a cell.

    The bias is 0, and 1 for the second gate, which keeps the state: f of the LSTM's i, f, g, o, z of the GRU's r, z, n.
    """
    weight_ih = torch.empty(num_gates, hidden_size, input_dim)
    weight_hh = torch.empty(num_gates, hidden_size, hidden_size)
    for gate in range(num_gates):
        nn.init.xavier_uniform_(weight_ih[gate])
        with one_thread():  # the QR behind it rounds otherwise on two
            nn.init.orthogonal_(weight_hh[gate])
    bias = torch.zeros(num_gates, hidden_size)
    bias[1] = 1.0
    return (
        nn.Parameter(weight_ih.flatten(0, 1)),
        nn.Parameter(weight_hh.flatten(0, 1)),
        nn.Parameter(bias.flatten()),
    )


def lstm_cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """h_t, c_t [B, H] from the four gates before their functions [B, 4H] and c_{t-1} [B, H]."""
    i, f, g, o = gates.chunk(4, dim=-1)
    # c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g);  h_t = sigmoid(o) tanh(c_t)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def check_input(x: Tensor, start: Tensor, input_dim: int) -> None:
    """Raise a ValueError unless x is [T, B, input_dim] with T >= 1 and start is [T, B] bool."""
    if x.dim() != 3 or x.shape[-1] != input_dim or x.shape[0] < 1:
        raise ValueError(
            f"x has shape {tuple(x.shape)}, expected [T, B, {input_dim}] with at least one step: pass time first, "
            "then batch, then features."
        )
    if start.shape != x.shape[:2] or start.dtype != torch.bool:
        raise ValueError(
            f"start is {start.dtype} of shape {tuple(start.shape)}, expected torch.bool of shape "
            f"{tuple(x.shape[:2])}: pass one flag per step and sequence."
        )


def has_triton() -> bool:
    """Whether Triton, which compiles the kernels for a GPU, is there to be imported."""
    return find_spec("triton") is not None


def choose_backend(config: MemoryConfig, weight: Tensor) -> str:
    """Which implementation runs a DNC of this config, with weights like this one: "fused", "triton" or "reference".

    Raises:
        ValueError: the config asks for kernels where they cannot run.
    """
    if config.backend == "reference":
        return "reference"
    device = weight.device.type
    cpu_kernels = "fused" if compiling.ENABLED else "reference"
    kernels = {"cpu": cpu_kernels, "cuda": "triton" if has_triton() else "reference"}.get(device, "reference")
    if weight.dtype not in (torch.float32, torch.float64) or config.link_sharpness:
        kernels = "reference"
    if config.backend not in ("auto", kernels):
        on_cpu = "on the CPU, with NUMBA_DISABLE_JIT unset,"
        place = on_cpu if config.backend == "fused" else "on a CUDA device, with the package triton,"
        raise ValueError(
            f'backend is "{config.backend}" with {weight.dtype} on {weight.device} and '
            f"link_sharpness={config.link_sharpness}, expected float32 or float64 {place} without link_sharpness: set "
            'backend to "auto" or "reference".'
        )
    # A bank that registers cannot hold is left to whoever asks for the kernels by name.
    fits = config.memory_size * config.memory_dim <= REGISTERS_HOLD or config.backend == "triton"
    return "reference" if kernels == "triton" and not fits else kernels


class DNC(nn.Module):
    """Differentiable neural computer (Graves et al. 2016): an LSTM controller with an external memory.

    y_t = [o_t ; r_t], the controller's output (after its layer norm, when on) and the reads (after theirs).
    """

    def __init__(self, config: MemoryConfig, input_dim: int) -> None:
        super().__init__()
        self.config, self.input_dim = config, input_dim
        H, read_dim = config.hidden_size, config.num_read_heads * config.memory_dim
        self.output_dim = H + read_dim
        self.weight_ih, self.weight_hh, self.bias = gate_parameters(4, input_dim + read_dim, H)
        self.controller_norm = nn.LayerNorm(H) if config.layer_norm else nn.Identity()
        self.interface = nn.Linear(H, bank.interface_size(config))
        self.read_norm = nn.LayerNorm(read_dim) if config.layer_norm else nn.Identity()
        if isinstance(self.read_norm, nn.LayerNorm):
            nn.init.constant_(self.read_norm.weight, config.read_gain)
        # Small: the heads start alike and undecided, and learn to bind sooner than from a gain of 1.
        nn.init.xavier_uniform_(self.interface.weight, gain=0.1)
        nn.init.zeros_(self.interface.bias)

    @property
    def backend(self) -> str:
        """The implementation that forward runs: "fused", "triton" or "reference"."""
        return choose_backend(self.config, self.weight_ih)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> DNCState:
        """The zero state of batch_size sequences; device and dtype are the weights' unless given."""
        return DNCState(*zeros(self.state_shapes(batch_size), self.weight_ih, device, dtype))

    def state_shapes(self, batch_size: int) -> Shapes:
        """The shapes of the parts of `DNCState`, for batch_size sequences."""
        B, H, N = batch_size, self.config.hidden_size, self.config.memory_size
        W, R, links = self.config.memory_dim, self.config.num_read_heads, self.config.temporal_links
        P = N if links else 0
        return [(B, H), (B, H), (B, R * W), (B, N, W), (B, N), (B, P), (B, P, P), (B, N), (B, R, N)]

    def forward(self, x: Tensor, start: Tensor, state: DNCState) -> tuple[Tensor, DNCState]:
        """Unroll T steps.

        Args:
            x: inputs [T, B, I].
            start: [T, B] bool; start[t, b] resets sequence b before step t.
            state: the state before step 0.

        Returns:
            y [T, B, output_dim] and the state after the last step.

        Raises:
            ValueError: the shapes of x, start and the state do not fit each other and the configuration.
        """
        check_input(x, start, self.input_dim)
        check_state(state, DNCState, self.state_shapes(x.shape[1]))
        if self.backend == "fused":
            return fused_unroll(self, x, start, state)
        if self.backend == "triton":
            from memagent.memory.gpu.unroll import triton_unroll  # only now: importing it loads triton

            return triton_unroll(self, x, start, state)
        return self._unroll(x, start, state)

    def _unroll(self, x: Tensor, start: Tensor, state: DNCState) -> tuple[Tensor, DNCState]:
        outputs = []
        for x_t, start_t, resets in zip(x, start, steps_with_start(start), strict=True):
            y_t, state = self._step(x_t, reset_state(state, start_t) if resets else state)
            outputs.append(y_t)
        return torch.stack(outputs), state

    def _step(self, x_t: Tensor, state: DNCState) -> tuple[Tensor, DNCState]:
        # h_t, c_t = LSTM([x_t ; r_{t-1}], (h_{t-1}, c_{t-1}))
        gates = (
            F.linear(torch.cat([x_t, state.r], -1), self.weight_ih, self.bias) + state.h @ self.weight_hh.t()
        )
        h, c = lstm_cell(gates, state.c)
        # xi = W_xi o_t + b_xi, with o_t = norm(h_t)
        o = self.controller_norm(h)
        interface = bank.parse_interface(self.interface(o), self.config)
        reads, bank_state = bank.step(bank.BankState(*state[3:]), interface, self.config)
        # y_t = [o_t ; r_t]
        r = self.read_norm(reads.flatten(1))
        return torch.cat([o, r], -1), DNCState(h, c, r, *bank_state)

    @torch.no_grad()
    def trace(self, x: Tensor, start: Tensor, state: DNCState) -> DNCTrace:
        """Usage and weights after every step of an unroll (arguments as in forward), by the reference."""
        check_input(x, start, self.input_dim)
        check_state(state, DNCState, self.state_shapes(x.shape[1]))
        steps = []
        for x_t, start_t in zip(x.split(1), start.split(1), strict=True):
            _, state = self._unroll(x_t, start_t, state)
            steps.append((state.u, state.w_w, state.w_r))
        return DNCTrace(*map(torch.stack, zip(*steps, strict=True)))


class RecurrentMemory(nn.Module, Generic[CellStateT]):
    """PyTorch's LSTM or GRU without an external memory. y_t is its output h_t, after the layer norm when that is on."""

    backend = "reference"
    state_type: type[CellStateT]
    num_gates: int
    network_type: type[nn.LSTM | nn.GRU]

    def __init__(self, config: MemoryConfig, input_dim: int) -> None:
        super().__init__()
        self.config, self.input_dim, self.output_dim = config, input_dim, config.hidden_size
        self.network = self.network_type(input_dim, config.hidden_size)
        ours = gate_parameters(self.num_gates, input_dim, config.hidden_size)
        weight_ih, weight_hh, bias, bias_hh = self.network.parameters()
        with torch.no_grad():
            for parameter, value in zip((weight_ih, weight_hh, bias), ours, strict=True):
                parameter.copy_(value)
            bias_hh.zero_()
        self.controller_norm = nn.LayerNorm(config.hidden_size) if config.layer_norm else nn.Identity()

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> CellStateT:
        """The zero state of batch_size sequences; device and dtype are the weights' unless given."""
        like = next(self.network.parameters())
        return self.state_type(*zeros(self.state_shapes(batch_size), like, device, dtype))

    def state_shapes(self, batch_size: int) -> Shapes:
        """The shapes of the parts of the state, for batch_size sequences."""
        return [(batch_size, self.config.hidden_size)] * len(self.state_type._fields)

    def forward(self, x: Tensor, start: Tensor, state: CellStateT) -> tuple[Tensor, CellStateT]:
        """Unroll T steps: x [T, B, I], start [T, B] bool -> y [T, B, H] and the state after the last step."""
        check_input(x, start, self.input_dim)
        check_state(state, self.state_type, self.state_shapes(x.shape[1]))
        starts: list[bool] = steps_with_start(start)
        outputs: list[Tensor] = []
        bounds = {0, *(t for t, some in enumerate(starts) if some), len(x)}
        for first, end in pairwise(sorted(bounds)):  # from one step with a start to the next
            before = reset_state(state, start[first]) if starts[first] else state
            output, state = self.stretch(x[first:end], before)
            outputs.append(output)
        return self.controller_norm(torch.cat(outputs)), state

    def stretch(self, x: Tensor, state: CellStateT) -> tuple[Tensor, CellStateT]:
        """The same where nothing starts, without the norm."""
        raise NotImplementedError


class LSTMMemory(RecurrentMemory[LSTMState]):
    """The DNC's controller without its external memory."""

    state_type, num_gates, network_type = LSTMState, 4, nn.LSTM

    def stretch(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        output, (h, c) = self.network(x, (state.h[None], state.c[None]))
        return output, LSTMState(h[0], c[0])


class GRUMemory(RecurrentMemory[GRUState]):
    """Gated recurrent units (Cho et al. 2014), with three gates for the LSTM's four and no cell beside the output."""

    state_type, num_gates, network_type = GRUState, 3, nn.GRU

    def stretch(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        output, h = self.network(x, state.h[None])
        return output, GRUState(h[0])


class NoMemory(nn.Module):
    """The ablation: one feed-forward layer, y_t = relu(W x_t + b). Nothing is remembered."""

    backend = "reference"

    def __init__(self, config: MemoryConfig, input_dim: int) -> None:
        super().__init__()
        self.config, self.input_dim, self.output_dim = config, input_dim, config.hidden_size
        self.layer = nn.Linear(input_dim, config.hidden_size)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> NoState:
        """The empty state."""
        return NoState()

    def forward(self, x: Tensor, start: Tensor, state: NoState) -> tuple[Tensor, NoState]:
        """Every step by itself: x [T, B, I] -> y [T, B, H]."""
        check_input(x, start, self.input_dim)
        check_state(state, NoState, ())
        return self.layer(x).relu(), state


Memory: TypeAlias = DNC | LSTMMemory | GRUMemory | NoMemory


def build_memory(config: MemoryConfig, input_dim: int) -> Memory:
    """The memory that config.kind names, for inputs of input_dim features."""
    kinds: dict[str, type[Memory]] = {"dnc": DNC, "lstm": LSTMMemory, "gru": GRUMemory, "none": NoMemory}
    return kinds[config.kind](config, input_dim)
