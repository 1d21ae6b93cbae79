"""A search for settings with Optuna: what is searched, one trial after another, and the best as a preset.

A search has a folder: `tuning.db`, a database that several processes may work on at once, `trial-0000/`, … with the
scores and the best agent of each trial, and `best.json`, the best settings so far, for `train.py --preset`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from memagent.archive import reason
from memagent.evaluation.numerals import number
from memagent.files import write_text
from memagent.phase_evaluation import PARTS, PhaseEvaluation
from memagent.run_config import RunConfig, settings_of
from memagent.runs import RunError
from memagent.settings import build

if TYPE_CHECKING:
    import optuna

STARTUP_TRIALS = 5  # before any is pruned


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, drawn on a logarithmic scale."""

    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]


def search_space(config: RunConfig) -> dict[str, Range | Choice]:
    """What is searched around the settings of a run, which are in it: by the settings' dotted names."""
    learner, scale = config.learner, config.learner.reward_scale
    grids: dict[str, tuple[Any, ...]] = {
        "learner.steps_per_update": (2.0, 4.0, 8.0, 16.0, 32.0),
        "learner.gamma": (0.9, 0.95, 0.98, 0.99, 0.995),
        "replay.rows": (16, 32, 64),
        "replay.alpha": (0.0, 0.3, 0.6, 0.9),
    }
    if config.memory.kind == "dnc":
        grids["memory.memory_size"] = (16, 32, 64, 128)
    if config.memory.kind != "none":
        grids["memory.hidden_size"] = (64, 128, 256)
    if config.adapt.enabled:
        grids["adapt.steps_ahead"] = (1, 2, 4, 8)
        grids["adapt.history"] = (1, 4, 8)
    rate = learner.learning_rate
    space: dict[str, Range | Choice] = {
        "learner.learning_rate": Range(min(1e-4, rate), max(3e-3, rate)),
        "learner.reward_scale": Range(scale / 5, scale * 5),
    }
    return space | {
        name: Choice(tuple(sorted({*grid, value_of(config, name)}))) for name, grid in grids.items()
    }


def value_of(config: RunConfig, name: str) -> Any:
    """A setting by its dotted name."""
    section, _, field = name.partition(".")
    return getattr(getattr(config, section), field)


def nested(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings by dotted name as settings by section: a preset."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, field = name.partition(".")
        found.setdefault(section, {})[field] = value
    return found


def merged(settings: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by section, with `others` in their place."""
    found = dict(settings)
    for name, value in others.items():
        below = found.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        found[name] = merged(below, value) if both else value  # type: ignore[arg-type]
    return found


def read_preset(path: Path) -> dict[str, Any]:
    """The settings in a file, by section, as `best.json` has them.

    Raises:
        RunError: the file does not hold settings of a run.
    """
    try:
        settings = json.loads(path.read_bytes())
        build(RunConfig, settings)
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} does not hold the settings of a run: {reason(error)}") from error
    if foreign := settings.keys() & {"env", "env_kwargs", "wrapper", "run_dir"}:
        raise RunError(f"{path} is no preset: it names {', '.join(sorted(foreign))}; give that as flags.")
    return settings


class Pruning(BaseCallback):
    """Reports each evaluation of a trial, and ends its training where others had more by then.

    Args:
        trial: of Optuna.
        scoring: what evaluates.

    Attributes:
        pruned: whether it has ended the training.
    """

    def __init__(self, trial: optuna.Trial, scoring: PhaseEvaluation) -> None:
        super().__init__()
        self.trial, self.scoring = trial, scoring
        self.pruned = False
        self._reported = 0

    def _on_step(self) -> bool:
        evaluations = self.scoring.scores.evaluations
        for scored in evaluations[self._reported :]:
            drifts = self.scoring.told is not None
            when = scored.phase if drifts else round(PARTS * scored.step / self.locals["total_timesteps"])
            self.trial.report(self.scoring.scores.mean(scored), when)
            self.pruned = self.pruned or self.trial.should_prune()
        self._reported = len(evaluations)
        return not self.pruned


class StoppedError(Exception):
    """A person has stopped a trial."""


Train = Callable[[RunConfig, Path, "optuna.Trial"], float | None]


def tune(config: RunConfig, folder: Path, trials: int, train: Train) -> None:
    """Run trials until a search has so many, those of other processes too, with a line for each.

    The first trial has the settings as they are. What a trial is given is a function of its number, the seed and the
    trials that were finished before it: a search by one process is the same for the same seed.

    Args:
        config: the settings around which is searched.
        folder: of the search; a process that is given the folder of one that runs joins it.
        trials: how many in all, pruned and failed ones too.
        train: trains with some settings in a folder; the evaluated return at the end, None where it was pruned.

    Raises:
        RunError: Optuna is not there, the folder holds another search or none, or every trial has failed.
        StoppedError: a person has stopped a trial, which counts as failed.
    """
    optuna = _optuna()
    space = search_space(config)
    with closing(_Storage(optuna, folder)) as storage:
        study = storage.study(config, space)
        # Not what waits to begin.
        begun = [_state(name) for name in ("RUNNING", "COMPLETE", "PRUNED", "FAIL")]
        while len(study.get_trials(deepcopy=False, states=begun)) < trials:
            trial = study.ask()
            # Other processes draw other numbers, and this one the same again, whatever it drew before.
            seed = np.random.SeedSequence([config.seed, trial.number]).generate_state(1)[0]
            study.sampler = optuna.samplers.TPESampler(seed=int(seed))
            values = {name: _suggest(trial, name, part) for name, part in space.items()}
            said = _run(study, trial, config, folder, values, train)
            _write_best(study, folder)
            print(f"trial {trial.number} of {trials}: {said}", flush=True)  # noqa: T201
        if all(trial.state == _state("FAIL") for trial in study.get_trials(deepcopy=False)):
            raise RunError(
                f"Every trial has failed; mend what they say, and search in another folder than {folder}."
            )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise RunError("--tune needs Optuna, which is not there: pip install 'memagent[tune]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class _Storage:
    """The database of a search."""

    def __init__(self, optuna: Any, folder: Path) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        self.optuna, self.folder = optuna, folder
        self.errors = (OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "tuning.db").is_file() and any(folder.iterdir()):
                raise RunError(f"{folder} is not empty and holds no search; name a new folder by --run-dir.")
            self.storage = optuna.storages.RDBStorage(
                f"sqlite:///{folder.resolve() / 'tuning.db'}",
                engine_kwargs={"connect_args": {"timeout": 60}},
            )
        except self.errors as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> RunError:
        return RunError(
            f"No search can be made in {self.folder}: {reason(error)}; name another folder by --run-dir."
        )

    def study(self, config: RunConfig, space: Mapping[str, Range | Choice]) -> optuna.Study:
        """The search, begun anew or joined."""
        settings = json.dumps(settings_of(config), sort_keys=True)
        try:
            study = self.optuna.create_study(
                storage=self.storage,
                study_name="memagent",
                direction="maximize",
                load_if_exists=True,
                pruner=self.optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
            )
        except self.errors as error:
            raise self._refusal(error) from error
        held = study.user_attrs.get("settings")
        if held is None:
            study.set_user_attr("settings", settings)
            study.enqueue_trial({name: value_of(config, name) for name in space}, skip_if_exists=True)
        elif held != settings:
            raise RunError(
                f"{self.folder} holds a search with other settings; name another folder by --run-dir."
            )
        return study

    def close(self) -> None:
        self.storage.remove_session()
        self.storage.engine.dispose()


def _suggest(trial: optuna.Trial, name: str, part: Range | Choice) -> Any:
    if isinstance(part, Choice):
        return trial.suggest_categorical(name, part.values)
    return trial.suggest_float(name, part.low, part.high, log=True)


def _run(
    study: optuna.Study,
    trial: optuna.Trial,
    config: RunConfig,
    folder: Path,
    values: Mapping[str, Any],
    train: Train,
) -> str:
    """Train one trial and tell the study; what is said of it."""
    given = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    try:
        tried = build(RunConfig, merged(settings_of(config), nested(values)))
        score = train(tried, folder / f"trial-{trial.number:04d}", trial)
    except (KeyboardInterrupt, SystemExit, StoppedError):
        study.tell(trial, state=_state("FAIL"))
        raise
    except Exception as error:  # settings that cannot be together, a training that diverges
        study.tell(trial, state=_state("FAIL"))
        return f"failed ({reason(error)}), {given}"
    if score is None:
        study.tell(trial, state=_state("PRUNED"))
        return f"pruned, {given}"
    study.tell(trial, score)
    best = study.best_trial
    return f"return {number(score)}, best {number(study.best_value)} of trial {best.number}, {given}"


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def _write_best(study: optuna.Study, folder: Path) -> None:
    """The best settings so far, where there are any."""
    if any(
        trial.value is not None and trial.state.name == "COMPLETE"
        for trial in study.get_trials(deepcopy=False)
    ):
        write_text(folder / "best.json", json.dumps(nested(study.best_params), indent=2) + "\n")
