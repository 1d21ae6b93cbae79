"""The memory as a Stable-Baselines3 features extractor: encoder -> memory -> projection.

Our own policies carry the state and call `unroll`. A stock SB3 algorithm has no place for a state: it gives `forward` a
window of the last k observations, and the memory starts empty at the window's first one:

    env = VecFrameStack(make_vec_env("Drift/CartPole-v0", n_envs=8), n_stack=8)
    extractor = {"memory": MemoryConfig(memory_size=32), "num_stack": 8, "start_index": start_index(env)}
    PPO("MlpPolicy", env, policy_kwargs={
        "features_extractor_class": MemoryExtractor, "features_extractor_kwargs": extractor
    }).learn(100_000)
"""

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from memagent.memory import MemoryConfig, State, build_memory

DEFAULT_MEMORY = MemoryConfig()


def window_shape(observation_space: spaces.Space, num_stack: int) -> tuple[int, int]:
    """(k, O): the steps of a window and the size of one observation.

    Raises:
        ValueError: the space is no 1-D or 2-D Box, or num_stack does not fit it.
    """
    if num_stack < 1:
        raise ValueError(
            f"num_stack is {num_stack}, expected 1 or more: pass the number of stacked observations."
        )
    shape = observation_space.shape
    if (
        not isinstance(observation_space, spaces.Box)
        or shape is None
        or len(shape) not in (1, 2)
        or 0 in shape
    ):
        raise ValueError(
            f"The observation space is {observation_space}, expected a Box of shape [O], [k * O] or [k, O]: flatten "
            "the observation, for instance with gymnasium's FlattenObservation."
        )
    if len(shape) == 1 and shape[0] % num_stack:
        raise ValueError(
            f"The observation has {shape[0]} numbers, expected a multiple of num_stack={num_stack}: pass the "
            "number of observations that VecFrameStack stacks."
        )
    if len(shape) == 2 and num_stack not in (1, shape[0]):
        raise ValueError(
            f"The observation has {shape[0]} rows, expected num_stack={num_stack}: leave num_stack out, the rows "
            "are the window."
        )
    return (shape[0], shape[1]) if len(shape) == 2 else (num_stack, shape[0] // num_stack)


class MemoryExtractor(BaseFeaturesExtractor):
    """Features [B, D] of a window of observations, or of a sequence with a state that is carried.

    Args:
        observation_space: a Box [O]; [k, O] (Gymnasium's FrameStackObservation, which repeats the first observation
            of an episode); or [k*O] with num_stack=k (SB3's VecFrameStack, which pads with zeros). Oldest first.
        features_dim: D.
        memory: what stands between encoder and projection; its hidden_size is the encoder's width too.
        num_stack: k, the observations in a flat window.
        start_index: the column of an observation that is 1 at the first step of an episode and 0 after it
            (`memagent.layout.start_index` reads it from the environment). The memory resets there, so that neither
            padding nor an earlier episode in the window leaves a trace. Must reach the extractor unscaled. None: there
            is no such column, and padding and earlier episodes count as observations.
        context_dim: Z, numbers that `unroll` is told beside each observation; `forward` tells zeros. With them the
            features begin as those of an agent without memory, by a shortcut past it, and the memory's part begins at
            zero: a memory learns more slowly than a context, and would hold its use back.

    Raises:
        ValueError: the observation space, num_stack or start_index do not fit together.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        features_dim: int = 128,
        memory: MemoryConfig = DEFAULT_MEMORY,
        num_stack: int = 1,
        start_index: int | None = None,
        context_dim: int = 0,
    ) -> None:
        if features_dim < 1:
            raise ValueError(
                f"features_dim is {features_dim}, expected 1 or more: pass the number of features."
            )
        super().__init__(observation_space, features_dim)
        self.num_stack, self.observation_dim = window_shape(observation_space, num_stack)
        if start_index is not None and not -self.observation_dim <= start_index < self.observation_dim:
            raise ValueError(
                f"start_index is {start_index}, expected a column of an observation of {self.observation_dim} "
                "numbers: pass the column of the episode-start flag, or None if there is none."
            )
        self.start_index = start_index
        self.context_dim = context_dim
        self.encoder = nn.Sequential(
            nn.Linear(self.observation_dim + context_dim, memory.hidden_size), nn.ReLU()
        )
        self.memory = build_memory(memory, memory.hidden_size)
        self.project = nn.Linear(self.memory.output_dim, features_dim)
        self.shortcut: nn.Module | None = None
        if context_dim and memory.kind != "none":
            width = memory.hidden_size
            self.shortcut = nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, features_dim, bias=False)
            )
            nn.init.zeros_(self.project.weight)

    def initial_state(self, batch_size: int) -> State:
        """The empty memory of batch_size sequences."""
        return self.memory.initial_state(batch_size)

    def unroll(self, x: Tensor, start: Tensor, state: State) -> tuple[Tensor, State]:
        """Features of a sequence.

        Args:
            x: observations, each with its context behind it, [T, B, O + Z].
            start: [T, B] bool; start[t, b] empties the memory of sequence b before step t.
            state: the memory before step 0.

        Returns:
            features [T, B, D] and the memory after the last step.
        """
        encoded = self.encoder(x)
        y, state = self.memory(encoded, start, state)
        features = self.project(y)
        if self.shortcut is not None:
            features = features + self.shortcut(encoded)
        return features.relu(), state

    def forward(self, observations: Tensor) -> Tensor:
        """Features [B, D] of the newest observation of each window, [B, k, O] or [B, k*O]; the memory starts empty."""
        B = observations.shape[0]
        x = observations.reshape(B, self.num_stack, self.observation_dim).transpose(0, 1)  # [k, B, O]
        if self.start_index is None:
            start = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        else:
            start = x[..., self.start_index] > 0.5
        if self.context_dim:
            x = torch.cat((x, x.new_zeros(*x.shape[:2], self.context_dim)), -1)
        features, _ = self.unroll(x, start, self.initial_state(B))
        return features[-1]
