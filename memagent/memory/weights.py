"""What the kernels read of a DNC."""

from typing import Protocol

from torch import nn

from memagent.memory.config import MemoryConfig


class DNCWeights(Protocol):
    """The parts of a `memagent.memory.DNC` that its kernels read: the sizes, the parameters, the layer norms."""

    config: MemoryConfig
    weight_ih: nn.Parameter  # [4H, I + R*W]
    weight_hh: nn.Parameter  # [4H, H]
    bias: nn.Parameter  # [4H]
    controller_norm: nn.LayerNorm | nn.Identity
    interface: nn.Linear  # [S, H]
    read_norm: nn.LayerNorm | nn.Identity
