"""Some steps of one drifting environment around a change: frames, actions, rewards, and what the agent believed.

Takes any player and any vector environment of one; what is inside an agent comes from a function of the caller's.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from memagent.evaluation.protocol import Player
from memagent.told import told_context, told_number

BEFORE, AFTER = 150, 150  # steps shown around a change
FRAMES = 150  # pictures at most
WIDTH = 320  # pixels of a picture at most


@dataclass(frozen=True)
class Inside:
    """What an agent believes and remembers after it has seen one observation; what it has not is left out."""

    context: NDArray | None = None  # [Z]
    evidence: float | None = None  # that the condition has changed, as a share of the threshold
    noticed: bool = False  # with this observation a change was noticed
    memory: Mapping[str, NDArray] = field(default_factory=dict)  # [N] by name


@dataclass(frozen=True)
class Recording:
    """T steps of one environment. Row t is what was seen, then believed, done and paid."""

    observations: NDArray  # [T, O]
    actions: NDArray  # [T] or [T, A]
    rewards: NDArray  # [T]
    returns: NDArray  # [T], of the episode so far
    times: NDArray[np.int64]  # [T], steps of the episode before this one
    ends: NDArray[np.bool_]  # [T], the step was its episode's last
    conditions: list[
        Mapping[str, float]
    ]  # [T], the values of the drifting parameters; empty where nothing drifts
    changes: list[int]  # rows that were the first under a new condition
    noticed: list[int]  # rows with which the agent noticed a change
    contexts: NDArray | None = None  # [T, Z]
    evidence: NDArray | None = None  # [T], as a share of the threshold
    memory: Mapping[str, NDArray] = field(default_factory=dict)  # [T, N] by name
    first: int = 0  # steps that were played before the first row
    frames: Mapping[int, bytes] = field(
        default_factory=dict
    )  # JPEG files by row; empty where nothing is to be seen


@dataclass
class Row:
    """One step, as it is noted down."""

    observation: NDArray
    inside: Inside
    action: NDArray
    reward: float
    gained: float
    time: int
    ends: bool
    condition: Mapping[str, float]
    phase: int | None
    frame: bytes | None


def record(
    env: VecEnv,
    player: Player,
    inside: Callable[[], Inside] = Inside,
    *,
    render: Callable[[], NDArray | None] = lambda: None,
    before: int = BEFORE,
    after: int = AFTER,
    limit: int = 1_500,
    frames: int = FRAMES,
    width: int = WIDTH,
) -> Recording:
    """Play one environment until `after` steps after the first change that comes after `before` steps, and keep those.

    Where nothing changes within `limit` steps, the last `before + after` of them are kept; where the environment tells
    no phase, no more are played.

    Args:
        env: a vector environment of one; it is closed.
        player: acts in it.
        inside: what the player believes and remembers, asked after each `act`.
        render: a picture [height, width, 3] of what the environment shows; None: there is none.
        before: steps kept before the change, where there are so many.
        after: steps kept after it.
        limit: steps played at most.
        frames: pictures kept at most.
        width: pixels of a picture at most.
    """
    rows: list[Row] = []
    stride = max(1, -(-(before + after) // frames))
    end, change, gained, time = limit, None, 0.0, 0
    obs: Any = env.reset()
    while len(rows) < end:
        frame = render() if len(rows) % stride == 0 else None
        seen, action = obs[0].copy(), player.act(obs)
        believed = inside()
        obs, reward, done, infos = env.step(action)
        player.observe(action, reward, done, infos)
        told = infos[0]
        gained += float(reward[0])
        rows.append(
            Row(
                observation=seen,
                inside=believed,
                action=np.copy(action[0]),
                reward=float(reward[0]),
                gained=gained,
                time=time,
                ends=bool(done[0]),
                condition=told_context(told),
                phase=told_number(told, "phase"),
                frame=None if frame is None else jpeg(frame, width),
            )
        )
        gained, time = (0.0, 0) if done[0] else (gained, time + 1)
        if rows[-1].phase is None:
            end = before + after  # there is no change to wait for
        elif change is None and len(rows) > max(before, 1) and rows[-1].phase != rows[-2].phase:
            change = len(rows) - 1
            end = change + after
    env.close()
    first = max(0, len(rows) - before - after)
    return _arrays(rows[first:], first)


def _arrays(rows: list[Row], first: int) -> Recording:
    """The rows as arrays; what is in some of them alone is left out."""
    insides = [row.inside for row in rows]
    contexts = [i.context for i in insides if i.context is not None]
    evidence = [i.evidence for i in insides if i.evidence is not None]
    return Recording(
        observations=np.stack([row.observation.ravel() for row in rows]),
        actions=np.stack([row.action for row in rows]),
        rewards=np.array([row.reward for row in rows]),
        returns=np.array([row.gained for row in rows]),
        times=np.array([row.time for row in rows]),
        ends=np.array([row.ends for row in rows]),
        conditions=[row.condition for row in rows],
        changes=[t for t in range(1, len(rows)) if rows[t].phase != rows[t - 1].phase],
        noticed=[t for t, i in enumerate(insides) if i.noticed],
        contexts=np.stack(contexts) if len(contexts) == len(rows) else None,
        evidence=np.array(evidence) if len(evidence) == len(rows) else None,
        memory={name: np.stack([i.memory[name] for i in insides]) for name in insides[0].memory},
        first=first,
        frames={t: row.frame for t, row in enumerate(rows) if row.frame is not None},
    )


def jpeg(picture: NDArray, width: int = WIDTH) -> bytes:
    """A picture [height, width, 3] of bytes as a JPEG file, made smaller where it is wider than `width` pixels."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture[..., :3]))
    image.thumbnail((width, width))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75, optimize=True)
    return file.getvalue()
