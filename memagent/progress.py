"""What a person sees of training while it runs, and what is kept of it: a progress bar, one line per episode."""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat
from tqdm.auto import tqdm

from memagent.files import write_text
from memagent.memory import DNCState, GRUState, LSTMState, State
from memagent.tables import Table, read_rows
from memagent.told import told_number, told_phases

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
        steps: environment steps that were done before, from which the bar goes on.
        rows: how many episodes of the file that is there they ended; others in it are removed.

    Raises:
        ValueError: the file does not hold so many.
    """

    def __init__(self, path: Path, total_timesteps: int, *, steps: int = 0, rows: int = 0) -> None:
        super().__init__()
        self.table = Table(path, EPISODE_COLUMNS, rows)
        earlier = read_episodes(path) if rows else {"step": np.zeros(0), "return": np.zeros(0)}
        # Step and return of the episodes whose mean the bar shows.
        self._recent = deque(zip(earlier["step"].tolist(), earlier["return"].tolist(), strict=True))
        self._bar = tqdm(
            total=total_timesteps, initial=steps, desc="training", unit="step", dynamic_ncols=True
        )

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
        phase, context = (told_number(info, name) or 0 for name in ("phase", "context_id"))
        row = (self.num_timesteps, env, phase, context, episode["r"], episode["l"])
        self.table.add(dict(zip(EPISODE_COLUMNS, row, strict=True)))

    def _report(self, infos: list[dict[str, Any]]) -> None:
        oldest = self.num_timesteps - self._bar.total / 20
        while len(self._recent) > 1 and self._recent[0][0] <= oldest:
            self._recent.popleft()
        shown = {"return": f"{np.mean([gained for _, gained in self._recent]):.1f}"}
        if any(told_number(info, "phase") is not None for info in infos):
            phase = float(told_phases(infos).mean())
            self.logger.record("rollout/phase", phase)
            shown["phase"] = f"{phase:.1f}"
        acting = getattr(self.model, "acting", None)
        if acting is not None and getattr(self.model, "collector", None) is None:
            for name, value in memory_statistics(acting.state).items():
                self.logger.record(f"memory/{name}", value)
        self._bar.set_postfix(shown, refresh=False)  # the speed is tqdm's own

    def _on_training_end(self) -> None:
        self.model.dump_logs()  # what came after the last dump

    def close(self) -> None:
        """Close bar and file."""
        self._bar.close()
        self.table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Records:
    """The files that training writes row by row, episodes.csv and progress.csv, and the logger that fills the latter.

    A context manager: leaving it closes them, and the bar.

    Args:
        folder: what they lie in.
        total_timesteps: environment steps that the bar counts to.
        steps: environment steps that were done before.
        state: what `get_state` gave then; without it the files begin anew.
        formats: what the logger also writes, "json" (progress.json, a line per row) and "tensorboard" (a folder of that
            name): files that only grow, to which nothing is added before the step that progress.csv had come to.

    Raises:
        ValueError: the files have lost rows since.
    """

    def __init__(
        self,
        folder: Path,
        total_timesteps: int,
        steps: int,
        state: Mapping[str, Any],
        formats: Sequence[str] = (),
    ) -> None:
        grown = [name for name in formats if name in MORE]
        logged = _logged(folder) if grown else 0
        rows = state.get("rows", {"episodes": 0, "progress": 0})
        self._progress = Table(folder / "progress.csv", rows=rows["progress"])
        try:
            self.episodes = TrainingLog(
                folder / "episodes.csv", total_timesteps, steps=steps, rows=rows["episodes"]
            )
        except ValueError:
            self._progress.close()
            raise
        more: list[KVWriter] = [Later(MORE[name](folder), logged) for name in grown]
        self.logger = Logger(str(folder), [RowWriter(self._progress), *more])
        for key, (value, count, excluded) in state.get("undumped", {}).items():
            self.logger.name_to_value[key] = value
            self.logger.name_to_count[key] = count
            self.logger.name_to_excluded[key] = tuple(excluded)

    def get_state(self) -> dict[str, Any]:
        """How many rows the files have, which are on the disk then, and what the logger has not dumped yet."""
        tables = {"episodes": self.episodes.table, "progress": self._progress}
        for table in tables.values():
            table.sync()
        logger = self.logger
        undumped = {
            key: [_plain(value), logger.name_to_count.get(key, 0), list(logger.name_to_excluded[key])]
            for key, value in logger.name_to_value.items()
            if _is_plain(value)
        }
        return {"rows": {name: table.rows for name, table in tables.items()}, "undumped": undumped}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.episodes.close()
        self.logger.close()


def _logged(folder: Path) -> int:
    """The step that the files that only grow have come to, kept beside them: progress.csv may have lost rows since."""
    file, logged = folder / "logged.json", last_step(folder / "progress.csv")
    with suppress(OSError, ValueError, KeyError, TypeError):
        logged = max(logged, int(json.loads(file.read_bytes())["steps"]))
    write_text(file, json.dumps({"steps": logged}) + "\n")
    return logged


class Later(KVWriter):
    """Hands on the rows after a step, those that an earlier process has not written."""

    def __init__(self, writer: KVWriter, logged: int) -> None:
        self.writer, self.logged = writer, logged

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        if step > self.logged:
            self.writer.write(key_values, key_excluded, step)

    def close(self) -> None:
        self.writer.close()


class LineWriter(KVWriter):
    """Appends each dump of SB3's logger as a line of JSON, as SB3's own writer does, which begins its file anew."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "progress.json").open("a", buffering=1, encoding="utf-8")

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        row = {
            key: _plain(value)
            for key, value in sorted(key_values.items())
            if _is_plain(value) and "json" not in key_excluded.get(key, ())
        }
        self._file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        self._file.close()


MORE: Mapping[str, Callable[[Path], KVWriter]] = {
    "json": LineWriter,
    "tensorboard": lambda folder: TensorBoardOutputFormat(str(folder / "tensorboard")),
}
"""What the logger can write beside progress.csv."""


class RowWriter(KVWriter):
    """Writes each dump of SB3's logger as one row of a table: its numbers and strings, but for what excludes "csv"."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        self.table.add(
            {
                key: _plain(value)
                for key, value in sorted(key_values.items())
                if _is_plain(value) and "csv" not in key_excluded.get(key, ())
            }
        )

    def close(self) -> None:
        self.table.close()


def _is_plain(value: Any) -> bool:
    """Whether it is a number or a string; figures and videos are none."""
    return isinstance(value, Real | str)


def _plain(value: Any) -> str | int | float:
    """A number or string as a type of JSON."""
    if isinstance(value, str):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def last_step(path: Path) -> int:
    """The environment steps of the last row that RowWriter wrote into a file; 0 where there is none."""
    try:
        columns, rows = read_rows(path)
        return int(rows[-1][columns.index("time/total_timesteps")])
    except (ValueError, IndexError):
        return 0


def read_episodes(path: Path) -> dict[str, np.ndarray]:
    """The columns [n] of the file that TrainingLog wrote, by name.

    Raises:
        ValueError: the file is not of that form.
    """
    try:
        header, rows = read_rows(path)
        columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(EPISODE_COLUMNS))
    except ValueError as error:
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
        case LSTMState() | GRUState():
            return {"hidden_norm": state.h.norm(dim=-1).mean().item()}
    return {}
