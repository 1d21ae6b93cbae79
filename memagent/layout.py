"""Where an observation holds what `envs.TransitionObservation` appends: read from the environment, never guessed."""

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper

Layout = dict[str, tuple[int, int]]


def transition_layout(env: VecEnv) -> Layout | None:
    """The parts of the newest observation, as columns (from, to) of what env shows; None where it appends none.

    Raises:
        ValueError: the environment names parts that do not fit its observation.
    """
    layout = _layout_of_one(env)
    if layout is None:
        return None
    older = (_stacked(env) - 1) * _size(layout)
    return {name: (older + begin, older + end) for name, (begin, end) in layout.items()}


def start_index(env: VecEnv) -> int | None:
    """The column of one observation that is 1 at an episode's first step, for `MemoryExtractor`; None: there is none.

    Raises:
        ValueError: env is no VecEnv, names parts that do not fit its observation, or scales the flag.
    """
    if not isinstance(env, VecEnv):
        raise ValueError(
            f"start_index was given {env}, expected SB3's VecEnv: make one of it by DummyVecEnv."
        )
    layout = _layout_of_one(env)
    if layout is None:
        return None
    if is_scaled(env):
        raise ValueError(
            "The environment has VecNormalize, which scales the start flag of TransitionObservation; pass "
            "norm_obs=False, or start_index=None to the extractor."
        )
    return layout["start"][0]


def is_scaled(env: VecEnv) -> bool:
    """Whether VecNormalize scales the observation, and so whatever parts of it have a meaning."""
    return any(isinstance(layer, VecNormalize) and layer.norm_obs for layer in _layers(env))


def refuse_contradiction(layout: Layout, obs: NDArray, action: NDArray, reward: NDArray) -> None:
    """Compare what observations [E, O] show of the last step with its actions [E, A] and rewards [E].

    Raises:
        ValueError: they show other ones.
    """
    for name, did in (("action", action), ("reward", reward[:, None])):
        shown = obs[:, slice(*layout[name])]
        wrong = np.abs(shown - did) > 1e-3 * (0.01 + np.abs(did))
        if wrong.any():
            env = int(wrong.any(-1).argmax())
            raise ValueError(
                f"TransitionObservation shows the {name} {shown[env]} of a step whose {name} was {did[env]}: put it "
                "outside the wrappers that change actions, rewards or observations; envs.make_vec(wrappers=…) does."
            )


def _layout_of_one(env: VecEnv) -> Layout | None:
    if not env.has_attr("transition_layout"):
        return None
    layout: Layout = env.get_attr("transition_layout", indices=0)[0]
    shape, expected = env.observation_space.shape, _stacked(env) * _size(layout)
    if not shape or shape[-1] != expected:
        raise ValueError(
            f"The environment's transition_layout fits observations of {expected} numbers, and its observation space "
            f"is {env.observation_space}: put TransitionObservation outside the wrappers that change the observation."
        )
    return layout


def _size(layout: Layout) -> int:
    return max(end for _, end in layout.values())


def _stacked(env: VecEnv) -> int:
    """How many observations, oldest first, lie side by side in one."""
    stacked = 1
    for layer in _layers(env):
        if isinstance(layer, VecFrameStack):
            stacked *= layer.stacked_obs.n_stack
    return stacked


def _layers(env: VecEnv) -> list[VecEnv]:
    layers = [env]
    while isinstance(layers[-1], VecEnvWrapper):
        layers.append(layers[-1].venv)
    return layers
