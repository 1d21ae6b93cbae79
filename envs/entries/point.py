"""Drifting navigation in the plane, see envs.point."""

from __future__ import annotations

from typing import Any

from envs.entries.entry import Entry, always, between

# Values of order one as they are, many small updates, and none of the meta loss that slows the pendulum's.
SMALL_UPDATES: dict[str, dict[str, Any]] = {
    "learner": {"reward_scale": 1.0, "tau": 0.02, "batch_size": 8, "steps_per_update": 4},
    "entropy": {"temperature": 0.1},
    "replay": {"capacity": 200_000, "support": 16, "query": 16, "n_step": 1},
    "adapt": {"enabled": False},
}

POINT: dict[str, Entry] = {
    "Drift/PointWind-v0": Entry(
        base="Base/PointWind-v0",
        summary="Fly from waypoint to waypoint in a hidden wind, by a compass that deviates.",
        train={
            "wind_x": between((-0.04, 0.04)),
            "wind_y": between((-0.04, 0.04)),
            "heading": between((-2.0, -1.2), (-0.4, 0.4), (1.2, 2.0), (2.8, 3.6)),
            "sensor_noise": always(0.1),
        },
        held_out={
            "wind_x": between((-0.06, -0.045), (0.045, 0.06)),
            "wind_y": between((-0.06, -0.045), (0.045, 0.06)),
            "heading": between((-2.7, -2.2), (-1.0, -0.6), (0.6, 1.0), (2.2, 2.6)),
            "sensor_noise": always(0.1),
        },
        change_scale=4.0,
        source="wind after Ni et al. 2022, with a hidden heading",
        preset=SMALL_UPDATES,
    ),
    "Drift/PointGoal-v0": Entry(
        base="Base/PointGoal-v0",
        summary="Find a platform that cannot be seen, and return to it from wherever one is put down.",
        train={"goal_x": between((-0.7, 0.7)), "goal_y": between((-0.7, 0.7))},
        held_out={
            "goal_x": between((-0.9, -0.75), (0.75, 0.9)),
            "goal_y": between((-0.9, -0.75), (0.75, 0.9)),
        },
        change_scale=1.0,  # being put down elsewhere is a change of order one
        source="the water maze of Morris 1984",
        preset=SMALL_UPDATES,
    ),
}
