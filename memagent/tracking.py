"""Weights & Biases: a run in the run folder, a writer of SB3's logger, and the callback that joins the two.

    with start_run(run_dir, config) as tracker:
        agent.learn(total_timesteps, callback=TrackingCallback(tracker))
        tracker.log_figure("figures/stream", run_dir / "figures" / "stream.png", agent.num_timesteps)
        tracker.log_files("model", [run_dir / "model.zip", run_dir / "config.json"], ["latest"])

Everything lies under the run folder's `wandb/`, is charted over `global_step` (environment steps), and is finished
however the block ends. A run is its own, whatever other runs the process has. Offline, the default unless WANDB_MODE
says otherwise, needs no account and opens no connection; `wandb sync` uploads the run later.

Once a run has started, nothing that W&B does ends a training: where its process is dead or the disk is full, a sentence
says so, once, and the run is not tracked from there on.

A folder whose training goes on has one W&B run all the same: tracking.json keeps its id, and the step up to which it
has rows. What is trained a second time, since the last checkpoint, is not logged again.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import matplotlib.pyplot as plt
import numpy as np
import wandb
from matplotlib.figure import Figure as MatplotlibFigure
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure, FormatUnsupportedError, HParam, Image, KVWriter, Video

from memagent.files import write_text

TrackingMode = Literal["offline", "online", "disabled"]


LONGEST_TAG = 64
"""Characters of a tag that W&B takes."""


@dataclass(frozen=True)
class Labels:
    """What W&B's table of runs is sorted by."""

    name: str | None = None
    """None: the folder's."""
    group: str | None = None
    """Runs that differ in the seed alone have the same."""
    job_type: str = "train"
    tags: Sequence[str] = ()


class TrackingError(RuntimeError):
    """W&B could not start a run; the message says why and what to do."""


class Tracker:
    """One W&B run. A context manager: leaving it, by whatever way, finishes the run.

    Args:
        run: what `wandb.init` returned.
        step_name: the key that every chart has as its x axis.
        logged: the step up to which the run has the logger's rows already.
    """

    def __init__(self, run: wandb.Run, step_name: str = "global_step", logged: int = -1) -> None:
        self.run = run
        self.step_name = step_name
        self.logged = logged
        self.finished = False
        self.lost = False
        self._tell(lambda: (run.define_metric(step_name), run.define_metric("*", step_metric=step_name)))

    def _tell(self, call: Callable[[], Any], *, last: bool = False) -> None:
        """Call W&B; where that fails, of whatever, say so once, and call it no more but for the `last` time."""
        if self.lost and not last:
            return
        try:
            call()
        except Exception as error:  # of W&B, of its process, of the disk
            if not self.lost:
                said = f"W&B failed ({type(error).__name__}: {error}); the run is not tracked from here on."
                print(said, file=sys.stderr)  # noqa: T201
            self.lost = True

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Write a row of the history, as of environment step `step`: numbers, strings, W&B's media, SB3's pictures."""

        def log() -> None:
            row = {key: _as_wandb(value) for key, value in values.items()}
            self.run.log({**row, self.step_name: step})

        self._tell(log)

    def log_figure(self, key: str, figure: MatplotlibFigure | Path, step: int) -> None:
        """Write a picture, drawn (a matplotlib figure) or already on disk (a path), as of environment step `step`."""
        self._tell(lambda: self.log({key: wandb.Image(figure)}, step))

    def log_video(self, key: str, path: Path, step: int) -> None:
        """Write a video that is on disk, MP4 or GIF, as of environment step `step`."""
        self._tell(lambda: self.log({key: wandb.Video(str(path))}, step))

    def log_table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Write a table, as of environment step `step`; None is an empty cell."""

        def log() -> None:
            table = wandb.Table(list(columns), [list(row) for row in rows], allow_mixed_types=True)
            self.log({key: table}, step)

        self._tell(log)

    def log_files(
        self,
        kind: str,
        paths: Sequence[Path],
        aliases: Sequence[str] = ("latest",),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep files as a version of the artifact `kind`, with these aliases: referred to in place, not copied."""

        def log() -> None:
            artifact = wandb.Artifact(kind, type=kind, metadata=dict(metadata or {}))
            for path in paths:
                artifact.add_file(str(path), policy="immutable")
            self.run.log_artifact(artifact, aliases=list(aliases))

        self._tell(log)

    def update_config(self, values: Mapping[str, Any]) -> None:
        """Add to the run's configuration what was known only after it had started."""
        self._tell(lambda: self.run.config.update(dict(values), allow_val_change=True))

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Set results of the whole run, such as its evaluation, shown beside it in a table of runs."""
        self._tell(lambda: self.run.summary.update(dict(values)))

    def finish(self, exit_code: int = 0) -> None:
        """Write out and close the run, once; a non-zero exit code marks it as failed."""
        if not self.finished:
            self.finished = True
            self._tell(lambda: self.run.finish(exit_code=exit_code), last=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(_exit_code(error))


def start_run(
    run_dir: Path,
    config: Mapping[str, Any],
    mode: TrackingMode | None = None,
    project: str | None = None,
    name: str | None = None,
    logged: int = -1,
    labels: Labels | None = None,
) -> Tracker:
    """Start a W&B run whose files lie in `run_dir/wandb`, beside any others that the process has, or go on with the
    one that the folder has.

    Args:
        run_dir: the run folder; made if it is not there.
        config: what the run was started with, as JSON types (nested mappings are shown as `a.b`).
        mode: "offline" writes files only, "online" also uploads them, "disabled" does neither. None: as the environment
            variable WANDB_MODE says, else "offline".
        project, name: where the run is listed. None: as WANDB_PROJECT and WANDB_NAME say, else "memagent" and the
            labels' name or the folder's.
        logged: the step up to which the folder's run has the logger's rows already; less than it was told before
            counts for nothing.
        labels: what the run is sorted by; WANDB_RUN_GROUP, WANDB_TAGS and WANDB_JOB_TYPE go before.

    Raises:
        TrackingError: the mode is none of the three, W&B was asked to track online and does not know the account, or a
            setting is none that it takes. Without a network the run is tracked offline, and where that fails too not at
            all; a sentence says so.
    """
    tried: TrackingMode = mode or os.environ.get("WANDB_MODE") or "offline"  # type: ignore[assignment]
    if tried not in get_args(TrackingMode):
        raise TrackingError(
            f"The W&B mode is {tried!r}, as given or by WANDB_MODE; choose one of {', '.join(get_args(TrackingMode))}."
        )
    if tried != "online":
        # W&B reports its own errors to a server unless told not to, and looks that server up at its start.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    run_dir.mkdir(parents=True, exist_ok=True)
    identity, logged_before = _identity(run_dir)
    goes_on = bool(identity) and tried == "online"  # offline it is the id alone that says so
    labels = labels or Labels()
    asked = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",")]
    tags = [tag for tag in asked if tag] or labels.tags
    try:
        run = wandb.init(
            id=identity,
            resume="allow" if goes_on else None,
            project=project or os.environ.get("WANDB_PROJECT") or "memagent",
            name=name or os.environ.get("WANDB_NAME") or labels.name or run_dir.resolve().name,
            group=os.environ.get("WANDB_RUN_GROUP") or labels.group,
            job_type=os.environ.get("WANDB_JOB_TYPE") or labels.job_type,
            tags=[tag[:LONGEST_TAG] for tag in tags],
            dir=run_dir.resolve(),  # W&B's background process may have another working directory
            config=dict(config),
            mode=tried,
            reinit="create_new",  # else W&B hands out the run that the process has already
            settings=wandb.Settings(console="off", quiet=True, silent=tried != "online"),
        )
    except ValueError as error:  # pydantic's, of a variable WANDB_…
        what = " ".join(str(error).split())
        raise TrackingError(
            f"W&B takes no such setting ({what}); mend the variable WANDB_… that says it."
        ) from error
    except (wandb.Error, OSError) as error:
        return start_run(run_dir, config, _lesser(tried, error), project, name, logged, labels)
    logged = max(logged, logged_before)
    if tried != "disabled":
        write_text(run_dir / "tracking.json", json.dumps({"run": run.id, "logged": logged}) + "\n")
    return Tracker(run, logged=logged)


def _lesser(mode: TrackingMode, error: Exception) -> TrackingMode:
    """The mode to try after one in which a run could not start; a sentence says so.

    Raises:
        TrackingError: a person has to mend it, or there is none left.
    """
    why = f"W&B could not start the run {mode} ({str(error).splitlines()[0]})"
    if isinstance(error, wandb.errors.UsageError):
        mend = (
            "log in once with `wandb login`, or track offline and upload later with `wandb sync`"
            if "API key" in str(error)
            else "mend what it names; variables such as WANDB_PROJECT say it"
        )
        raise TrackingError(f"{why}; {mend}.") from error
    if mode == "disabled":
        raise TrackingError(f"{why}.") from error
    less: TrackingMode = "offline" if mode == "online" else "disabled"
    then = {
        "offline": "it is tracked offline: upload it later with `wandb sync`",
        "disabled": "it is not tracked",
    }
    print(f"{why}; {then[less]}.", file=sys.stderr)  # noqa: T201
    return less


def _identity(run_dir: Path) -> tuple[str | None, int]:
    """The id of the folder's W&B run, and the step up to which it has rows; None and -1 where it has no run."""
    try:
        known = json.loads((run_dir / "tracking.json").read_bytes())
        identity, logged = known["run"], known["logged"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, -1
    return (identity, logged) if isinstance(identity, str) and isinstance(logged, int) else (None, -1)


class WandbWriter(KVWriter):
    """Writes each dump of SB3's logger as one row of the W&B history.

    Keys excluded for "wandb" are left out. Once the run is finished nothing more is written, nor before it is further
    than an earlier process had come.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        if self.tracker.finished or step <= self.tracker.logged:
            return
        row = {}
        for key, value in sorted(key_values.items()):
            if "wandb" in key_excluded.get(key, ()):
                continue
            if isinstance(value, Video):
                raise FormatUnsupportedError(["wandb"], "video")
            if isinstance(value, HParam):
                self.tracker.update_config(value.hparam_dict)
            else:
                row[key] = value
        if row:
            self.tracker.log(row, step)

    def close(self) -> None:
        """The tracker outlives the logger: figures and the model come after training."""


class TrackingCallback(BaseCallback):
    """Sends everything that any SB3 algorithm logs to W&B while it learns.

    Args:
        tracker: the run, from `start_run`.
    """

    def __init__(self, tracker: Tracker) -> None:
        super().__init__()
        self.writer = WandbWriter(tracker)

    def _on_training_start(self) -> None:
        if self.writer not in self.logger.output_formats:
            self.logger.output_formats.append(self.writer)
        parameters = sum(p.numel() for p in self.model.policy.parameters())
        self.writer.tracker.update_config(
            {
                "algorithm": type(self.model).__name__,
                "num_parameters": parameters,
                "num_envs": self.model.n_envs,
                "device": str(self.model.device),
            }
        )

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self.logger.output_formats.remove(self.writer)


def _as_wandb(value: Any) -> Any:
    """A value of SB3's logger as W&B takes it."""
    if isinstance(value, Figure):
        try:
            return wandb.Image(value.figure)
        finally:
            if value.close:
                plt.close(value.figure)
    if isinstance(value, Image):
        pixels = value.image if isinstance(value.image, str) else np.asarray(value.image)
        if not isinstance(pixels, str) and value.dataformats.upper() == "CHW":
            pixels = pixels.transpose(1, 2, 0)
        return wandb.Image(pixels)
    return value


def _exit_code(error: BaseException | None) -> int:
    """The exit status of a process that ends with `error`."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 130 if isinstance(error, KeyboardInterrupt) else 1
