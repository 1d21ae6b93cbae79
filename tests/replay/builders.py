"""Index-as-data: every row's observation is (environment, number of the row), so every answer is arithmetic."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from memagent.replay import PrioritizedSequenceBuffer, ReplayConfig, SequenceBatch

CONFIG = ReplayConfig(capacity=120, burn_in=1, rows=5, stride=4, n_step=2)  # windows of 8 rows
STATE = {"M": (3, 2), "u": (3,)}


def make(config: ReplayConfig = CONFIG, num_envs: int = 3, state: Any = STATE) -> PrioritizedSequenceBuffer:
    return PrioritizedSequenceBuffer(config, num_envs, (2,), (), np.int64, state, seed=0)


class Filler:
    """Adds numbered rows, and the number of the row as its memory state."""

    def __init__(self, buffer: PrioritizedSequenceBuffer) -> None:
        self.buffer = buffer
        self.row = np.zeros(buffer.num_envs, dtype=np.int64)

    def add(self, envs: list[int] | np.ndarray, **values: Any) -> None:
        envs = np.asarray(envs)
        row = self.row[envs]
        given = {
            "obs": np.stack([envs, row], axis=1),
            "action": row % 2,
            "reward": row / 8,
            "start": row % 5 == 0,
            "memory_start": row % 10 == 0,
            "final": row % 5 == 4,
            "terminal": row % 10 == 4,
            "phase": row // 10,
            "episode": row // 5,
            "state": self.state,
        }
        self.buffer.add(envs, **(given | values))
        self.row[envs] += 1

    def state(self, envs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.broadcast_to(self.row[envs][:, None, None], (envs.size, 3, 2)), np.repeat(
            self.row[envs][:, None], 3, 1
        )

    def fill(self, rows: int) -> PrioritizedSequenceBuffer:
        for _ in range(rows):
            self.add(np.arange(self.buffer.num_envs))
        return self.buffer


def windows(buffer: PrioritizedSequenceBuffer) -> Iterator[tuple[int, int]]:
    """(environment, number of the first row) of every window that can be drawn."""
    batch = draw_all(buffer)
    return zip(batch.env.tolist(), batch.obs[0, :, 1].astype(int).tolist(), strict=True)


def draw_all(buffer: PrioritizedSequenceBuffer) -> SequenceBatch:
    """Every window once: as many equal strata as windows of equal priority."""
    batch = buffer.sample(len(buffer), 0.4)
    assert len(set(batch.window)) == len(buffer)
    return batch
