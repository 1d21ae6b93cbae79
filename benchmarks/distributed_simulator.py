"""How fast a training by actors and a learner is, computed from what its parts cost.

A simulation of discrete events: every actor makes one stretch after the other while it has orders, step by step, the
learner takes in the one that was ordered first of those that are there, makes the updates that are due, publishes
weights, and orders another one. Who computes shares the cores evenly with all others that do; who waits for an
environment needs none. It does not know the network.
"""

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass

Part = tuple[bool, float]
"""Whether a core is needed, and for how many seconds; without a core so many pass."""


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
    steps: int,
    num_envs: int,
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
        steps: of each environment in a stretch.
        num_envs: of each actor.
        steps_per_update, ahead, publish_every: as in `LearnerConfig` and `DistributedConfig`.
        stretches: how many are simulated.
    """
    ordered = [deque(range(a, actors * ahead, actors)) for a in range(actors)]  # their numbers, of each actor
    there: dict[int, int] = {}  # number -> actor, of those that are made
    given = actors * ahead

    def acting(actor: int) -> Generator[Part | None, None, None]:
        busy = costs.stretch_busy / steps
        while True:
            while not ordered[actor]:
                yield None
            for _ in range(steps):
                yield False, costs.stretch / steps - busy
                yield True, busy
            there[ordered[actor].popleft()] = actor

    def learning() -> Generator[Part | None, None, None]:
        nonlocal given
        updates = published = 0
        for taken in range(1, stretches + 1):
            while not there:
                yield None
            actor = there.pop(min(there))
            yield True, costs.take
            ordered[actor].append(given)
            given += 1
            due = int(taken * steps * num_envs // steps_per_update) - updates
            for _ in range(due):
                yield True, costs.update
            updates += due
            if updates - published >= publish_every:
                yield True, costs.publish
                published = updates

    return stretches * steps * num_envs / elapsed([*map(acting, range(actors)), learning()], cores)


def elapsed(processes: list[Generator[Part | None, None, None]], cores: int) -> float:
    """Seconds until the last of the processes ends; each yields what it does next, or None where it has to wait."""
    now, left = 0.0, [0.0] * len(processes)
    doing: list[Part | None] = [None] * len(processes)
    while True:
        for i, process in enumerate(processes):
            if doing[i] is None:
                try:
                    part = doing[i] = next(process)
                except StopIteration:
                    return now
                left[i] = part[1] if part else 0.0
        busy = sum(1 for part in doing if part and part[0])
        speed = [min(1.0, cores / busy) if part and part[0] else 1.0 for part in doing]
        moving = [i for i, part in enumerate(doing) if part]
        passed = min(left[i] / speed[i] for i in moving)
        now += passed
        for i in moving:
            left[i] -= passed * speed[i]
            if left[i] <= 1e-12:
                doing[i] = None
