"""Heads on the memory's features: Q values, an actor with twin critics, and the prediction of what a step does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from stable_baselines3.common.torch_layers import create_mlp
from torch import Tensor, nn


def mlp(inputs: int, hidden_sizes: Sequence[int], outputs: int, layer_norm: bool = False) -> nn.Sequential:
    """[..., inputs] -> [..., outputs], rectified units between, with layer norm before them if asked for."""
    norm: list[type[nn.Module]] = [nn.LayerNorm] if layer_norm else []
    return nn.Sequential(*create_mlp(inputs, outputs, list(hidden_sizes), post_linear_modules=norm))


class DuelingHead(nn.Module):
    """Q(features, ·) as value plus centred advantages (Wang et al. 2016, eq. 9)."""

    def __init__(self, features_dim: int, num_actions: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features_dim, hidden_size)
        self.value = nn.Linear(hidden_size, 1)
        self.advantage = nn.Linear(hidden_size, num_actions)

    def forward(self, features: Tensor) -> Tensor:
        """[..., D] -> [..., A]."""
        z = torch.relu(self.hidden(features))
        advantage = self.advantage(z)
        return self.value(z) + advantage - advantage.mean(-1, keepdim=True)


class GaussianActor(nn.Module):
    """Mean and log standard deviation of the action before it is squashed, the latter within [-4, 1]."""

    LOG_STD = (-4.0, 1.0)

    def __init__(self, features_dim: int, action_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.net = mlp(features_dim, (hidden_size, hidden_size), 2 * action_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[..., D] -> [..., A] and [..., A]."""
        mean, spread = self.net(features).chunk(2, -1)
        low, high = self.LOG_STD
        return mean, low + 0.5 * (high - low) * (1.0 + spread.tanh())


class TwinCritics(nn.Module):
    """Two values of an action, of which the smaller is believed (Fujimoto et al. 2018).

    Their hidden layers have layer norm (Hiraoka et al. 2022, Dropout Q-Functions for Doubly Efficient Reinforcement
    Learning; no dropout here).
    """

    def __init__(self, features_dim: int, action_dim: int, hidden_size: int) -> None:
        super().__init__()
        inputs, hidden = features_dim + action_dim, (hidden_size, hidden_size)
        self.first, self.second = (mlp(inputs, hidden, 1, layer_norm=True) for _ in range(2))

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """Features [..., D] and actions in [-1, 1], [..., A] -> [..., 2]."""
        x = torch.cat((features, action), -1)
        return torch.cat((self.first(x), self.second(x)), -1)


class ActorCriticHeads(nn.Module):
    """An actor and twin critics side by side on the same features: what adapts, together."""

    def __init__(self, features_dim: int, action_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.actor = GaussianActor(features_dim, action_dim, hidden_size)
        self.critics = TwinCritics(features_dim, action_dim, hidden_size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The actor's output: what acting needs."""
        return self.actor(features)


class PredictionHead(nn.Module):
    """What the next k steps do to the observation and what they pay, from features and the k actions.

    Its loss is what makes the memory identify the plant: without it the value loss alone rarely does.
    """

    def __init__(self, features_dim: int, action_dim: int, change_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.net = mlp(features_dim + action_dim, (hidden_size,), change_dim + 1)

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """Features [..., D] and actions as vectors [..., k A] -> change of the observation and reward [..., C + 1]."""
        return self.net(torch.cat((features, action), -1))
