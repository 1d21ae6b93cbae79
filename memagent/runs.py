"""Run folders: the configuration a run was started with, the agent it made, and both read back without pickle.

config.json   every setting, nested as in RunConfig
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
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from tyro.constructors import PrimitiveConstructorSpec

from memagent.agents import (
    AdaptConfig,
    EntropyConfig,
    ExplorationConfig,
    LearnerConfig,
    MemoryAlgorithm,
    MemoryDQN,
    MemorySAC,
)
from memagent.agents.loading import is_pickled
from memagent.archive import ArchiveError, reason, shortened
from memagent.checkpoints import saved
from memagent.distributed.config import DistributedConfig
from memagent.files import write_text
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig
from memagent.replay import ReplayConfig
from memagent.settings import build, value_of

# Every algorithm, and the one section of RunConfig that is its own.
ALGORITHMS: dict[str, tuple[type[MemoryAlgorithm], str]] = {
    "dqn": (MemoryDQN, "exploration"),
    "sac": (MemorySAC, "entropy"),
}

LogFormat = Literal["csv", "json", "tensorboard"]
RunState = Literal["training", "trained", "interrupted", "failed", "finished"]
# What is read and written in a run folder.
RUN_FILES = (
    *("config.json", "status.json", "model.zip", "checkpoints", "episodes.csv", "progress.csv"),
    *("evaluation.json", "report.html", "figures", "tracking.json", "error.txt", "output.txt", "wandb"),
    *("phase_scores.json", "best_model.zip", "video.mp4", "video.gif", "progress.json", "tensorboard"),
)
MAX_CONFIG = 1024**2
MAX_CONTEXTS = 10_000


class RunError(Exception):
    """What a person asked for cannot be done; the message is one plain sentence."""


def words(given: Sequence[str]) -> dict[str, Any]:
    """Values by name out of the words of a command line: JSON objects, KEY=VALUE, or KEY alone, with an empty object.

    Raises:
        ValueError: a word that begins like a JSON object is none.
    """
    values: dict[str, Any] = {}
    for word in given:
        if word.startswith("{"):
            values |= json.loads(word)
            continue
        key, found, value = word.partition("=")
        try:
            values[key] = json.loads(value) if found else {}
        except json.JSONDecodeError:
            values[key] = value
    return values


def checked_wrappers(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments of wrappers by their names.

    Raises:
        ValueError: a name is no module:Class, or its arguments are no object.
    """
    for name, arguments in values.items():
        if ":" not in name or not isinstance(arguments, dict):
            raise ValueError(
                f"A wrapper is {name!r} with {arguments!r}; give module:Class, or module:Class={{...}} with its "
                "arguments as a JSON object."
            )
    return values


def _by_name(metavar: str, read: Callable[[Sequence[str]], dict[str, Any]]) -> Any:
    """How the command line says values by name, of JSON's types."""
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda values: [f"{key}={json.dumps(value)}" for key, value in values.items()],
    )


Words = Annotated[dict, _by_name("KEY=VALUE", words)]
Wrappers = Annotated[dict, _by_name("MODULE:CLASS", lambda given: checked_wrappers(words(given)))]


@dataclass(frozen=True)
class EvaluationConfig:
    """On what an agent is judged once it has learned."""

    contexts: int = 8
    """Contexts of the training ranges, and as many held-out ones. An environment that does not drift has one."""
    episodes: int = 5
    """Scored episodes of each context, unadapted and adapted."""
    warmup_episodes: int = 2
    """Episodes of each context before them, in which adaptation sees its first steps; scored apart."""
    seed: int = 0
    """Seed of the contexts, of their episodes and of sampled actions: the same for every agent that is compared."""
    time_limit: int = 10_000
    """Steps after which an episode is cut where the environment has no time limit and might not end."""
    deterministic: bool = True
    """Judge MemorySAC by its best actions, else by actions sampled as in training. MemoryDQN's are the best ones."""

    def __post_init__(self) -> None:
        for name, low in {"contexts": 1, "episodes": 1, "warmup_episodes": 0, "time_limit": 1}.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; give {low} or more.")
        if self.contexts > MAX_CONTEXTS:
            raise ValueError(
                f"contexts is {self.contexts}; give {MAX_CONTEXTS} at most: all are played at once."
            )


@dataclass(frozen=True)
class RunConfig:
    """A run: an environment, an agent that learns in it, and how both are judged."""

    env: str = "Drift/CartPole-v0"
    """Gymnasium id of the environment; drifting or not. "module:Id-v0" imports the module first."""
    env_kwargs: Words = field(default_factory=dict)
    """Arguments for gymnasium.make: a JSON object, or KEY=VALUE with values of JSON or plain text."""
    wrapper: Wrappers = field(default_factory=dict)
    """Wrappers of an environment that does not drift, from the inside out: "module:Class", or "module:Class={...}" with
    arguments as a JSON object. The modules are imported."""
    algo: Literal["auto", "dqn", "sac"] = "auto"
    """MemoryDQN for discrete actions, MemorySAC for continuous ones; "auto" looks at the environment."""
    schedule: Literal["draw", "random", "cycle"] | None = None
    """For a Drift id, how its contexts follow each other: a new one per phase, new ones at random times, or a few
    that come round in turn. None: the id's own schedule."""
    phase_steps: int | None = None
    """For a Drift id, steps of an environment in a phase. None: the id's own."""
    total_timesteps: int = 100_000
    """Environment steps, over all environments."""
    seed: int = 0
    """Seed of weights, exploration, replay and environments."""
    num_envs: int = 16
    """Environments that run at once."""
    run_dir: Path | None = None
    """Folder for everything the run leaves; new or empty. None: a new one under runs/, named after the run."""
    save_every: int | None = 10_000
    """Environment steps, over all environments, from one checkpoint to the next, from which `--resume` goes on. None:
    however many."""
    save_minutes: float | None = 10.0
    """The longest time between two checkpoints, for slow environments. None: however long."""
    keep: int = 2
    """How many of the newest checkpoints stay; beside them the one with the best recent return."""
    log_formats: tuple[LogFormat, ...] = ("csv",)
    """What SB3's logger writes into the run's folder: progress.csv, which is always there, progress.json, and files for
    TensorBoard (needs the package tensorboard)."""
    video: bool = False
    """Once the agent has learned, also write a video of a change of the context, and of how it recovers."""
    eval_share: float = 0.1
    """Score the agent while it trains, on the contexts that the first environment has seen, whenever one of its phases
    ends, and keep the best agent: environment steps for that, at most, for each step of training. 0: never."""
    wandb: Literal["offline", "online", "disabled"] | None = None
    """Track the run in Weights & Biases: in files only, uploaded too (needs an account), or not at all. None: as the
    environment variable WANDB_MODE says, else offline."""
    device: str = "auto"
    """Where the agent learns: "cpu", "cuda", or "auto" for a GPU where there is one."""
    threads: int = 1
    """Threads of PyTorch and of the memory's kernels. The networks are small: more threads wait for each other more
    than they compute, many times so where other programs run; two runs side by side use two cores better."""
    actors: int = 0
    """Ray actors that act in the environments, `num_envs` divided among them, while this process learns. 0: this
    process does both, and the same seed is the same run."""
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    entropy: EntropyConfig = field(default_factory=EntropyConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        for name in ("total_timesteps", "num_envs", "threads", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give 1 or more.")
        if self.save_every is not None and self.save_every < 1:
            raise ValueError(f"save_every is {self.save_every}; give 1 or more, or None for any number.")
        if self.save_minutes is not None and not self.save_minutes > 0.0:
            raise ValueError(
                f"save_minutes is {self.save_minutes}; give a number above 0, or None for any time."
            )
        if not self.eval_share >= 0.0:
            raise ValueError(f"eval_share is {self.eval_share}; give 0 or more.")
        if self.actors < 0 or (self.actors and self.num_envs % self.actors):
            raise ValueError(
                f"actors is {self.actors}, and num_envs is {self.num_envs}; give 0, or a number that divides num_envs."
            )
        checked_wrappers(self.wrapper)


def preset_config(env: str, preset: Mapping[str, Any]) -> RunConfig:
    """The defaults for an environment: RunConfig's own, and over them the environment's preset, section by section."""
    return build(RunConfig, {"env": env, **preset})


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


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Every setting as JSON types, nested; not where the run's folder lies, which may be moved."""
    return {name: value for name, value in asdict(config).items() if name != "run_dir"}


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
        raise RunError(
            f"{run_dir} is not a run folder: there is no config.json; give a folder that train.py made."
        )
    if (size := path.stat().st_size) > MAX_CONFIG:
        raise RunError(
            f"{path} has {size} bytes, expected {MAX_CONFIG} at most; it is not the settings of a run."
        )
    try:
        config = replace(build(RunConfig, json.loads(path.read_bytes())), run_dir=run_dir)
    except (ValueError, RecursionError) as error:  # not JSON, an unknown setting, a value that it cannot have
        raise RunError(f"{path} does not hold the settings of a run: {reason(error)}") from error
    if not trust:
        _refuse_foreign(path, config)
    return config


def _refuse_foreign(path: Path, config: RunConfig) -> None:
    """RunError where a stranger's settings would let an environment run code of their choice."""
    trusted = "if you trust who made the folder, add --trust."
    if named := [name for name in (config.env, *config.wrapper) if ":" in name]:
        raise RunError(
            f"{path} names {', '.join(map(repr, named))}, for which a module would be imported; {trusted}"
        )
    if config.env_kwargs:
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


def model_file(run_dir: Path) -> Path:
    """model.zip, or where a run was killed that of its newest checkpoint.

    Raises:
        RunError: there is neither.
    """
    for folder in (run_dir, *reversed(saved(run_dir / "checkpoints"))):
        _refuse_link(run_dir, path := folder / "model.zip")
        if path.is_file():
            return path
    raise RunError(
        f"{run_dir} holds neither model.zip nor a checkpoint; go on with `python train.py --resume {run_dir}`."
    )


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
