"""The channel of rewards, from the environment to the agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from envs.channels.channel import Channel, Parameter, sign_of


class RewardChannel(Channel):
    """A reward r on its way: sign · scale · r; with a target, sign · scale · −|r − target| instead.

    A target makes one rate of reward the best instead of the largest: where the reward is a speed, it is the speed to
    keep (as in the half-cheetah of Finn et al. 2017).
    """

    parameters: ClassVar[Mapping[str, Parameter]] = {
        "reward_scale": Parameter("", "factor of the reward", positive=False),
        "reward_sign": Parameter("", "sign of the reward, −1 or 1", positive=False),
        "reward_target": Parameter("", "the reward that is best, where not the largest is", positive=False),
    }

    def check(self, bounds: Mapping[str, tuple[float, float]]) -> None:
        pass  # every environment has a reward

    def set(self, context: Mapping[str, float]) -> None:
        factor = sign_of(context, "reward_sign") * context.get("reward_scale", 1.0)
        target = context.get("reward_target")
        if target is not None:
            self.map = lambda reward: -factor * abs(float(reward) - target)
        else:
            self.map = None if factor == 1.0 else lambda reward: factor * float(reward)
