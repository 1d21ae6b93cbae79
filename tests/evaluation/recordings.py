"""A made-up recording with everything in it: 40 steps, a change at 20, noticed at 26."""

import numpy as np

from memagent.evaluation.recording import Recording, jpeg

STEPS, CHANGE, NOTICED, SLOTS = 40, 20, 26, 5


def made_up(frames: bool = True, **others) -> Recording:
    t = np.arange(STEPS)
    weights = np.stack([(t[:, None] + n) % SLOTS == 0 for n in range(SLOTS)], 1)[..., 0].astype(np.float32)
    colours = [np.full((40, 60, 3), 6 * step, np.uint8) for step in range(0, STEPS, 2)]
    ends = np.zeros(STEPS, bool)
    ends[[9, 29]] = True
    parts = {
        "observations": np.stack([t, -t], 1).astype(np.float64),
        "actions": t % 2,
        "rewards": np.ones(STEPS),
        "returns": (t - np.where(t >= 30, 30, np.where(t >= 10, 10, 0)) + 1.0),
        "times": t - np.where(t >= 30, 30, np.where(t >= 10, 10, 0)),
        "first": 100,
        "ends": ends,
        "conditions": [{"force": 10.0 if step < CHANGE else -10.0} for step in t],
        "changes": [CHANGE],
        "noticed": [NOTICED],
        "contexts": np.stack([t / 10, -t / 20], 1),
        "evidence": np.clip(t - CHANGE, 0, NOTICED - CHANGE) / 5.0,
        "memory": {"usage": 1 - weights, "write weights": weights, "read weights, head 1": weights},
        "frames": {2 * k: jpeg(colour) for k, colour in enumerate(colours)} if frames else {},
    }
    return Recording(**(parts | others))
