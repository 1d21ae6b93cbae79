"""How fast a training by actors and a learner is, computed from what its parts cost.

A simulation of discrete events: every actor makes one stretch after the other while it has orders, the learner takes in
the one that was ordered first of those that are there, makes the updates that are due, publishes weights, and orders
another one. Where all processes together would need more processor time than the cores have, the cores set the rate. It
does not know the network.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Seconds of the parts."""

    stretch: float
    """An actor's, to make one and send it."""
    stretch_busy: float
    """The part of these in which it computes and does not wait for an environment."""
    take: float
    """The learner's, to take one in."""
    update: float
    """The learner's, of one update."""
    publish: float
    """The learner's, of one publication."""


def predict(
    costs: Costs,
    *,
    actors: int,
    cores: int,
    stretch_steps: int,
    steps_per_update: float,
    ahead: int = 2,
    publish_every: int = 8,
    stretches: int = 500,
) -> float:
    """Environment steps a second.

    Args:
        costs: of the parts, with as many actors: a stretch of fewer environments costs less.
        actors: how many.
        cores: what the actors and the learner share.
        stretch_steps: environment steps of a stretch, over all environments of the actor.
        steps_per_update, ahead, publish_every: as in `LearnerConfig` and `DistributedConfig`.
        stretches: how many are simulated.
    """
    free, done = [0.0] * actors, [deque[tuple[int, float]]() for _ in range(actors)]
    now, ordered, updates, published = 0.0, 0, 0, 0

    def order(actor: int) -> None:
        nonlocal ordered
        free[actor] = max(free[actor], now) + costs.stretch
        done[actor].append((ordered, free[actor]))
        ordered += 1

    for _ in range(ahead):
        for actor in range(actors):
            order(actor)
    for taken in range(1, stretches + 1):
        there = [actor for actor in range(actors) if done[actor][0][1] <= now]
        by = (
            0 if there else 1
        )  # the one that was ordered first of those that are there, or the one that is there first
        actor = min(there or range(actors), key=lambda a: done[a][0][by])
        _, ready = done[actor].popleft()
        now = max(now, ready) + costs.take
        order(actor)
        due = int(taken * stretch_steps // steps_per_update) - updates
        updates += due
        now += due * costs.update
        if updates - published >= publish_every:
            now += costs.publish
            published = updates
    busy = (costs.stretch_busy + costs.take) / stretch_steps  # seconds of a core for every environment step
    busy += (costs.update + costs.publish / publish_every) / steps_per_update
    return min(stretches * stretch_steps / now, cores / busy)
