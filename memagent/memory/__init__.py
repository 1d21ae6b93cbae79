"""Memories for sequences: `y, state = memory(x, start, state)`.

addressing (pure maths) -> bank (one step) -> controller (unroll); the fused kernels stand beside and compute the same.
"""

from memagent.memory.config import MemoryConfig
from memagent.memory.controller import (
    DNC,
    DNCTrace,
    LSTMMemory,
    Memory,
    NoMemory,
    build_memory,
)
from memagent.memory.states import DNCState, LSTMState, NoState, State, reset_state

__all__ = [
    "DNC",
    "DNCState",
    "DNCTrace",
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
