"""Checkpoints of a run: when they are written, which are kept, and which one a training goes on from.

They lie side by side in one folder, each named after its step: 000010000/, 000020000/, …
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from memagent.agents import MemoryAlgorithm
from memagent.agents.checkpoint import read_table, read_whole
from memagent.archive import ArchiveError
from memagent.files import remove_folder, remove_unfinished


class Checkpoints(BaseCallback):
    """Writes a checkpoint every so many steps or minutes, and one where training ends early; removes those of no use.

    Args:
        folder: what they lie in; made when it is needed.
        every: environment steps, over all environments, from one to the next; None: however many.
        minutes: the longest time from one to the next; None: however long. With neither there are none on the way.
        keep: how many of the newest stay; beside them stays the one with the best recent return.
        extra: what else goes into each, see `MemoryAlgorithm.save_checkpoint`.
        mid_episode: whether `extra` holds the environments' whole state.
    """

    model: MemoryAlgorithm

    def __init__(
        self,
        folder: Path,
        every: int | None,
        keep: int,
        extra: Callable[[], Mapping[str, Any]] = dict,
        *,
        minutes: float | None = None,
        mid_episode: bool = False,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.every = every
        self.minutes = minutes
        self.keep = keep
        self.extra = extra
        self.mid_episode = mid_episode

    def _on_training_start(self) -> None:
        if self.folder.exists():
            remove_unfinished(self.folder)
        self._plan()

    def _on_rollout_start(self) -> None:
        """Between two rollouts all that happened is stored and learned from; in `_on_step` it is not yet."""
        if self.model.num_timesteps >= self._step or time.monotonic() >= self._time:
            self.write()
            self._plan()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if self.model.num_timesteps < self.locals["total_timesteps"]:
            self.write()

    def _plan(self) -> None:
        """When the next one is due: at a multiple of `every`, as in a training that never stopped, or by the clock."""
        steps = self.model.num_timesteps
        self._step = math.inf if self.every is None else (steps // self.every + 1) * self.every
        self._time = math.inf if self.minutes is None else time.monotonic() + 60 * self.minutes

    def write(self) -> Path:
        """Write a checkpoint, unless this step has one, and remove those that are not kept."""
        path = self.folder / f"{self.model.num_timesteps:09d}"
        if path.exists() and not is_whole(path):
            remove_folder(path)
        if not path.exists():
            self.model.save_checkpoint(path, self.extra(), mid_episode=self.mid_episode)
        self._remove_others()
        return path

    def _remove_others(self) -> None:
        paths = saved(self.folder)
        returns = {path: _return_of(path) for path in paths}
        best = [path for path in paths if returns[path] == max(returns.values())][-1:]
        for path in paths[: -self.keep]:
            if path not in best:
                remove_folder(path)


def saved(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is what was written."""
    try:
        read_whole(path)
    except ArchiveError:
        return False
    return True


def _return_of(path: Path) -> float:
    """The recent return of a checkpoint; less than any other's where it says none."""
    try:
        found = read_table(path).get("recent_return")
    except ArchiveError:
        found = None
    return float("-inf") if found is None else float(found)
