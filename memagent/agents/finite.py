"""Numbers that are none, from outside or in an update: found before they reach weights or environments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class NonFiniteError(ValueError):
    """An infinite number or NaN that learning cannot go on from; the message says where it arose."""


def check_finite(quantity: str, values: np.ndarray, step: int, envs: np.ndarray | None = None) -> None:
    """Raise a NonFiniteError that names quantity, environment and step unless all values are finite in float32.

    Args:
        quantity: what the values are.
        values: of K environments, [K, ...].
        step: environment steps so far, over all environments.
        envs: the numbers of the environments, [K]; None: 0 to K - 1.
    """
    finite = np.isfinite(np.asarray(values, np.float32))
    if finite.all():
        return
    row = np.flatnonzero(~finite.reshape(len(values), -1).all(-1))[0]
    env = row if envs is None else envs[row]
    raise NonFiniteError(
        f"The {quantity} of environment {env} at step {step} is {np.asarray(values[row])}, expected finite numbers: "
        "mend the environment, or bound what it gives."
    )


def as_number(reward: Any) -> float:
    """The reward of a step as a number, also out of an array of one.

    Raises:
        ValueError: it is several numbers.
    """
    number = np.asarray(reward, np.float64)
    if number.size != 1:
        raise ValueError(
            f"The reward is {reward}, expected one number: weigh several into one by a gymnasium.RewardWrapper."
        )
    return number.item()


class NumberReward(gym.RewardWrapper):
    """Rewards by `as_number`; `reset` is handed on as it is called, to environments that take no options as well."""

    def reward(self, reward: Any) -> float:
        return as_number(reward)

    def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(**given)
