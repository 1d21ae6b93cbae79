"""What the replay hands out: windows to learn from, and runs of a task's stretch that a context is fitted to."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SequenceBatch(NamedTuple):
    """Windows of L rows from B streams, time first."""

    obs: NDArray[np.float32]  # [L, B, *O]
    action: NDArray  # [L, B, *A], 0 in final rows
    reward: NDArray[np.float32]  # [L, B], of the action; 0 in final rows
    start: NDArray[np.bool_]  # [L, B], the first row of an episode
    memory_start: NDArray[np.bool_]  # [L, B], the memory is reset before this row
    final: NDArray[np.bool_]  # [L, B], the last observation of an episode: no action, no loss
    terminal: NDArray[np.bool_]  # [L, B], a final row of value 0: terminated, not truncated
    stretch: NDArray[np.int64]  # [L, B], number of the run of rows of one phase, counted per stream
    episode: NDArray[np.int64]  # [L, B], counted per stream
    state: tuple[NDArray, ...]  # parts [B, …], from before row 0; M and L in float16: cast them
    weights: NDArray[np.float32]  # [B], importance weights, the largest is 1
    env: NDArray[np.int64]  # [B], the stream
    window: NDArray[np.int64]  # [B], the window's place in the tree
    generation: NDArray[np.int64]  # [B], which of the windows at that place it was


class SupportRows(NamedTuple):
    """Runs of `steps` transitions from the stretches of K tasks, up to `size` of each task, time first.

    Runs that do not count hold zeros.
    """

    obs: NDArray[np.float32]  # [steps + 1, K, size, *O], the last one follows the last transition
    action: NDArray  # [steps, K, size, *A]
    reward: NDArray[np.float32]  # [steps, K, size], of the action
    start: NDArray[np.int64]  # [K, size], the row of the stream that it begins with
    mask: NDArray[np.bool_]  # [K, size], False: not drawn, or the run crosses an episode's end
