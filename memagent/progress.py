"""What a person sees of training while it runs, and what is kept of it: a progress bar, one line per episode."""

import csv
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from tqdm.auto import tqdm

from memagent.agents.acting import told_number, told_phases
from memagent.memory import DNCState, LSTMState, State

EPISODE_COLUMNS = ("step", "env", "phase", "context_id", "return", "length")


class TrainingLog(BaseCallback):
    """Shows a progress bar with return, phase and speed, and writes every training episode to a CSV file.

    Needs the episode statistics of SB3's Monitor in `info`, and `phase` and `context_id` where the environment
    drifts. SB3's logger gets the phase and what is in the agent's memory. A context manager: leaving it closes bar and
    file.

    Args:
        path: the file, with columns step (over all environments), env, phase, context_id, return, length.
        total_timesteps: environment steps that the bar counts to; it shows the mean return of the episodes that ended
            within the newest twentieth of them, and of the newest one at least.
    """

    def __init__(self, path: Path, total_timesteps: int) -> None:
        super().__init__()
        self._recent: deque[tuple[int, float]] = (
            deque()
        )  # step and return of the episodes whose mean the bar shows
        self._file = path.open("w", newline="", buffering=1)
        self._rows = csv.writer(self._file)
        self._rows.writerow(EPISODE_COLUMNS)
        self._bar = tqdm(total=total_timesteps, desc="training", unit="step", dynamic_ncols=True)

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        ended = [(env, info) for env, info in enumerate(infos) if "episode" in info]
        for env, info in ended:
            self._add(env, info)
        if ended:
            self._report(infos)
        self._bar.update(min(self.num_timesteps, self._bar.total) - self._bar.n)  # SB3 may overshoot a little
        return True

    def _add(self, env: int, info: dict[str, Any]) -> None:
        episode = info["episode"]
        self._recent.append((self.num_timesteps, episode["r"]))
        phase, context = (told_number(info, name) for name in ("phase", "context_id"))
        self._rows.writerow([self.num_timesteps, env, phase, context, episode["r"], episode["l"]])

    def _report(self, infos: list[dict[str, Any]]) -> None:
        oldest = self.num_timesteps - self._bar.total / 20
        while len(self._recent) > 1 and self._recent[0][0] <= oldest:
            self._recent.popleft()
        shown = {"return": f"{np.mean([gained for _, gained in self._recent]):.1f}"}
        if any("phase" in info for info in infos):
            phase = float(told_phases(infos).mean())
            self.logger.record("rollout/phase", phase)
            shown["phase"] = f"{phase:.1f}"
        if (acting := getattr(self.model, "acting", None)) is not None:
            for name, value in memory_statistics(acting.state).items():
                self.logger.record(f"memory/{name}", value)
        self._bar.set_postfix(shown, refresh=False)  # the speed is tqdm's own

    def _on_training_end(self) -> None:
        self.model.dump_logs()  # what came after the last dump

    def close(self) -> None:
        """Close bar and file."""
        self._bar.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_episodes(path: Path) -> dict[str, np.ndarray]:
    """The columns [n] of the file that TrainingLog wrote, by name.

    Raises:
        ValueError: the file is not of that form.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(EPISODE_COLUMNS))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} does not hold the episodes of a training: {error}") from error
    if tuple(header) != EPISODE_COLUMNS or not np.isfinite(columns).all():
        raise ValueError(
            f"{path} does not hold the episodes of a training: expected the columns {', '.join(EPISODE_COLUMNS)}, "
            "and finite numbers in them."
        )
    return dict(zip(EPISODE_COLUMNS, columns.T, strict=True))


def phase_changes(episodes: dict[str, np.ndarray]) -> np.ndarray:
    """Steps, rising, at which the phase of some environment changed: the end of the last episode before."""
    steps = []
    for env in np.unique(episodes["env"]):
        own = episodes["env"] == env
        (changed,) = np.nonzero(np.diff(episodes["phase"][own]))
        steps.append(episodes["step"][own][changed])
    return np.unique(np.concatenate(steps)) if steps else np.empty(0)


def memory_statistics(state: State) -> dict[str, float]:
    """What is in the memories of B sequences, as numbers to chart; empty without memory."""
    match state:
        case DNCState():
            return {
                "usage": state.u.mean().item(),
                "content_norm": state.M.norm(dim=-1).mean().item(),
                "write_peak": state.w_w.amax(-1).mean().item(),  # 1: one slot, 1/N: all of them
                "read_peak": state.w_r.amax(-1).mean().item(),
            }
        case LSTMState():
            return {"hidden_norm": state.h.norm(dim=-1).mean().item()}
    return {}
