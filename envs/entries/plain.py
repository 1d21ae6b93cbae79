"""Settings of a run in environments outside the catalogue, by the kind of their actions.

Nothing is known of such an environment but its spaces, and nothing in it drifts: the context vector is left out. There
are many small updates, one for every few steps, so that short trainings learn too; rewards are scaled so that returns
of some hundreds, as most of Gymnasium's own environments have, come to order one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces

from envs.entries.entry import many_small_q_updates, many_small_updates

Preset = Mapping[str, Any]

CONTINUOUS: Preset = {
    **many_small_updates(
        reward_scale=0.02,
        temperature=0.02,
        prediction_steps=4,
        gamma=0.99,
        tau=0.01,
        steps_per_update=2,
        final_learning_rate=2e-5,
        # What is tried is kept for a while: by single random steps nobody leaves the valley of MountainCarContinuous.
        learning_starts=4_000,
        exploration_steps=10.0,
    ),
    "adapt": {"enabled": False},
}
DISCRETE: Preset = {
    "num_envs": 4,  # in many environments a short training ends before long episodes, as of Acrobot, have got anywhere
    **many_small_q_updates(),
    "adapt": {"enabled": False},
}


def plain_preset(actions: spaces.Space) -> Preset:
    """The settings for an action space."""
    return CONTINUOUS if isinstance(actions, spaces.Box) else DISCRETE
