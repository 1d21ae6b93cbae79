"""Does a deployed agent stay as small and as fast as it began?

    python -m benchmarks.stream

plays an agent that benchmarks.adaptation has trained by `predict` alone, in one environment of 200,000 steps whose
context changes every 1,000. By tenths of the stream it keeps memory of the process and processor time of a step, and
how many changes and alarms there were, in benchmarks/results/stream.json.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import envs
from benchmarks import adaptation
from benchmarks.runs import machine, resident
from memagent.agents import MemoryDQN
from memagent.belief import Belief
from memagent.files import write_text

TASK, PHASE, PARTS, WARM_UP = "Drift/CartPole-v0", 1_000, 10, 2_000
RESULT = Path(__file__).parent / "results" / "stream.json"


@dataclass(frozen=True)
class Options:
    """Play and measure."""

    steps: int = 200_000
    """Steps of the stream."""


def phases(state: tuple[np.ndarray, ...]) -> int:
    """Alarms so far, by the state of `predict`."""
    return int(Belief(*state[-len(Belief._fields) :]).phase[0])


def main(options: Options) -> None:
    """Play, and write what each part took."""
    torch.set_num_threads(1)
    agent = MemoryDQN.load(adaptation.trained(TASK, "none", 0), device="cpu")
    env = envs.make_vec(TASK, 1, seed=0, schedule="random", change_at="step", phase_steps=PHASE)
    obs: Any = env.reset()
    state, start = None, np.ones(1, bool)
    parts, length = [], options.steps // PARTS
    spent, changes, known = 0.0, 0, 0
    for step in range(1 - WARM_UP, options.steps + 1):
        began = time.process_time()
        action, state = agent.predict(obs, state, start, deterministic=True)
        spent += time.process_time() - began
        assert state is not None
        obs, _, start, infos = env.step(action)
        changes += infos[0]["phase_changed"]
        if step > 0 and step % length == 0:
            parts.append([round(1e3 * spent / length, 4), resident(), changes, phases(state) - known])
            print(parts[-1], flush=True)
        if step >= 0 and step % length == 0:
            spent, changes, known = 0.0, 0, phases(state)
    milliseconds, size, changed, alarms = np.transpose(parts)
    found = {
        "command": "python -m benchmarks.stream",
        "machine": machine(),
        "agent": f"{TASK}, none, seed 0",
        "steps": options.steps,
        "milliseconds_a_step": milliseconds.tolist(),
        "resident_bytes": size.astype(int).tolist(),
        "grown": round(float(size.max() / size[0] - 1), 4),
        "slowed": round(float(milliseconds[PARTS // 2 :].mean() / milliseconds[: PARTS // 2].mean() - 1), 4),
        "changes": int(changed.sum()),
        "alarms": int(alarms.sum()),
    }
    write_text(RESULT, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
