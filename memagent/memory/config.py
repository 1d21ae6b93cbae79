"""What a memory is made of: one frozen dataclass for the DNC and for the memories it is compared with."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

MemoryKind = Literal["dnc", "lstm", "gru", "none"]
MemoryBackend = Literal["auto", "reference", "fused", "triton"]


@dataclass(frozen=True)
class MemoryConfig:
    """Shape and options of the memory between the encoder and the heads.

    Graves et al. 2016, "Hybrid computing using a neural network with dynamic external memory", Nature 538.

    Raises:
        ValueError: a field holds a value it cannot have.
    """

    kind: MemoryKind = "dnc"
    """The ablation switch: "dnc" (controller and external memory), "lstm" (the same controller without the
    external memory), "gru" (gated recurrent units in its place, Cho et al. 2014, "Learning Phrase Representations using
    RNN Encoder-Decoder for Statistical Machine Translation"), "none" (a feed-forward layer of hidden_size units,
    nothing is remembered)."""

    memory_size: int = 128
    """N, the number of slots (rows) of the external memory."""

    memory_dim: int = 64
    """W, the width of a slot."""

    num_read_heads: int = 4
    """R, the number of read heads; there is one write head."""

    hidden_size: int = 128
    """H, the units of the LSTM controller (of the GRU, of the layer, by kind)."""

    temporal_links: bool = True
    """Keep the link matrix, which lets a head read in the order of writing (Graves 2016, Methods, "Temporal memory
    linkage"). Off saves 64 % of the state, and of the memory's time in training 30 % at 128 slots, 86 % at 512: reads
    are by content alone."""

    layer_norm: bool = True
    """Layer norm of the controller's output before the interface (Franke, Niehues & Waibel 2018, "Robust and
    Scalable Differentiable Neural Computer for Question Answering") and of the reads before they are used."""

    read_gain: float = 0.1
    """Initial scale of the reads' layer norm. With 1 an untrained memory's reads, which say nothing yet, drown the
    input of the controller; with 0.1 the agent starts as an LSTM does and learns to read."""

    strength_bias: float = 5.0
    """Added to the raw key strengths before oneplus, so that addressing is sharp from the first step. 0 is the
    published DNC, whose untrained reads are diffuse over the N slots."""

    masking: bool = False
    """Key masking: the interface also gives each head a mask over the W columns, at least 0.1, that key and memory
    are multiplied with before they are compared (Csordás & Schmidhuber 2019, "Improving Differentiable Neural
    Computers Through Memory Masking, De-allocation, and Link Distribution Sharpness Control")."""

    deallocation: bool = False
    """Freed slots also forget their content: the write scales M[t-1] by the retention psi (Csordás & Schmidhuber
    2019)."""

    link_sharpness: bool = False
    """The forward and backward weights of a read head are raised to a power of at least 1, which the interface
    gives, and normalised (Csordás & Schmidhuber 2019). Needs temporal_links."""

    backend: MemoryBackend = "auto"
    """Which implementation runs the DNC: "fused" (kernels for the CPU) or "triton" (for CUDA, where that package is
    installed), both first derivatives only and without link_sharpness; "reference" (plain PyTorch, any device, any
    derivative); "auto" (kernels where they can, else reference; on CUDA up to memory_size * memory_dim = 16,384)."""

    def __post_init__(self) -> None:
        for name, allowed in (("kind", get_args(MemoryKind)), ("backend", get_args(MemoryBackend))):
            if (given := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} is {given!r}, expected one of {allowed}: choose one of these.")
        for name in ("memory_size", "memory_dim", "num_read_heads", "hidden_size"):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int) or given < 1:
                raise ValueError(f"{name} is {given!r}, expected a positive integer: set it to 1 or more.")
        if not (math.isfinite(self.read_gain) and self.read_gain > 0):
            raise ValueError(
                f"read_gain is {self.read_gain}, expected a number above 0: use 0.1, or 1.0 for no scale."
            )
        if not math.isfinite(self.strength_bias):
            raise ValueError(
                f"strength_bias is {self.strength_bias}, expected a finite number: use 5.0, or 0.0 for the "
                "published DNC."
            )
        if self.link_sharpness and not self.temporal_links:
            raise ValueError(
                "link_sharpness is on and temporal_links is off, expected links to sharpen: turn temporal_links on "
                "or link_sharpness off."
            )
