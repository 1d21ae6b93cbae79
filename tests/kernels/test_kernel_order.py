"""The order in which the kernels take slots, at sizes around those that 32 bits hold the ranks of."""

import numpy as np
import pytest
import torch

from memagent.memory import addressing
from memagent.memory.fused.records import Constants, Options
from memagent.memory.fused.step_forward import order
from memagent.memory.fused.workspace import Shape, scratch


@pytest.mark.parametrize("slots", [1, 100, 32_767, 32_768, 70_000])
def test_slots_are_ranked_by_usage_and_then_index_however_many_there_are(slots: int) -> None:
    options = Options(links=False, masking=False, deallocation=False, layer_norm=False)
    shape = Shape(
        T=1, B=1, I=1, N=slots, W=1, R=1, H=1, S=1, dtype=torch.float32, options=options, training=False
    )
    room = scratch(shape)
    u = np.random.default_rng(0).random(slots, np.float32)
    u[0] = 1.0
    numbers = (addressing.COSINE_EPS, addressing.USAGE_EPS, addressing.USAGE_LEVELS, addressing.MASK_FLOOR)
    constants = Constants(*map(np.float32, (0.0, *numbers, 0.0)))
    order(u, constants, room.clamped[0], room.rank[0])
    level = np.rint(room.clamped[0] * addressing.USAGE_LEVELS)
    assert room.rank[0].dtype == (np.int32 if slots < 32_768 else np.int64)
    np.testing.assert_array_equal(room.rank[0].argsort(), level.argsort(kind="stable"))
