"""An SB3 agent with a memory: its settings, its parts, and the environments that it takes.

How it acts and stores is `RolloutLearner`'s, how it learns `SequenceLearner`'s, how it is saved `SavedLearner`'s, what
its heads are worth a subclass's.
"""

from __future__ import annotations

import math
import reprlib
import warnings
from abc import ABC
from collections.abc import Mapping
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from memagent.agents.acting import Acting, Held
from memagent.agents.checkpoint import load_checkpoint, save_checkpoint
from memagent.agents.config import LearnerConfig, LearnerSetting
from memagent.agents.finite import NumberReward, check_finite
from memagent.agents.rollouts import RolloutLearner
from memagent.agents.saved import SavedLearner
from memagent.agents.words import Words, in_configs
from memagent.context import AdaptConfig, PhaseSignal
from memagent.layout import is_scaled, transition_layout
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig
from memagent.policies import MemoryPolicy
from memagent.replay import PrioritizedSequenceBuffer, ReplayConfig
from memagent.sb3_names import no_attribute, ways
from memagent.settings import as_config, plain


class MemoryAlgorithm(RolloutLearner, SavedLearner, ABC):
    """An off-policy learner with a memory, prioritised sequence replay and a context that adapts.

    Args:
        policy: a `MemoryPolicy` class or its alias "MemoryPolicy".
        env: anything SB3 takes; observations are one-dimensional, best with `TransitionObservation`.
        memory, replay, meta, adapt, learner: see the dataclasses.
        words: SB3's `learning_rate`, `buffer_size`, `learning_starts`, `batch_size`, `tau`, `gamma`, `train_freq`,
            `gradient_steps` and `max_grad_norm`, in place of the dataclasses' fields; see `Words`.
        policy_kwargs: further keyword arguments of the policy (features_dim, head_size).
        seed, verbose, device, tensorboard_log, stats_window_size: as in SB3.

    Raises:
        ValueError: for an action or observation space that the agent cannot take, a device that is not here, or a
            replay that is larger than the machine's memory.
        TypeError: for a setting that is none, SB3's among them, with what gives it here.
    """

    supported_actions: ClassVar[tuple[type[spaces.Space], ...]]
    advice: ClassVar[str]
    configs = {
        "memory": ("memory_config", MemoryConfig),
        "replay": ("replay_config", ReplayConfig),
        "meta": ("meta_config", MetaConfig),
        "adapt": ("adapt_config", AdaptConfig),
        "learner": ("learner", LearnerConfig),
    }
    words: ClassVar[frozenset[str]] = frozenset(Words.__annotations__)  # SB3's, that the constructor takes
    # SB3's names for what `learner` holds.
    learning_rate = LearnerSetting()
    learning_starts = LearnerSetting()
    batch_size = LearnerSetting()
    gamma = LearnerSetting()
    tau = LearnerSetting()

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        *,
        memory: MemoryConfig | None = None,
        replay: ReplayConfig | None = None,
        meta: MetaConfig | None = None,
        adapt: AdaptConfig | None = None,
        learner: LearnerConfig | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
        **words: Unpack[Words],
    ) -> None:
        if unknown := [word for word in words if word not in self.words]:
            raise TypeError(
                f"{type(self).__name__} has no setting {', '.join(unknown)}; {ways(unknown, self.configs)}."
            )
        check_device(device)
        if env is None and _init_setup_model:
            raise ValueError(
                f"{type(self).__name__} was given no environment; only `load` can do without one."
            )
        self.memory_config = as_config("memory", MemoryConfig, memory)
        self.meta_config = as_config("meta", MetaConfig, meta)
        self.adapt_config = as_config("adapt", AdaptConfig, adapt)
        self.learner, self.replay_config = in_configs(
            words,
            as_config("learner", LearnerConfig, learner),
            as_config("replay", ReplayConfig, replay),
            getattr(env, "num_envs", 1),
        )
        self.held = Held()
        self.skipped_updates = 0
        self.skipped_in_a_row = 0
        self.steps_since_update = 0
        seen = self.replay_config.window - self.replay_config.burn_in
        if self.learner.prediction_steps >= seen:
            raise ValueError(
                f"prediction_steps is {self.learner.prediction_steps} and a window has {seen} rows after its burn-in; "
                "look less far ahead, or give ReplayConfig more rows."
            )
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]  # None is how `load` builds an agent without environment
            learning_rate=self.learner.learning_rate,
            buffer_size=self.replay_config.capacity,
            learning_starts=self.learner.learning_starts,
            batch_size=self.learner.batch_size,
            tau=self.learner.tau,
            gamma=self.learner.gamma,
            policy_kwargs={name: plain(value) for name, value in (policy_kwargs or {}).items()},
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=int(verbose),  # SB3 takes bools
            device=device,
            support_multi_env=True,
            seed=None if seed is None else index(seed),
            sde_support=False,
        )
        if self.env is not None:
            self._read_layout()
        if _init_setup_model:
            self._setup_model()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name)

    @classmethod
    def check_spaces(cls, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        if not isinstance(action_space, cls.supported_actions):
            raise ValueError(f"{cls.__name__} was given the action space {action_space}; {cls.advice}")
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
            raise ValueError(
                f"{cls.__name__} was given the observation space {observation_space}; expected a one-dimensional Box: "
                + (
                    "no network here reads images, so shrink or encode them by a wrapper, and flatten the rest by "
                    "gymnasium.wrappers.FlattenObservation."
                    if isinstance(observation_space, spaces.Box) and len(observation_space.shape) == 3
                    else "wrap the environment in gymnasium.wrappers.FlattenObservation, and leave texts, graphs and "
                    "sequences out."
                )
            )

    @classmethod
    def _wrap_env(cls, env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """SB3's door for every environment, in the constructor, `set_env` and `load`."""
        if isinstance(env, gym.vector.VectorEnv):
            raise ValueError(
                f"{cls.__name__} was given Gymnasium's {type(env).__name__}, expected an environment or SB3's VecEnv: "
                "take envs.make_vec without api='gymnasium', or SB3's make_vec_env."
            )
        if not isinstance(env, gym.Env | VecEnv):
            raise ValueError(
                f"{cls.__name__} was given {reprlib.repr(env)} as environment, expected an id, a gymnasium.Env or "
                "SB3's VecEnv: of several environments make one, by envs.make_vec or SB3's DummyVecEnv."
            )
        cls.check_spaces(env.observation_space, env.action_space)
        if isinstance(env, gym.Env):
            env = NumberReward(env)
        vec_env = OffPolicyAlgorithm._wrap_env(env, verbose, monitor_wrapper)
        normalizer = unwrap_vec_normalize(vec_env)
        if normalizer is not None and normalizer.observation_space.shape != vec_env.observation_space.shape:
            raise ValueError(
                f"VecNormalize has observations {normalizer.observation_space.shape} and the wrappers around it "
                f"{vec_env.observation_space.shape}; expected the same: put VecNormalize outside of them."
            )
        return vec_env

    def _read_layout(self) -> None:
        """Find where the observation holds what TransitionObservation appends."""
        assert self.env is not None
        layout = transition_layout(self.env)
        scaled = layout is not None and is_scaled(self.env)
        self.transition_layout = None if scaled else layout
        if self.transition_layout is None:
            lacks = (
                "The environment has VecNormalize, which scales what TransitionObservation shows: predict cannot read "
                "the last action off it and does not adapt. Pass norm_obs=False."
                if scaled
                else "The environment has no TransitionObservation: the memory sees neither its last action nor reward "
                "and can hardly identify a hidden condition. Wrap it in envs.TransitionObservation."
            )
            warnings.warn(lacks, stacklevel=4)

    @property
    def lr_schedule(self) -> Schedule:  # type: ignore[override]  # an attribute in SB3
        """The learning rate by the share of training that is left, from 1 to 0; it follows from `learner`."""
        return self.learner.rate_schedule()

    def _setup_model(self) -> None:
        self.set_random_seed(self.seed)
        if self.seed is not None and self.env is not None:
            self.env.seed(lifetime_seed(self.seed))
        if not hasattr(self, "generator"):  # else `load` has put the saved one here
            self.generator = np.random.default_rng(self.seed)
        self.policy = self.make_policy().to(self.device)
        self.train_freq = max(1, int(self.learner.steps_per_update / self.n_envs))
        self._convert_train_freq()
        if getattr(self, "replay_buffer", None) is None:
            self.replay_buffer = self.make_replay()
        self.acting = self.make_acting(self.n_envs)
        if len(getattr(self, "_episodes", ())) != self.n_envs:
            self._episodes = np.zeros(self.n_envs, np.int64)

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            raise ValueError(
                f"{type(self).__name__} was given the policy {policy_name!r}, expected "
                f"{' or '.join(map(repr, self.policy_aliases))}, with memory=MemoryConfig(…)."
            )
        return self.policy_aliases[policy_name]

    def make_policy(self) -> MemoryPolicy:
        """A policy with the weights that training begins from, by the agent's spaces, layout and configs.

        Raises:
            ValueError: the policy is none of this algorithm's.
            TypeError: policy_kwargs has a name that the policy does not take.
        """
        kind = self.policy_aliases["MemoryPolicy"]
        if not issubclass(self.policy_class, kind):
            raise ValueError(
                f"{type(self).__name__} was given the policy {self.policy_class.__name__}, expected {kind.__name__} "
                "or a subclass."
            )
        try:
            return self._made_policy()
        except TypeError as error:
            raise TypeError(
                f"policy_kwargs={self.policy_kwargs} was given ({error}); expected features_dim and head_size, or what "
                "a policy of your own takes: the memory is set by memory=MemoryConfig(…), rates by learner=."
            ) from error

    def _made_policy(self) -> MemoryPolicy:
        policy = self.policy_class(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            memory=self.memory_config,
            adapt=self.adapt_config,
            meta=self.meta_config,
            layout=self.transition_layout,
            reward_scale=self.learner.reward_scale,
            prediction_steps=self.learner.prediction_steps,
            **self.policy_settings() | self.policy_kwargs,
        )
        assert isinstance(policy, MemoryPolicy)
        return policy.float()  # whatever PyTorch's default is: kernels and replay hold float32

    def policy_settings(self) -> dict[str, Any]:
        """Keyword arguments of the policy that follow from the algorithm's own settings."""
        return {}

    def make_replay(self) -> PrioritizedSequenceBuffer:
        assert self.observation_space.shape is not None and self.action_space.shape is not None
        state = self.policy.initial_state(1)
        return PrioritizedSequenceBuffer(
            self.replay_config,
            self.n_envs,
            obs_shape=self.observation_space.shape,
            action_shape=self.action_space.shape,
            action_dtype=np.int64 if isinstance(self.action_space, spaces.Discrete) else np.float32,
            state_spec=[
                (name, tuple(part.shape[1:])) for name, part in zip(state._fields, state, strict=True)
            ],
            seed=self.seed,
        )

    # Checkpoints.

    def save_checkpoint(
        self, folder: str | Path, extra: Mapping[str, Any] | None = None, *, mid_episode: bool = False
    ) -> None:
        """Write all that training goes on with: the agent, its replay, what it carries while acting, random generators.

        Call it between rollouts or after `learn`: in the middle of a step what happened is not stored yet.

        Args:
            folder: a new one, made as a whole or not at all.
            extra: JSON's types, handed back on loading: the environments' state, for one.
            mid_episode: whether whoever loads it puts the environments back into their episodes, by `extra`; else the
                next `learn` resets them.

        Raises:
            ArchiveError: something cannot be said without pickle, or numbers are not finite.
        """
        save_checkpoint(self, Path(folder), extra or {}, mid_episode=mid_episode)

    @classmethod
    def load_checkpoint(
        cls, folder: str | Path, env: GymEnv, device: torch.device | str = "auto", **settings: Any
    ) -> tuple[Self, dict[str, Any]]:
        """The agent as it was, and what was handed to `save_checkpoint` as `extra`; no code in the files is run.

            agent, _ = MemoryDQN.load_checkpoint(folder, env)
            agent.learn(total_timesteps - agent.num_timesteps, reset_num_timesteps=False)

        The process's generators (Python's, NumPy's and PyTorch's) are put where they were, too.

        Args:
            folder, env, device: the checkpoint, as many environments as it had, and where to learn.
            settings: of the constructor, in place of the file's; see `load`.

        Raises:
            ArchiveError: the folder holds no such checkpoint, or it does not fit to what is given.
        """
        return load_checkpoint(cls, Path(folder), env, device, settings)

    # Acting and storing.

    def make_acting(
        self,
        num_envs: int,
        *,
        adapt: bool = True,
        phase_signal: PhaseSignal | None = None,
        sample_with: np.random.Generator | None = None,
    ) -> Acting:
        """A fresh start in `num_envs` environments, from empty memory and context 0.

        Args:
            num_envs: E.
            adapt: whether the context is fitted, where the agent has one; else it stays 0.
            phase_signal: how a change is known of; None: as configured.
            sample_with: samples the actions, where the policy is a distribution; None: the greedy ones.
        """
        return Acting(
            self.policy,
            num_envs,
            self.policy.tracker(phase_signal) if adapt else None,
            memory_scope=self.learner.memory_scope,
            sample_with=sample_with,
        )

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        adapt: bool = True,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """The action, and what is remembered after this observation; see `MemoryPolicy.predict`."""
        return self.policy.predict(observation, state, episode_start, deterministic, adapt)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """As SB3's; in TensorBoard's folder a run is named after the algorithm, unless `tb_log_name` is given."""
        if not math.isfinite(total_timesteps):
            raise ValueError(
                f"learn was given {total_timesteps} steps, expected a number: schedules end with it. A callback may "
                "end the training sooner."
            )
        name = type(self).__name__ if tb_log_name is None else tb_log_name
        return super().learn(total_timesteps, callback, log_interval, name, reset_num_timesteps, progress_bar)

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> Any:
        if self.env is None:
            raise ValueError(f"{type(self).__name__} has no environment; give one by set_env, or to load.")
        resets = reset_num_timesteps or self._last_obs is None
        result = super(OffPolicyAlgorithm, self)._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        assert isinstance(self._last_obs, np.ndarray)
        # An agent that was loaded goes on where it was.
        if self._vec_normalize_env is not None and self._last_original_obs is None:
            self._last_original_obs = self._vec_normalize_env.unnormalize_obs(self._last_obs)
        if resets:  # the environments were reset: another stream begins
            check_finite("observation", self._last_obs, self.num_timesteps)
            self.replay_buffer.seam()
            self.acting.reset()
            self.steps_since_update = 0
        return result

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        count = getattr(env, "num_envs", 1)
        if count != self.n_envs:
            raise ValueError(
                f"set_env was given {count} environments, expected {self.n_envs}; for another number, save the agent "
                f"and give them to {type(self).__name__}.load."
            )
        super().set_env(env, force_reset)


def lifetime_seed(seed: int) -> int:
    """The seed that an agent of seed `seed` gives its environments, for SB3's `VecEnv.seed`.

    SB3 seeds environment i with seed + i, so that with their own ones runs 0, 1, 2, … would share nearly all lifetimes.
    """
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


def check_device(device: torch.device | str) -> None:
    """ValueError for a device that PyTorch cannot use here; SB3 takes the CPU in place of a GPU that is not there."""
    try:
        torch.empty(0, device="cpu" if device == "auto" else device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(
            f'device is {str(device)!r}, which PyTorch cannot use here; give "cpu", or "auto" for a GPU where there '
            "is one."
        ) from error
