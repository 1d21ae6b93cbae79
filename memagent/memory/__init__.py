"""Memories for sequences: `y, state = memory(x, start, state)`.

addressing (pure maths) -> bank (one step) -> controller (unroll); the fused kernels stand beside and compute the same.
"""

from memagent.memory.config import MemoryConfig
from memagent.memory.controller import (
    DNC,
    DNCTrace,
    GRUMemory,
    LSTMMemory,
    Memory,
    NoMemory,
    build_memory,
)
from memagent.memory.states import DNCState, GRUState, LSTMState, NoState, State, reset_state

__all__ = [
    "DNC",
    "DNCState",
    "DNCTrace",
    "GRUMemory",
    "GRUState",
    "LSTMMemory",
    "LSTMState",
    "Memory",
    "MemoryConfig",
    "NoMemory",
    "NoState",
    "State",
    "build_memory",
    "reset_state",
]
