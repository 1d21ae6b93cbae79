"""HalfCheetahVel: run at a hidden velocity. Importing this needs MuJoCo."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.utils import EzPickle


class HalfCheetahVelEnv(HalfCheetahEnv):
    """HalfCheetah-v5 whose reward is −|velocity − target_velocity| less the cost of control (Finn et al. 2017).

    The target, `target_velocity` (m/s), is a hidden parameter. One reward gives its distance away, but not its side.
    """

    def __init__(self, **kwargs: Any) -> None:
        self.target_velocity = 1.0
        super().__init__(ctrl_cost_weight=0.05, **kwargs)
        EzPickle.__init__(
            self, **kwargs
        )  # a copy is built from these, not from HalfCheetahEnv's own arguments

    def _get_rew(self, x_velocity: float, action: np.ndarray) -> tuple[float, dict[str, float]]:
        miss, cost = abs(x_velocity - self.target_velocity), self.control_cost(action)
        return -miss - cost, {"reward_forward": -miss, "reward_ctrl": -cost}
