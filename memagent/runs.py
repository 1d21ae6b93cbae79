"""Run folders: the configuration a run was started with, the agent it made, and both read back without pickle.

config.json   every setting, nested as in RunConfig
progress.csv  what SB3's logger wrote
episodes.csv  one line per training episode, see memagent.progress
model.zip     the agent, as MemoryAlgorithm.save writes it
evaluation.json, report.html, figures/, wandb/
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

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
from memagent.archive import ArchiveError
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig
from memagent.replay import ReplayConfig
from memagent.settings import build

# Every algorithm, and the one section of RunConfig that is its own.
ALGORITHMS: dict[str, tuple[type[MemoryAlgorithm], str]] = {
    "dqn": (MemoryDQN, "exploration"),
    "sac": (MemorySAC, "entropy"),
}


class RunError(Exception):
    """What a person asked for cannot be done; the message is one plain sentence."""


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
    deterministic: bool = True
    """Judge MemorySAC by its best actions, else by actions sampled as in training. MemoryDQN's are the best ones."""

    def __post_init__(self) -> None:
        for name, low in {"contexts": 1, "episodes": 1, "warmup_episodes": 0}.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; give {low} or more.")


@dataclass(frozen=True)
class RunConfig:
    """A run: an environment, an agent that learns in it, and how both are judged."""

    env: str = "Drift/CartPole-v0"
    """Gymnasium id of the environment; drifting or not."""
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
    wandb: Literal["offline", "online", "disabled"] = "offline"
    """Track the run in Weights & Biases: in files only, uploaded too (needs an account), or not at all."""
    device: str = "auto"
    """Where the agent learns: "cpu", "cuda", or "auto" for a GPU where there is one."""
    threads: int = 1
    """Threads of PyTorch and of the memory's kernels. The networks are small: more threads wait for each other more
    than they compute, many times so where other programs run; two runs side by side use two cores better."""
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    entropy: EntropyConfig = field(default_factory=EntropyConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        for name in ("total_timesteps", "num_envs", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give 1 or more.")


def preset_config(env: str, preset: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """The defaults for an environment: RunConfig's own, and over them the environment's preset, section by section."""
    return build(RunConfig, {"env": env, **preset})


def new_run_dir(config: RunConfig) -> Path:
    """Where the run's files will go; nothing is made yet.

    Raises:
        RunError: there is something already.
    """
    if config.run_dir is None:
        name = f"{config.env.rpartition('/')[2]}-{config.memory.kind}-seed{config.seed}"
        return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    if config.run_dir.exists() and (not config.run_dir.is_dir() or any(config.run_dir.iterdir())):
        raise RunError(
            f"{config.run_dir} is there already and not empty; name a new folder, or empty it first."
        )
    return config.run_dir


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Every setting as JSON types, nested; not where the run's folder lies, which may be moved."""
    return {name: value for name, value in asdict(config).items() if name != "run_dir"}


def save_config(run_dir: Path, config: RunConfig) -> None:
    """Write config.json, making the folder where it is not there."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.json").write_text(json.dumps(settings_of(config), indent=2) + "\n")


def load_config(run_dir: Path) -> RunConfig:
    """Read config.json back.

    Raises:
        RunError: there is no run folder, or its config.json is not one of a run.
    """
    path = run_dir / "config.json"
    if not path.is_file():
        raise RunError(
            f"{run_dir} is not a run folder: there is no config.json; give a folder that train.py made."
        )
    try:
        return replace(build(RunConfig, json.loads(path.read_text())), run_dir=run_dir)
    except (ValueError, TypeError) as error:  # not JSON, an unknown setting, a value out of its range
        raise RunError(f"{path} does not hold the settings of a run: {error}") from error


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


def load_agent(run_dir: Path, config: RunConfig, env: VecEnv, *, trust: bool = False) -> MemoryAlgorithm:
    """The trained agent of a run folder, with the settings of its configuration.

    Args:
        run_dir, config: see `load_config`.
        env: what it acts in.
        trust: also read a pickled model.zip, which runs whatever code is in it, with the settings in the file.

    Raises:
        RunError: the model is not there, is broken, or is not of this configuration.
    """
    path = run_dir / "model.zip"
    if not path.is_file():
        raise RunError(f"{run_dir} holds no model.zip; train the agent to the end, or stop it with Ctrl-C.")
    agent, settings = algorithm(config, env)
    try:
        if trust and is_pickled(path):
            return agent.load(path, env, config.device, trust=True)
        return agent.load(path, env, config.device, **settings)
    except ArchiveError as error:
        raise RunError(str(error)) from error


@contextmanager
def plain_errors(*kinds: type[Exception]) -> Iterator[None]:
    """What a script runs in: these errors and RunError end it with their sentence and exit code 2, Ctrl-C with 130."""
    expected: tuple[type[Exception], ...] = (RunError, *kinds)
    try:
        yield
    except expected as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 a command line talks to a person
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None
