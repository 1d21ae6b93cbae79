"""What is infinite or NaN is named at the door, and reaches neither weights nor replay nor environments."""

from typing import Any

import numpy as np
import pytest
import torch
from agents.builders import Corridor, build
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from memagent.agents import LearnerConfig, MemoryAlgorithm
from memagent.agents.finite import NonFiniteError, check_finite

pytestmark = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")
BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


class Broken(Corridor):
    """At step `at` of its life the observation or the reward is `value`; a reset shows it when `at` is 0."""

    def __init__(self, quantity: str = "", value: float = np.nan, at: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.quantity, self.value, self.at, self.taken = quantity, value, at, []

    def _obs(self) -> np.ndarray:
        right = super()._obs()
        stepped = self.total == 0 or self.time > 0  # the reset after a broken final step is right again
        broken = self.quantity == "observation" and self.total == self.at and stepped
        return np.full_like(right, self.value) if broken else right

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.taken.append(np.copy(action))
        obs, reward, terminated, truncated, info = super().step(action)
        broken = self.quantity == "reward" and self.total == self.at
        return obs, self.value if broken else reward, terminated, truncated, info


def finite_weights(agent: MemoryAlgorithm) -> bool:
    return all(p.isfinite().all() for p in agent.policy.parameters())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("quantity", "at", "named"),
    [
        ("observation", 0, "observation of environment 1 at step 0 "),
        ("observation", 70, "observation of environment 1 at step 140 "),
        ("observation", 72, "final observation of environment 1 at step 144 "),  # after 18 episodes
        ("reward", 70, "reward of environment 1 at step 140 "),
    ],
)
def test_numbers_from_an_environment_are_named_at_once(
    quantity: str, at: int, named: str, value: float
) -> None:
    broken = Broken(quantity, value, at)
    agent = build(DummyVecEnv([Corridor, lambda: broken]), kind="lstm", learning_starts=32)
    with pytest.raises(NonFiniteError, match=f"The {named}is .*expected finite numbers"):
        agent.learn(400)
    assert agent.num_timesteps == 2 * at and finite_weights(agent)
    stored = agent.replay_buffer.state_dict()
    assert all(np.isfinite(stored[f"row_{name}"]).all() for name in ("obs", "reward"))

    broken.quantity, steps = "", agent.num_timesteps
    held = agent.replay_buffer.size()
    agent.learn(
        64, reset_num_timesteps=False
    )  # from a reset: no transition joins what was before with what is now
    assert agent.num_timesteps == steps + 64 and agent.replay_buffer.size() == held + 64


def test_the_number_is_looked_at_in_the_precision_that_learns() -> None:
    check_finite("reward", np.array([1e38, -1e38]), 0)
    with pytest.warns(RuntimeWarning, match="overflow"), pytest.raises(NonFiniteError, match="environment 5"):
        check_finite("reward", np.array([0.0, 1e39]), 0, np.array([2, 5]))


def test_no_action_that_is_none_reaches_an_environment() -> None:
    env = Broken(actions=BOX)
    agent = build(env, kind="lstm", learning_starts=32)
    agent.learn(32)
    with torch.no_grad():
        agent.policy.heads.actor.net[-1].bias.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="The action of environment 0 at step 32"):
        agent.learn(32, reset_num_timesteps=False)
    assert len(env.taken) == 32 and np.isfinite(env.taken).all()


def spoil(agent: MemoryAlgorithm, monkeypatch: pytest.MonkeyPatch, spoiled: list[bool]) -> None:
    """The next batches of the replay hold an infinite reward where the list says so."""
    sample, turns = agent.replay_buffer.sample, iter(spoiled)

    def sampled(batch_size: int, beta: float) -> Any:
        batch = sample(batch_size, beta)
        if next(turns):
            batch.reward[:] = np.inf
        return batch

    monkeypatch.setattr(agent.replay_buffer, "sample", sampled)


def kept(agent: MemoryAlgorithm) -> list[np.ndarray]:
    """Weights, target heads, the optimiser's moments and the replay's priorities."""
    moments = [v for s in agent.policy.optimizer.state.values() for v in s.values()]
    tensors = [*agent.policy.parameters(), *moments]
    return [*(t.detach().numpy().copy() for t in tensors), agent.replay_buffer.state_dict()["priority"]]


@pytest.mark.parametrize("actions", [None, BOX], ids=["dqn", "sac"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "dnc"])
def test_an_update_that_would_spoil_the_weights_is_skipped_and_counted(
    kind: str, actions: spaces.Space | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = build(Corridor(actions=actions), kind=kind, learning_starts=64, max_skips=2)
    agent.learn(128)
    before, made = kept(agent), agent._n_updates
    spoil(agent, monkeypatch, [True, True, False, True, True, True])
    agent.train(2)
    assert agent._n_updates == made and agent.skipped_updates == agent.skipped_in_a_row == 2
    assert all(np.array_equal(a, b) for a, b in zip(kept(agent), before, strict=True))
    assert agent.logger.name_to_value["train/skipped_updates"] == 2

    agent.train(1)
    assert agent._n_updates == made + 1 and agent.skipped_in_a_row == 0
    assert not all(np.array_equal(a, b) for a, b in zip(kept(agent), before, strict=True))
    before = kept(agent)
    with pytest.raises(
        NonFiniteError, match=f"3 updates in a row .* the weights are those of update {made + 1}:"
    ):
        agent.train(3)
    assert all(np.array_equal(a, b) for a, b in zip(kept(agent), before, strict=True))


def test_a_negative_number_of_skips_is_refused() -> None:
    with pytest.raises(ValueError, match="LearnerConfig got max_skips=-1"):
        LearnerConfig(max_skips=-1)
