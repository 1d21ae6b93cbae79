"""No tensor on the CPU meets one on the agent's device, shown without a GPU: the agent is on the device "meta".

Tensors there have a shape and no numbers. Where the agent asks for numbers, by `cpu()` or `item()`, it gets zeros; any
other way to the CPU, or a tensor made there and not moved, is an error as it is on a GPU.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from agents.builders import Corridor, build
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.fx.experimental import _config as fx_config

BOX = spaces.Box(-1.0, 1.0, (1,), np.float32)


@pytest.fixture
def zeros_from_meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Numbers that an agent on "meta" can act and log by, and an optimizer that has none to move."""
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: torch.zeros(tensor.shape, dtype=tensor.dtype))
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 0.0)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: [0.0] * len(tensor))
    monkeypatch.setattr(torch.optim.Adam, "step", lambda optimizer: None)
    with fx_config.patch(meta_nonzero_assume_all_nonzero=True):
        yield


@pytest.mark.usefixtures("zeros_from_meta")
@pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")
@pytest.mark.parametrize(
    ("memory_scope", "actions", "enabled"),
    [("lifetime", None, True), ("phase", BOX, True), ("episode", None, False)],
)
def test_acting_and_learning_stay_on_the_agents_device(
    memory_scope: str, actions: spaces.Space | None, enabled: bool
) -> None:
    env = DummyVecEnv([lambda: Corridor(5, phase_every=9, actions=actions)] * 2)
    small = {"learning_starts": 24, "batch_size": 2, "refresh_every": 1}
    agent = build(env, device="meta", memory_scope=memory_scope, enabled=enabled, **small)
    agent.learn(48)
    assert agent._n_updates
    assert all(part.device.type == "meta" for part in (*agent.acting.state, agent.acting.features))
