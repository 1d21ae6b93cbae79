"""What a run is started with: a section of settings for every part, as the command line and config.json have them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.constructors import PrimitiveConstructorSpec

from memagent.agents import AdaptConfig, EntropyConfig, ExplorationConfig, LearnerConfig
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig
from memagent.replay import ReplayConfig
from memagent.settings import build

LogFormat = Literal["csv", "json", "tensorboard"]
MAX_CONTEXTS = 10_000
MAX_SEED = 2**32 - 1


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
        _refuse_seed(self.seed)
        if self.contexts > MAX_CONTEXTS:
            raise ValueError(
                f"contexts is {self.contexts}; give {MAX_CONTEXTS} at most: all are played at once."
            )


@dataclass(frozen=True)
class DistributedConfig:
    """What passes between actors and learner, and how often; without actors nothing does."""

    stretch: int = 4
    """Steps of each environment that an actor makes with the same weights and sends at once. More cost less and
    explore less."""
    ahead: int = 2
    """Stretches of each actor that may be under way: with two it acts while the learner takes one in. More of them make
    the weights that act older."""
    publish_every: int = 8
    """Updates from one publication of the weights to the next."""
    max_weight_age: int = 128
    """Updates that may have been made since the weights that an actor acts with, when its rows reach the replay. The
    learner waits for actors that it would leave further behind."""

    def __post_init__(self) -> None:
        for name in ("stretch", "ahead", "publish_every", "max_weight_age"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a whole number, 1 or more.")
        if self.max_weight_age < self.publish_every:
            raise ValueError(
                f"max_weight_age is {self.max_weight_age}, less than publish_every, {self.publish_every}: weights are "
                "older than that before new ones come; give as much or more."
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
        _refuse_seed(self.seed)
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


def _refuse_seed(seed: int) -> None:
    """ValueError where NumPy's generators take no such seed."""
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed is {seed}; give a whole number from 0 to {MAX_SEED}.")


def preset_config(env: str, preset: Mapping[str, Any]) -> RunConfig:
    """The defaults for an environment: RunConfig's own, and over them the environment's preset, section by section."""
    return build(RunConfig, {"env": env, **preset})


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Every setting as JSON types, nested; not where the run's folder lies, which may be moved."""
    return {name: value for name, value in asdict(config).items() if name != "run_dir"}
