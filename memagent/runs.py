"""Run folders: the settings a run was started with, the agent it made, and both read back without pickle.

config.json   every setting, nested as in memagent.run_config
progress.csv  what SB3's logger wrote; also progress.json, tensorboard/
episodes.csv  one line per training episode, see memagent.progress
model.zip     the agent, as MemoryAlgorithm.save writes it
checkpoints/  what a training that was stopped or killed goes on from, see memagent.checkpoints
status.json   how far the run has come, see `save_status`
error.txt     where an error ended the training, its traceback
phase_scores.json, best_model.zip  scores while it trained, and the best agent, see memagent.phase_evaluation
tracking.json  which W&B run this is, see memagent.tracking
output.txt    of one of several seeds, what its training printed, see memagent.seeds
video.mp4, video.gif  a change of the context, see memagent.evaluation.video
evaluation.json, report.html, figures/, wandb/
"""

import json
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal

from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from memagent.agents import (
    MemoryAlgorithm,
    MemoryDQN,
    MemorySAC,
)
from memagent.agents.loading import is_pickled
from memagent.archive import ArchiveError, reason, shortened
from memagent.checkpoints import saved
from memagent.files import write_text
from memagent.run_config import RunConfig, settings_of
from memagent.settings import build, value_of

# Every algorithm, and the one section of RunConfig that is its own.
ALGORITHMS: dict[str, tuple[type[MemoryAlgorithm], str]] = {
    "dqn": (MemoryDQN, "exploration"),
    "sac": (MemorySAC, "entropy"),
}

RunState = Literal["training", "trained", "interrupted", "failed", "finished"]
# What is read and written in a run folder.
RUN_FILES = (
    *("config.json", "status.json", "model.zip", "checkpoints", "episodes.csv", "progress.csv"),
    *("evaluation.json", "report.html", "figures", "tracking.json", "error.txt", "output.txt", "wandb"),
    *("phase_scores.json", "best_model.zip", "video.mp4", "video.gif"),
    *("progress.json", "tensorboard", "logged.json"),
)
MAX_CONFIG = 1024**2


class RunError(Exception):
    """What a person asked for cannot be done; the message is one plain sentence."""


def new_run_dir(config: RunConfig) -> Path:
    """Make the run's folder, which no other run gets, however many begin at once.

    Raises:
        RunError: there is something already, or no folder can be made there.
    """
    try:
        return named_dir(config, f"seed{config.seed}") if config.run_dir is None else _claimed(config.run_dir)
    except OSError as error:
        raise RunError(f"No run folder can be made: {error}; name another by --run-dir.") from error


def named_dir(config: RunConfig, seed: str) -> Path:
    """A new folder under runs/, named after the run and what `seed` says of it; numbered where the name is taken."""
    name = f"{config.env.rpartition('/')[2]}-{config.memory.kind}-{seed}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in count(1):
        path = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable")


def _claimed(path: Path) -> Path:
    """The folder `path`, made or empty: of several runs that want it, the one gets it that makes status.json."""
    taken = RunError(f"{path} is there already and not empty; name a new folder, or empty it first.")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise taken
    path.mkdir(parents=True, exist_ok=True)
    try:
        (path / "status.json").open("x").close()
    except FileExistsError:
        raise taken from None
    return path


@contextmanager
def begun_run(config: RunConfig) -> Iterator[Path]:
    """A run's new folder with its config.json; where the block fails nothing of it, or made for it, is left.

    Raises:
        RunError: as in `new_run_dir`.
    """
    parent = config.run_dir or Path("runs")
    made = [path for path in (parent, *parent.parents) if not path.exists()]  # the innermost first
    run_dir = new_run_dir(config)
    if config.run_dir is None:
        made.insert(0, run_dir)
    try:
        save_config(run_dir, config)
        yield run_dir
    except BaseException:
        for path in run_dir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        with suppress(OSError):  # another run has something in it
            for path in made:
                path.rmdir()
        raise


def save_config(run_dir: Path, config: RunConfig) -> None:
    """Write config.json."""
    write_text(run_dir / "config.json", json.dumps(settings_of(config), indent=2) + "\n")


def save_status(run_dir: Path, state: RunState, steps: int) -> None:
    """Write status.json: how far the run has come. One that says "training" and is not running was killed."""
    write_text(run_dir / "status.json", json.dumps({"state": state, "steps": steps}) + "\n")


def load_status(run_dir: Path) -> RunState | None:
    """What status.json says of how far the run has come; None where it says nothing yet.

    Raises:
        RunError: it says nothing that `save_status` writes.
    """
    path = run_dir / "status.json"
    if not path.is_file() or not path.stat().st_size:
        return None
    try:
        return value_of("state", RunState, json.loads(path.read_bytes())["state"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path} does not say how far a run has come: {reason(error)}.") from error


def load_config(run_dir: Path, *, trust: bool = False) -> RunConfig:
    """Read config.json back, of a folder that a stranger may have made.

    Args:
        run_dir: the folder.
        trust: let the environment's id and wrappers name modules, which are then imported, and arguments be passed.

    Raises:
        RunError: there is no run folder, its config.json is not one of a run, or a file in it is a link out of it.
    """
    for name in RUN_FILES:
        _refuse_link(run_dir, run_dir / name)
    path = run_dir / "config.json"
    if not path.is_file():
        hint = "give a folder that train.py made"
        if (run_dir / "tuning.db").is_file():
            hint = "it holds a search, which the same command with --tune goes on with"
        raise RunError(f"{run_dir} is not a run folder: there is no config.json; {hint}.")
    if (size := path.stat().st_size) > MAX_CONFIG:
        raise RunError(
            f"{path} has {size} bytes, expected {MAX_CONFIG} at most; it is not the settings of a run."
        )
    try:
        config = replace(build(RunConfig, json.loads(path.read_bytes())), run_dir=run_dir)
    except (ValueError, RecursionError) as error:  # not JSON, an unknown setting, a value that it cannot have
        raise RunError(f"{path} does not hold the settings of a run: {reason(error)}") from error
    if not trust and runs_code(config):
        _refuse_foreign(path, config)
    return config


def runs_code(config: RunConfig) -> bool:
    """Whether an environment's settings may run code of their choice, and so need trust."""
    return bool(config.env_kwargs or _modules(config))


def _modules(config: RunConfig) -> list[str]:
    """What is named by the module that is imported for it."""
    return [name for name in (config.env, *config.wrapper) if ":" in name]


def _refuse_foreign(path: Path, config: RunConfig) -> None:
    """RunError where a stranger's settings would let an environment run code of their choice."""
    trusted = "if you trust who made the folder, add --trust."
    if named := _modules(config):
        raise RunError(
            f"{path} names {', '.join(map(repr, named))}, for which a module would be imported; {trusted}"
        )
    raise RunError(
        f"{path} gives the environment {config.env!r} arguments, {shortened(config.env_kwargs)}, which may be "
        f"names of files or of code; {trusted}"
    )


def _refuse_link(run_dir: Path, path: Path) -> None:
    try:
        inside = path.resolve().is_relative_to(run_dir.resolve())
    except (OSError, RuntimeError):  # a link to itself
        inside = False
    if not inside:
        raise RunError(f"{path} is a link out of the run folder; put the file itself there.")


def algorithm(config: RunConfig, env: VecEnv) -> tuple[type[MemoryAlgorithm], dict[str, Any]]:
    """The agent's class for this environment, and the settings that its constructor takes."""
    algo = config.algo
    if algo == "auto":
        algo = "sac" if isinstance(env.action_space, spaces.Box) else "dqn"
    agent, own = ALGORITHMS[algo]
    names = ("memory", "replay", "meta", "adapt", "learner", "seed", own)
    return agent, {name: getattr(config, name) for name in names}


def make_agent(config: RunConfig, env: VecEnv) -> MemoryAlgorithm:
    """The untrained agent of a configuration.

    Raises:
        RunError: it cannot learn in this environment.
    """
    agent, settings = algorithm(config, env)
    try:
        return agent("MemoryPolicy", env, device=config.device, **settings)
    except ValueError as error:
        raise RunError(f"No agent can learn in {config.env}: {error}") from error


def save_agent(agent: MemoryAlgorithm, run_dir: Path) -> Path:
    """Write model.zip, whole or not at all."""
    path = run_dir / "model.zip"
    agent.save(path)
    return path


def how_to_go_on(folder: Path) -> str:
    """What a person may do with trainings that are not finished."""
    trust = " --trust" if any(map(_asks_trust, (folder, *folder.glob("seed-*")))) else ""
    return f"go on with `python train.py --resume {shlex.quote(str(folder))}{trust}`"


def _asks_trust(run_dir: Path) -> bool:
    """Whether a run's settings may run code; False where there is no run."""
    try:
        return runs_code(load_config(run_dir, trust=True))
    except RunError:
        return False


def model_file(run_dir: Path) -> Path:
    """model.zip, or where a run was killed that of its newest checkpoint.

    Raises:
        RunError: there is neither.
    """
    for folder in (run_dir, *reversed(saved(run_dir / "checkpoints"))):
        _refuse_link(run_dir, path := folder / "model.zip")
        if path.is_file():
            return path
    raise RunError(f"{run_dir} holds neither model.zip nor a checkpoint; {how_to_go_on(run_dir)}.")


def load_agent(run_dir: Path, config: RunConfig, env: VecEnv, *, trust: bool = False) -> MemoryAlgorithm:
    """The agent of `model_file`, with the settings of its configuration.

    Args:
        run_dir, config: see `load_config`.
        env: what it acts in.
        trust: also read a pickled file, which runs whatever code is in it, with the settings in the file.

    Raises:
        RunError: the model is not there, is broken, or is not of this configuration.
    """
    path = model_file(run_dir)
    agent, settings = algorithm(config, env)
    try:
        if trust and is_pickled(path):
            return agent.load(path, env, config.device, trust=True)
        return agent.load(path, env, config.device, **settings)
    except ArchiveError as error:
        raise RunError(str(error)) from error
