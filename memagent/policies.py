"""Policies: one memory, heads on its features, and SB3's `predict(obs, state, episode_start)`.

A policy is weights and pure functions of them. The state of the memory goes in and comes out; the context that memory
and heads are told is passed in.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import is_vectorized_observation
from torch import Tensor, nn
from torch.nn import functional

from memagent.belief import Belief, BeliefTracker
from memagent.context import AdaptConfig, ContextModel, PhaseSignal
from memagent.detector import Detector
from memagent.dynamics import run_size
from memagent.extractor import MemoryExtractor
from memagent.heads import ActorCriticHeads, DuelingHead, PredictionHead
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig
from memagent.saved_policy import load_policy, save_policy
from memagent.sb3_names import no_attribute
from memagent.targets import squashed_sample


class MemoryPolicy(BasePolicy, ABC):
    """A memory, heads, their slow copies for targets, a prediction head, and the model that contexts are fitted with.

    Args:
        observation_space: one-dimensional Box.
        action_space: what the heads act in.
        lr_schedule: SB3's schedule of the learning rate.
        memory: which memory, and its sizes.
        features_dim: D, size of the features the heads see.
        head_size: hidden units of each head.
        layout: where the observation holds the parts that TransitionObservation gives it; None: it holds none, and
            `predict` cannot see what its actions did.
        reward_scale: factor on rewards before they are predicted.
        prediction_steps: k, the actions that it is told.
        adapt: the context vector; None, or not enabled: there is none.
        meta: the inner loop that fits it.
    """

    features_extractor: MemoryExtractor
    context_model: ContextModel | None

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        memory: MemoryConfig | None = None,
        features_dim: int = 128,
        head_size: int = 128,
        layout: Mapping[str, tuple[int, int]] | None = None,
        reward_scale: float = 1.0,
        prediction_steps: int = 1,
        adapt: AdaptConfig | None = None,
        meta: MetaConfig | None = None,
    ) -> None:
        adapt = adapt if adapt is not None and adapt.enabled else None
        extractor_kwargs: dict[str, Any] = {
            "features_dim": features_dim,
            "memory": memory or MemoryConfig(),
            "start_index": layout["start"][0] if layout else None,
            "context_dim": adapt.context_dim if adapt else 0,
        }
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class=MemoryExtractor,
            features_extractor_kwargs=extractor_kwargs,
            squash_output=isinstance(action_space, spaces.Box),
        )
        assert observation_space.shape is not None
        self.features_extractor = MemoryExtractor(observation_space, **extractor_kwargs)
        self.features_dim, self.head_size = features_dim, head_size
        self.heads = self.make_heads()
        self.target_heads = self.make_heads().requires_grad_(False)
        self.target_heads.load_state_dict(self.heads.state_dict())
        action_dim = spaces.flatdim(action_space)
        self.layout, self.reward_scale = layout, reward_scale
        change_dim = layout["change"][1] - layout["change"][0] if layout else observation_space.shape[0]
        self.prediction = PredictionHead(features_dim, prediction_steps * action_dim, change_dim, head_size)
        shown = (layout or {}).get("observation", (0, observation_space.shape[0]))
        self.shown = slice(
            *shown
        )  # what the environment itself shows, without what is appended where that is known
        self.step_dims = (shown[1] - shown[0], action_dim, change_dim + 1)
        self._given = {
            "lr_schedule": lr_schedule,
            "memory": extractor_kwargs["memory"],
            "features_dim": features_dim,
            "head_size": head_size,
            "layout": layout,
            "reward_scale": reward_scale,
            "prediction_steps": prediction_steps,
            "adapt": adapt,
            "meta": meta,
        }
        learned = self.online_parameters()
        groups: list[dict[str, Any]] = [{"params": learned, "factor": 1.0}]
        self.adapt, self.context_model, self.detector = adapt, None, None
        if adapt:
            rows = run_size(self.step_dims, adapt.steps_ahead, adapt.history)
            steps = run_size(self.step_dims, 1, adapt.evidence_history)
            self.context_model = ContextModel(rows, change_dim + 1, adapt, meta)
            self.detector = Detector(steps, change_dim + 1, adapt.context_dim, adapt.hidden_size)
            model, loop = self.context_model.model, self.context_model.meta
            learned += [*model.parameters(), *self.detector.parameters()]
            groups.append({"params": list(loop.parameters()), "factor": loop.config.lr_lr / lr_schedule(1.0)})
        self.optimizer = torch.optim.Adam(groups, eps=1e-5, fused=True)
        self.set_learning_rate(lr_schedule(1.0))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            raise no_attribute(self, name) from None

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """What the constructor was given, by name; a subclass adds what its own takes."""
        return {"observation_space": self.observation_space, "action_space": self.action_space, **self._given}

    def save(self, path: str | Path) -> None:
        """Write the weights, and what the constructor was given, without pickle; SB3's own pickles them.

        Raises:
            ArchiveError: something cannot be said without pickle, or weights are not finite.
        """
        save_policy(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "auto") -> Self:
        """Read what `save` wrote; no code in the file is run.

        Raises:
            ArchiveError: a ValueError that says why the file does not hold such a policy.
        """
        return load_policy(cls, Path(path), device)

    @abstractmethod
    def make_heads(self) -> nn.Module:
        """The heads on the features: one module."""

    @property
    def noise_dim(self) -> int:
        """How many standard normal numbers a sampled action is made of; 0 where none is sampled."""
        return 0

    @abstractmethod
    def greedy(self, heads_output: Any) -> Tensor:
        """The best action by the heads' output [B, ...] -> [B, *action shape], scaled to [-1, 1] in a Box."""

    def sampled(self, heads_output: Any, noise: Tensor) -> Tensor:
        """Actions like `greedy`'s, drawn with `noise` [B, noise_dim] from N(0, 1); the greedy ones where none are."""
        return self.greedy(heads_output)

    def draw_noise(self, generator: np.random.Generator, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers [*shape, noise_dim] to sample actions with: as data, so that losses stay pure."""
        noise = generator.standard_normal((*shape, self.noise_dim), np.float32)
        return torch.from_numpy(noise).to(self.device)

    def online_parameters(self) -> list[nn.Parameter]:
        """What values, actions and prediction train: memory, heads and prediction head."""
        return [p for m in (self.features_extractor, self.heads, self.prediction) for p in m.parameters()]

    def clipped_apart(self) -> dict[str, list[nn.Parameter]]:
        """The parameters whose gradients are clipped together, by the name of their norm in the log."""
        parts = {"grad_norm": self.online_parameters()}
        if self.context_model is not None:
            parts["model_grad_norm"] = list(self.context_model.parameters())
        if self.detector is not None:
            parts["detector_grad_norm"] = list(self.detector.parameters())
        return parts

    @torch.no_grad()
    def follow(self, tau: float) -> None:
        """Move the target heads by the share tau towards the heads."""
        for target, online in zip(self.target_heads.parameters(), self.heads.parameters(), strict=True):
            target.lerp_(online, tau)

    def set_learning_rate(self, rate: float) -> None:
        """Give memory, heads and dynamics model this rate, inner rates a multiple; the temperature keeps its own."""
        for group in self.optimizer.param_groups:
            if group["factor"] is not None:
                group["lr"] = group["factor"] * rate

    @property
    def context_dim(self) -> int:
        """Z, numbers in the context that memory and heads are told; 0 without adaptation."""
        return self.features_extractor.context_dim

    def initial_state(self, batch_size: int) -> Any:
        """The empty memory of `batch_size` sequences."""
        return self.features_extractor.initial_state(batch_size)

    def unroll(self, obs: Tensor, context: Tensor, start: Tensor, state: Any) -> tuple[Tensor, Any]:
        """obs [T, B, O], context [T, B, Z], start [T, B] bool -> features [T, B, D] and the state after them."""
        return self.features_extractor.unroll(torch.cat((obs, context), -1), start, state)

    def advance(
        self, obs: np.ndarray, start: np.ndarray, state: Any, context: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """One step without gradient: obs [E, O], start [E] -> features [E, D] and the next state.

        `context` is [E, Z]; None: zeros, as where nothing is known.
        """
        with torch.no_grad():
            x = torch.as_tensor(obs, dtype=torch.float32, device=self.device)
            told = x.new_zeros(len(x), self.context_dim) if context is None else context
            starts = torch.as_tensor(start, device=self.device)
            features, state = self.unroll(x[None], told[None], starts[None], state)
        return features[0], state

    def actions(self, features: Tensor, noise: Tensor | None = None) -> np.ndarray:
        """Actions [E, ...] in the units of the action space, for features [E, D].

        Args:
            features: what the heads see.
            noise: what the actions are sampled with, [E, noise_dim]; None: the greedy ones.
        """
        with torch.no_grad():
            plain = self._chosen(self.heads(features), noise).cpu().numpy()
        return self.unscale_action(plain)

    def scale_action(self, action: np.ndarray) -> np.ndarray:
        """Actions in the units of the action space as the heads take them: a Box in [-1, 1], Discrete ones from 0."""
        if isinstance(self.action_space, spaces.Discrete):
            return action - self.action_space.start
        low, high = _bounds(self.action_space)
        return (2.0 * (action - low) / (high - low) - 1.0).astype(np.float32)

    def unscale_action(self, scaled_action: np.ndarray) -> np.ndarray:
        """The reverse: elements of the action space to the last bit, the nearest where it holds whole numbers."""
        if isinstance(self.action_space, spaces.Discrete):
            return (scaled_action + self.action_space.start).astype(self.action_space.dtype)
        low, high = _bounds(self.action_space)
        exact = low + 0.5 * (scaled_action.astype(np.float64) + 1.0) * (high - low)
        if np.issubdtype(self.action_space.dtype, np.integer):
            exact = exact.round()
        return exact.clip(low, high).astype(self.action_space.dtype)

    def as_vectors(self, actions: Tensor) -> Tensor:
        """Actions as the heads take them, [..., *A], as vectors [..., A]: one-hot where they are discrete."""
        if isinstance(self.action_space, spaces.Discrete):
            return functional.one_hot(actions.long(), int(self.action_space.n)).float()
        return (
            actions.flatten(-len(self.action_space.shape)) if self.action_space.shape else actions[..., None]
        )

    def action_vectors(self, actions: np.ndarray) -> np.ndarray:
        """Actions [E, *A] in the units of the action space as vectors [E, A]."""
        return self.as_vectors(torch.from_numpy(np.asarray(self.scale_action(actions)))).numpy()

    def last_step(
        self,
        obs: np.ndarray,
        before: np.ndarray,
        action: np.ndarray | None = None,
        reward: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The step to the observations `obs` [E, O]: what is shown after it, its action as a vector, what happened.

        The latter two are read off `obs` where it holds them; `before`, what was shown before the step, and `action`
        [E, *A] and `reward` [E], in the environment's units, are for where it does not.

        Returns:
            What the environment itself shows, [E, O']; the action [E, A]; the change of the observation and the reward
            as models predict it, [E, C + 1].
        """
        shown = obs[:, self.shown]
        if self.layout is not None:
            change, vector, paid = (obs[:, slice(*self.layout[p])] for p in ("change", "action", "reward"))
            if isinstance(self.action_space, spaces.Box):
                vector = self.scale_action(vector.reshape(-1, *self.action_space.shape)).reshape(len(obs), -1)
        elif action is None or reward is None:  # no step yet
            change, vector, paid = (
                np.zeros_like(shown),
                np.zeros((len(obs), self.step_dims[1])),
                np.zeros((len(obs), 1)),
            )
        else:
            change, vector, paid = shown - before, self.action_vectors(action), reward[:, None]
        paid = self.modelled_reward(self.reward_scale * paid)
        return shown, vector, np.concatenate((change, paid), -1, dtype=np.float32)

    def modelled_reward(self, reward: np.ndarray) -> np.ndarray:
        """Scaled rewards of any shape as dynamics model and detector predict them; see `AdaptConfig.reward_unit`."""
        unit = self.adapt.reward_unit if self.adapt else None
        return reward if unit is None else np.arcsinh(reward / np.float32(unit))

    def tracker(self, phase_signal: PhaseSignal | None = None) -> BeliefTracker | None:
        """What follows a stream's phases and fits their contexts; None where there is no context.

        Args:
            phase_signal: how it knows of a change; None: as configured.
        """
        if self.context_model is None or self.detector is None or self.adapt is None:
            return None
        config = replace(self.adapt, phase_signal=phase_signal or self.adapt.phase_signal)
        return BeliefTracker(self.context_model, self.detector, config, self.step_dims)

    def follow_peaks(self, peaks: np.ndarray, stage: np.ndarray) -> None:
        """Let the detector follow the evidence of training's steps; see `Detector.observe_peaks`."""
        if self.detector is not None and self.adapt is not None:
            ends_phases = self.adapt.phase_signal == "detect"
            self.detector.observe_peaks(peaks, stage, self.adapt.false_alarms if ends_phases else None)

    def forward(self, observation: Tensor, deterministic: bool = True) -> Tensor:
        """The actions of a first step as the heads give them, as SB3's policies do; `predict` has memory and units."""
        return self._predict(observation, deterministic)

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        """SB3's stateless hook."""
        features = self.features_extractor(observation)
        return self._chosen(self.heads(features), self._noise(len(features), deterministic))

    def _chosen(self, heads_output: Any, noise: Tensor | None) -> Tensor:
        """Sampled actions with the noise, greedy ones without."""
        return self.greedy(heads_output) if noise is None else self.sampled(heads_output, noise)

    def _noise(self, count: int, deterministic: bool) -> Tensor | None:
        """SB3's `deterministic` as noise [count, noise_dim] from PyTorch's generator, or none."""
        if deterministic:
            return None
        return torch.randn(count, self.noise_dim, dtype=torch.float32, device=self.device)

    @torch.inference_mode(False)  # in the caller's inference mode no context could be fitted
    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        adapt: bool = True,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """The action, and what is remembered after this observation: the memory, and the belief about the plant.

        The result depends on the weights and on these arguments alone, sampled actions on PyTorch's generator too. What
        the last action did is read off the observation, so that a loop of `predict` adapts, and notices by itself where
        the plant changes (`memagent.belief`; not with `phase_signal="none"`).

        Args:
            observation: [O] or [E, O].
            state: what the last call returned; None where nothing is remembered.
            episode_start: [E] bool, where the memory is emptied first; None: nowhere. The belief outlives the episode.
            deterministic: the greedy action; else one sampled from the policy, where it is a distribution
                (`MemoryActorCriticPolicy`), as in SB3.
            adapt: fit the context to what happens; else it is 0, and the state is the memory alone.

        Returns:
            Actions, an array [E, ...] (no E for a single observation) and the state, a tuple of arrays with leading E.

        Raises:
            ValueError: the observation is not of the space's shape, the episode starts are not as many, or the state is
                none that such a call returns.
        """
        self.set_training_mode(False)
        if isinstance(observation, dict | tuple):
            raise ValueError(
                f"predict was given a {type(observation).__name__}, expected an array [O] or [E, O]: flatten a dict, "
                "and of what Gymnasium's reset returns give the observation alone."
            )
        obs = np.asarray(observation, dtype=np.float32)
        batched = is_vectorized_observation(obs, self.observation_space)
        obs = obs if batched else obs[None]
        start = np.zeros(len(obs), bool)
        if episode_start is not None:
            start = np.asarray(episode_start, bool).reshape(-1)
            if len(start) != len(obs):
                raise ValueError(
                    f"predict was given {len(start)} episode starts and {len(obs)} observations; give one for each."
                )
        tracker = self._adapting(adapt)
        memory, belief = self._remembered(state, len(obs), tracker)
        context = None
        if tracker is not None and belief is not None:
            step = self.last_step(obs, belief.obs)
            goes_on = ~start if state is not None else np.zeros(len(obs), bool)
            start = start | tracker.observe(belief, *step, goes_on=goes_on).alarm
            context = torch.from_numpy(belief.context).to(self.device)
        features, memory = self.advance(obs, start, memory, context)
        actions = self.actions(features, noise=self._noise(len(obs), deterministic))
        kept = (*(part.cpu().numpy() for part in memory), *(belief or ()))
        return actions if batched else actions.squeeze(0), kept

    def _adapting(self, asked: bool) -> BeliefTracker | None:
        """What moves the belief of `predict` on; None where it holds none."""
        told_nothing = self.adapt is not None and self.adapt.phase_signal == "none"
        tracker = self.tracker("none" if told_nothing else "detect") if asked else None
        if tracker is None:
            return None
        if self.layout is None:
            warnings.warn(
                "predict cannot adapt: the observation does not show what the last action did. Wrap the environment in "
                "envs.TransitionObservation before training, or pass adapt=False.",
                stacklevel=4,
            )
            return None
        return tracker

    def _remembered(
        self, state: Sequence[np.ndarray] | None, count: int, tracker: BeliefTracker | None
    ) -> tuple[Any, Belief | None]:
        """Memory and belief of `count` sequences out of a state of `predict`; the latter in arrays of its own."""
        memory, belief = self.initial_state(count), tracker.empty(count) if tracker else None
        if state is None:
            return memory, belief
        parts, own = len(memory), (*memory, *(belief or ()))
        shapes = [tuple(np.shape(part)) for part in state]
        expected = [tuple(part.shape) for part in own]
        if shapes != expected:
            raise ValueError(
                f"predict was given a state with parts of shapes {shapes}; expected {expected}: pass what the last "
                "call returned, for as many observations and with the same `adapt`, or None to begin anew."
            )
        pairs = list(zip(own, state, strict=True))
        memory = type(memory)(
            *(torch.as_tensor(x, dtype=like.dtype, device=self.device) for like, x in pairs[:parts])
        )
        return memory, belief and Belief(*(np.array(x, like.dtype) for like, x in pairs[parts:]))


def _bounds(space: spaces.Space) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest elements of a Box, in float64, which holds those of every other type."""
    assert isinstance(space, spaces.Box)
    return space.low.astype(np.float64), space.high.astype(np.float64)


class MemoryQPolicy(MemoryPolicy):
    """Q values of a discrete action space from one dueling head."""

    action_space: spaces.Discrete

    def make_heads(self) -> DuelingHead:
        """A dueling head, [..., D] -> [..., A]."""
        return DuelingHead(self.features_dim, int(self.action_space.n), self.head_size)

    def greedy(self, heads_output: Tensor) -> Tensor:
        """argmax over the Q values [B, A] -> [B]."""
        return heads_output.argmax(-1)


class MemoryActorCriticPolicy(MemoryPolicy):
    """A squashed Gaussian actor and twin critics for a bounded Box of actions, and the temperature between them.

    Args:
        temperature: what the temperature starts from.
        temperature_rate: Adam's rate for its logarithm.
        args, kwargs: as in `MemoryPolicy`.
    """

    action_space: spaces.Box
    heads: ActorCriticHeads
    target_heads: ActorCriticHeads

    def __init__(
        self, *args: Any, temperature: float = 0.1, temperature_rate: float = 1e-3, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._given |= {"temperature": temperature, "temperature_rate": temperature_rate}
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.optimizer.add_param_group(
            {"params": [self.log_temperature], "lr": temperature_rate, "factor": None}
        )

    @property
    def noise_dim(self) -> int:
        return spaces.flatdim(self.action_space)

    def make_heads(self) -> ActorCriticHeads:
        """An actor, [..., D] -> twice [..., A], and critics beside it."""
        return ActorCriticHeads(self.features_dim, self.noise_dim, self.head_size)

    def greedy(self, heads_output: tuple[Tensor, Tensor]) -> Tensor:
        """The squashed mean of the actor's output."""
        mean, _ = heads_output
        return mean.tanh().reshape(-1, *self.action_space.shape)

    def sampled(self, heads_output: tuple[Tensor, Tensor], noise: Tensor) -> Tensor:
        """The squashed draw from the actor's normal distribution."""
        actions, _ = squashed_sample(*heads_output, noise)
        return actions.reshape(-1, *self.action_space.shape)

    def still_critics(self, features: Tensor, action: Tensor) -> Tensor:
        """The critics, out of reach of the gradient: features [..., D], actions [..., A] -> [..., 2]."""
        critics = self.heads.critics.requires_grad_(False)
        try:
            return critics(features, action)
        finally:
            critics.requires_grad_()
