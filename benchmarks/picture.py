"""The picture of the README: a change, the surprise, the recovery, of one trained agent in one environment.

    python -m benchmarks.picture

plays the first agent without memory that benchmarks.adaptation has trained on CartPole (it keeps it in
benchmarks/agents/), told of no change, and writes benchmarks/results/change.png: the first reversal that it noticed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure

import envs
from benchmarks import adaptation
from memagent import MemoryDQN
from memagent.evaluation.figures import BLUE, GREY, INK, VERMILION, WIDTH, plain_axes, png

TASK, STEPS, BEFORE, AFTER = "Drift/CartPole-v0", 900, 40, 80
RESULT = Path(__file__).parent / "results" / "change.png"


def main() -> None:
    """Play, look for the first reversal that was noticed, and draw what was around it."""
    torch.set_num_threads(1)
    agent = MemoryDQN.load(adaptation.trained(TASK, "none", 0), device="cpu")
    seen = play(agent)
    reversals = np.flatnonzero(np.diff(seen["sign"])) + 1
    alarms = np.flatnonzero(np.diff(seen["phase"])) + 1
    change = next(int(c) for c in reversals if c >= BEFORE and ((alarms > c) & (alarms < c + AFTER)).any())
    alarm = int(alarms[alarms > change][0])
    print(f"The push was reversed at step {change}, and noticed {alarm - change} steps later.")
    RESULT.write_bytes(png(picture(seen, change, alarm)))


def play(agent: MemoryDQN) -> dict[str, np.ndarray]:
    """What STEPS steps showed, and what the agent believed after each observation."""
    env = envs.make_vec(TASK, 1, seed=0, schedule="random", change_at="step", phase_steps=250)
    player = agent.make_acting(1, phase_signal="detect")
    obs: Any = env.reset()
    seen: dict[str, list[Any]] = {name: [] for name in ("angle", "evidence", "phase", "context", "sign")}
    for _ in range(STEPS):
        action, angle = player.act(obs), np.degrees(obs[0, 1])
        belief = player.belief
        assert belief is not None
        obs, reward, done, infos = env.step(action)
        sign = infos[0]["context"]["action_sign"]
        now = (angle, player.observed.evidence[0], belief.phase[0], belief.context[0].copy(), sign)
        for values, value in zip(seen.values(), now, strict=True):
            values.append(value)
        player.observe(action, reward, done, infos)
    return {name: np.stack(values) for name, values in seen.items()}


def picture(seen: dict[str, np.ndarray], change: int, alarm: int) -> Figure:
    """The pole's angle, the evidence for a change and the context, over the steps around a change."""
    around = slice(change - BEFORE, change + AFTER)
    steps = np.arange(around.start, around.stop) - change
    context = seen["context"] - seen["context"].mean(0)
    main_direction = np.linalg.svd(context, full_matrices=False)[2][0]
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    rows = {
        "pole's angle, °": seen["angle"],
        "surprise": seen["evidence"],
        "context z": seen["context"] @ main_direction,
    }
    panels = figure.subplots(3, 1, sharex=True)
    for axes, (name, values) in zip(panels, rows.items(), strict=True):
        axes.plot(steps, values[around], color=BLUE, linewidth=1.5)
        axes.axvline(0, color=VERMILION, linewidth=1.3, linestyle=(0, (4, 2)))
        axes.axvline(alarm - change, color=INK, linewidth=1.0)
        axes.set_ylabel(name)
        plain_axes(axes)
    panels[1].axhline(1.0, color=GREY, linewidth=1.0, linestyle=":")
    panels[1].text(steps[0], 1.0, "threshold", color=INK, fontsize=8, va="top")
    high = {"transform": panels[0].get_xaxis_transform(), "va": "bottom", "color": INK, "fontsize": 9}
    panels[0].text(-1, 1.02, "the push is reversed", ha="right", **high)
    panels[0].text(alarm - change + 1, 1.02, f"noticed, {alarm - change} steps later", ha="left", **high)
    panels[2].set_xlabel("steps since the change")
    figure.align_ylabels(panels)
    return figure


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
