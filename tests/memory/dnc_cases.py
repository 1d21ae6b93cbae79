"""Small memories with B, N, W, R, H and I all different, and states in general position for them."""

from typing import Any

import torch

from memagent.memory import DNC, DNCState, MemoryConfig

B, N, W, R, H, IN = 3, 7, 5, 2, 6, 4
OPTIONS = {
    "defaults": {},
    "paper": {"layer_norm": False, "strength_bias": 0.0},
    "no_links": {"temporal_links": False},
    "masking": {"masking": True},
    "deallocation": {"deallocation": True},
    "link_sharpness": {"link_sharpness": True},
    "all": {"masking": True, "deallocation": True, "link_sharpness": True},
    "masking_no_links": {"masking": True, "deallocation": True, "temporal_links": False},
}


def small_config(**options: Any) -> MemoryConfig:
    sizes = {"memory_size": N, "memory_dim": W, "num_read_heads": R, "hidden_size": H, "backend": "reference"}
    return MemoryConfig(**(sizes | options))


def random_start(T: int, batch: int, seed: int) -> torch.Tensor:
    """[T, B] flags, about one in four set, sequence 0 at step 0 among them and its last sequence never."""
    start = torch.rand(T, batch, generator=torch.Generator().manual_seed(seed)) < 0.25
    start[0, 0], start[:, -1] = True, False
    return start


def generic_state(
    config: MemoryConfig, batch: int = B, seed: int = 0, dtype: torch.dtype = torch.float64
) -> DNCState:
    """A state that unrolls can reach, with distinct usages away from 0 and 1 and no zero anywhere but in L_ii."""
    g = torch.Generator().manual_seed(seed)
    n, w, r = config.memory_size, config.memory_dim, config.num_read_heads
    h, c, reads = torch.randn(batch, 2 * config.hidden_size + r * w, generator=g, dtype=dtype).split(
        [config.hidden_size, config.hidden_size, r * w], dim=1
    )
    M = torch.randn(batch, n, w, generator=g, dtype=dtype)
    order = torch.stack([torch.randperm(n, generator=g) for _ in range(batch)])
    u = (order + torch.rand(batch, n, generator=g, dtype=dtype) * 0.5 + 0.5) / (n + 1)
    weights = torch.rand(batch, r + 2, n, generator=g, dtype=dtype).softmax(-1) * 0.9
    L = torch.rand(batch, n, n, generator=g, dtype=dtype) / n * (1.0 - torch.eye(n, dtype=dtype))
    p = weights[:, r + 1]
    if not config.temporal_links:
        L, p = L[:, :0, :0], p[:, :0]
    return DNCState(h.tanh(), c, reads, M, u, p, L, weights[:, r], weights[:, :r])


def build_dnc(config: MemoryConfig, input_dim: int = IN, seed: int = 0, gain: float = 1.0) -> DNC:
    """A float64 DNC whose interface weights are gain times their initial values, with biases that differ."""
    torch.manual_seed(seed)
    memory = DNC(config, input_dim).double()
    with torch.no_grad():
        memory.interface.weight.mul_(gain)
        memory.interface.bias.normal_(std=0.5)
        memory.bias.add_(torch.randn_like(memory.bias), alpha=0.1)
    return memory
