"""Policies: one memory, heads on its features, and SB3's `predict(obs, state, episode_start)`.

A policy is weights and pure functions of them. The state of the memory goes in and comes out; adapted head
parameters, where an agent has them, are passed in.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn
from torch.func import functional_call, vmap

from memagent.extractor import MemoryExtractor
from memagent.heads import ActorCriticHeads, DuelingHead, PredictionHead
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig, MetaLearner
from memagent.targets import squashed_sample

HeadParams = dict[str, Tensor]


class MemoryPolicy(BasePolicy, ABC):
    """A memory, the heads that adapt, their slow copies for targets, and a prediction head.

    Args:
        observation_space: one-dimensional Box.
        action_space: what the heads act in.
        lr_schedule: SB3's schedule of the learning rate.
        memory: which memory, and its sizes.
        features_dim: D, size of the features the heads see.
        head_size: hidden units of each head.
        change_dim: C, size of the change of the observation that the prediction head predicts; None: all of it.
        prediction_steps: k, the actions that it is told.
        meta: the inner loop that adapts the heads.
        start_index: where the observation holds its episode-start flag, None where it holds none.
    """

    features_extractor: MemoryExtractor

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        memory: MemoryConfig | None = None,
        features_dim: int = 128,
        head_size: int = 128,
        change_dim: int | None = None,
        prediction_steps: int = 1,
        start_index: int | None = -1,
        meta: MetaConfig | None = None,
    ) -> None:
        extractor_kwargs: dict[str, Any] = {
            "features_dim": features_dim,
            "memory": memory or MemoryConfig(),
            "start_index": start_index,
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
        self.prediction = PredictionHead(
            features_dim,
            prediction_steps * spaces.flatdim(action_space),
            change_dim or observation_space.shape[0],
            head_size,
        )
        self.meta = MetaLearner(self.head_params(), meta)
        self.optimizer = torch.optim.Adam(
            [
                {"params": self.online_parameters(), "lr": lr_schedule(1.0)},
                {"params": list(self.meta.parameters()), "lr": self.meta.config.lr_lr},
            ],
            eps=1e-5,
            fused=True,
        )

    @abstractmethod
    def make_heads(self) -> nn.Module:
        """The heads on the features: one module, whose parameters are what adapts."""

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
        """What the learning rate moves: memory, heads and prediction head; not target heads and inner rates."""
        return [p for m in (self.features_extractor, self.heads, self.prediction) for p in m.parameters()]

    def head_params(self) -> HeadParams:
        """The heads' parameters by name: the meta-parameters that adaptation starts from."""
        return dict(self.heads.named_parameters())

    def apply_heads(self, params: Mapping[str, Tensor], features: Tensor) -> Any:
        """The heads with the given parameters on features [..., D]."""
        return functional_call(self.heads, dict(params), (features,))

    def apply_heads_each(self, params: Mapping[str, Tensor], features: Tensor) -> Any:
        """Heads with parameters of their own for every row: params [B, ...], features [B, D]."""
        return vmap(self.apply_heads)(dict(params), features)

    def initial_state(self, batch_size: int) -> Any:
        """The empty memory of `batch_size` sequences."""
        return self.features_extractor.initial_state(batch_size)

    def unroll(self, obs: Tensor, start: Tensor, state: Any) -> tuple[Tensor, Any]:
        """obs [T, B, O], start [T, B] bool -> features [T, B, D] and the state after them."""
        return self.features_extractor.unroll(obs, start, state)

    def advance(self, obs: np.ndarray, start: np.ndarray, state: Any) -> tuple[Tensor, Any]:
        """One step without gradient: obs [E, O], start [E] -> features [E, D] and the next state."""
        with torch.no_grad():
            x = torch.as_tensor(obs, dtype=torch.float32, device=self.device)
            features, state = self.unroll(x[None], torch.as_tensor(start, device=self.device)[None], state)
        return features[0], state

    def actions(
        self,
        features: Tensor,
        params: Mapping[str, Tensor] | None = None,
        noise: Tensor | None = None,
    ) -> np.ndarray:
        """Actions [E, ...] in the units of the action space, for features [E, D].

        Args:
            features: what the heads see.
            params: heads of each environment, [E, ...]; None: the policy's own.
            noise: what the actions are sampled with, [E, noise_dim]; None: the greedy ones.
        """
        with torch.no_grad():
            output = self.heads(features) if params is None else self.apply_heads_each(params, features)
            plain = self._chosen(output, noise).cpu().numpy()
        return self.unscale_action(plain) if isinstance(self.action_space, spaces.Box) else plain

    def scaled(self, actions: np.ndarray) -> np.ndarray:
        """Actions in the units of the action space as the heads take them: a Box in [-1, 1], indices as they are."""
        return self.scale_action(actions) if isinstance(self.action_space, spaces.Box) else actions

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        """The action of a first step; `predict` carries memory, this is SB3's stateless hook."""
        features = self.features_extractor(observation)
        return self._chosen(self.heads(features), self._noise(len(features), deterministic))

    def _chosen(self, heads_output: Any, noise: Tensor | None) -> Tensor:
        """Sampled actions with the noise, greedy ones without."""
        return self.greedy(heads_output) if noise is None else self.sampled(heads_output, noise)

    def _noise(self, count: int, deterministic: bool) -> Tensor | None:
        """SB3's `deterministic` as noise [count, noise_dim] from PyTorch's generator, or none."""
        return None if deterministic else torch.randn(count, self.noise_dim, device=self.device)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """The action, and the memory after this observation.

        The result depends on the weights and on these arguments alone, sampled actions on PyTorch's generator too:
        random exploration and adaptation belong to learning and to the evaluation protocol.

        Args:
            observation: [O] or [E, O].
            state: what the last call returned; None for an empty memory.
            episode_start: [E] bool, where the memory is emptied first; None: nowhere.
            deterministic: the greedy action; else one sampled from the policy, where it is a distribution
                (`MemoryActorCriticPolicy`), as in SB3.

        Returns:
            Actions [E, ...] (no E for a single observation) and the state, a tuple of arrays with leading E.
        """
        self.set_training_mode(False)
        if isinstance(observation, dict):
            raise ValueError(
                "predict was given a dict; expected an array [O] or [E, O] (flatten the observation)."
            )
        obs = np.asarray(observation, dtype=np.float32)
        assert self.observation_space.shape is not None
        batched = obs.ndim > len(self.observation_space.shape)
        obs = obs if batched else obs[None]
        memory = self.initial_state(len(obs))
        if state is not None:
            memory = type(memory)(*(torch.as_tensor(s, device=self.device) for s in state))
        start = (
            np.zeros(len(obs), bool) if episode_start is None else np.asarray(episode_start, bool).reshape(-1)
        )
        features, memory = self.advance(obs, start, memory)
        actions = self.actions(features, noise=self._noise(len(obs), deterministic))
        return actions if batched else actions[0], tuple(s.cpu().numpy() for s in memory)


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
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.optimizer.add_param_group({"params": [self.log_temperature], "lr": temperature_rate})

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

    def actor(self, params: Mapping[str, Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
        """The actor with the given head parameters: features [..., D] -> mean and log-std [..., A]."""
        return functional_call(self.heads.actor, _part(params, "actor"), (features,))

    def critics(self, params: Mapping[str, Tensor], features: Tensor, action: Tensor) -> Tensor:
        """The critics with the given head parameters: features [..., D], actions [..., A] -> [..., 2]."""
        return functional_call(self.heads.critics, _part(params, "critics"), (features, action))


def _part(params: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The parameters of one submodule, under the names it knows them by."""
    return {k.removeprefix(f"{name}."): p for k, p in params.items() if k.startswith(f"{name}.")}
