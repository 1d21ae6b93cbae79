"""Drifting navigation in the plane, see envs.point."""

from __future__ import annotations

from envs.entries.entry import Entry, always, between


def point_goals(platforms: int = 4) -> Entry:
    """PointGoals with so many platforms, whose places drift independently."""
    places = [f"goal_{i}_{axis}" for i in range(platforms) for axis in "xy"]
    return Entry(
        base="Base/PointGoals-v0",
        summary="Find several platforms that cannot be seen, and return to the one that a cue tells.",
        train=dict.fromkeys(places, between((-0.7, 0.7))),
        held_out=dict.fromkeys(places, between((-0.9, -0.75), (0.75, 0.9))),
        change_scale=1.0,  # as PointGoal
        source="as Drift/PointGoal-v0",
        shown=False,
        arguments={"platforms": platforms},
        given=point_goals,
    )


POINT: dict[str, Entry] = {
    "Drift/PointWind-v0": Entry(
        base="Base/PointWind-v0",
        summary="Fly from waypoint to waypoint in a hidden wind, by a compass that deviates.",
        train={
            "wind_x": between((-0.04, 0.04)),
            "wind_y": between((-0.04, 0.04)),
            "heading": between((-0.4, 0.4), (2.74, 3.54)),
            "sensor_noise": always(0.08),
        },
        held_out={
            "wind_x": between((-0.06, -0.045), (0.045, 0.06)),
            "wind_y": between((-0.06, -0.045), (0.045, 0.06)),
            "heading": between((-0.8, -0.5), (0.5, 0.8), (2.3, 2.6), (3.7, 4.0)),
            "sensor_noise": always(0.08),
        },
        change_scale=4.0,
        source="wind after Ni et al. 2022, with a hidden heading",
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
    ),
    "Drift/PointGoals-v0": point_goals(),
}
