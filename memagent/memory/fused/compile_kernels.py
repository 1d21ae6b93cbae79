"""Compiles the fused DNC's kernels onto the disk, by using each once; see `compilation`.

python -m memagent.memory.fused.compile_kernels float32
"""

import sys

import torch

from memagent.memory.config import MemoryConfig
from memagent.memory.controller import DNC
from memagent.memory.fused import compilation


def main(name: str) -> None:
    """Compile for the dtype of a name."""
    dtype = getattr(torch, name)
    compilation.allow(dtype)
    torch.set_num_threads(1)
    config = MemoryConfig(memory_size=2, memory_dim=2, num_read_heads=1, hidden_size=2, backend="fused")
    memory = DNC(config, 2).to(dtype)
    x, start = torch.zeros(2, 2, 2, dtype=dtype), torch.zeros(2, 2, dtype=torch.bool)
    with torch.no_grad():
        memory(x, start, memory.initial_state(2))
    y, _ = memory(x, start, memory.initial_state(2))
    y.sum().backward()


if __name__ == "__main__":
    main(sys.argv[1])
