"""Plays environments and compares what they gave."""

import json


def play(env, steps, seed=None, record=None):
    """Random steps, with resets; what an agent met."""
    record = [] if record is None else record
    env.action_space.seed(0)
    record.append(env.reset(seed=seed))
    for _ in range(steps):
        record.append(env.step(env.action_space.sample()))
        if record[-1][2] or record[-1][3]:
            record.append(env.reset())
    return record


def same(a, b):
    """Whether two records are equal to the bit."""
    return json.dumps(a, default=lambda x: x.tolist()) == json.dumps(b, default=lambda x: x.tolist())
