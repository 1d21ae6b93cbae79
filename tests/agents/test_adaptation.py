"""Learning with a context: what an update trains, on which rows, and what the context brings."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents.builders import build
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

from envs import make_vec
from memagent.agents import MemoryAlgorithm
from memagent.agents.learning import DrawnRuns
from memagent.agents.rows import HeadRows, Windows
from memagent.context import ContextModel
from memagent.detector import Detector
from memagent.dynamics import Outcomes
from memagent.evaluation.protocol import play

UNFLAGGED = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")
DRIFTING = ("Drift/CartPole-v0", "Drift/Pendulum-v0")
PARTS = ("features_extractor", "heads", "prediction", "context_model.model", "context_model.meta", "detector")


def filled(name: str, **changes: Any) -> MemoryAlgorithm:
    """An agent whose replay holds random play of several phases, and that has not learned yet."""
    agent = build(make_vec(name, 3, seed=0, phase_steps=60), kind="lstm", learning_starts=10_000, **changes)
    agent.learn(900)
    return agent


def values(agent: MemoryAlgorithm) -> dict[str, list[Tensor]]:
    return {part: [p.detach().clone() for p in parameters(agent, part)] for part in PARTS}


def parameters(agent: MemoryAlgorithm, part: str) -> list[nn.Parameter]:
    return list(agent.policy.get_submodule(part).parameters())


def moved_by_an_update(agent: MemoryAlgorithm) -> set[str]:
    before = values(agent)
    agent.train(gradient_steps=1, batch_size=8)
    after = values(agent)
    return {
        part
        for part in PARTS
        if any(not torch.equal(a, b) for a, b in zip(before[part], after[part], strict=True))
    }


@pytest.mark.parametrize("name", DRIFTING)
def test_an_update_trains_memory_heads_model_and_inner_rates(name: str) -> None:
    agent = filled(name)
    assert moved_by_an_update(agent) == set(PARTS)
    assert agent.policy.context_model.mean_square.item() != 1.0
    logs = agent.logger.name_to_value
    logged = ("model_loss", "adaptation_gain", "model_grad_norm", "detector_loss", "detector_grad_norm")
    assert {f"train/{name}" for name in logged} <= logs.keys()


@pytest.mark.parametrize("name", DRIFTING)
def test_values_actions_and_prediction_do_not_train_the_model(name: str) -> None:
    agent = filled(name, lr=0.5)

    def nothing(model: nn.Module, context: Tensor, rows: Outcomes) -> Tensor:
        return torch.zeros(rows.mask.shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContextModel, "loss", nothing)
        patch.setattr(Detector, "loss", nothing)
        assert moved_by_an_update(agent) == {"features_extractor", "heads", "prediction"}
    assert all(p.grad is None for part in PARTS[3:] for p in parameters(agent, part))


@pytest.mark.parametrize("name", DRIFTING)
def test_the_model_does_not_train_memory_and_heads(name: str) -> None:
    agent = filled(name, prediction_weight=0.0)

    def nothing(rows: HeadRows) -> tuple[Tensor, Tensor]:
        zeros = 0.0 * rows.features.sum(-1)
        return zeros, zeros.detach()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent, "head_losses", nothing)
        assert moved_by_an_update(agent) == {"context_model.model", "context_model.meta", "detector"}


def test_the_log_tells_what_is_believed_of_the_environments() -> None:
    agent = build(make_vec("Drift/CartPole-v0", 3, seed=0, phase_steps=60), learning_starts=10_000)
    agent.learn(600)
    belief, logs = agent.acting.belief, agent.logger.name_to_value
    agent.logger.name_to_value.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent.logger, "dump", lambda step: None)
        agent.dump_logs()
    assert logs["adapt/changes"] == belief.phase.sum() > 3
    assert logs["adapt/steps_since_change"] == belief.age.mean() > 0.0
    assert logs["adapt/evidence_of_change"] == pytest.approx(agent.acting.tracker.evidence(belief).mean())
    moved = np.linalg.norm(belief.context - belief.last_context, axis=-1)
    assert logs["adapt/context_moved"] == pytest.approx(moved.mean()) and moved.all()


def test_the_gradients_of_model_and_policy_are_clipped_apart() -> None:
    limit = 1e-3
    agent = filled("Drift/CartPole-v0", max_grad_norm=limit)
    agent.train(gradient_steps=1, batch_size=8)
    logs = agent.logger.name_to_value
    logged = {"grad_norm": PARTS[:3], "model_grad_norm": PARTS[3:5], "detector_grad_norm": PARTS[5:]}
    for log, parts in logged.items():
        gradients = [p.grad.flatten() for part in parts for p in parameters(agent, part)]
        assert torch.cat(gradients).norm().item() == pytest.approx(limit, rel=1e-3)
        assert logs[f"train/{log}"] > 10.0 * limit


def test_inner_rates_follow_the_schedule_of_the_learning_rate_from_their_own_rate_on() -> None:
    agent = build(make_vec("Drift/Pendulum-v0", 1), learning_rate=0.01, lr_lr=0.5)
    groups = {id(p): group for group in agent.policy.optimizer.param_groups for p in group["params"]}
    agent.policy.set_learning_rate(0.005)
    rates = {part: {groups[id(p)]["lr"] for p in parameters(agent, part)} for part in PARTS}
    assert rates == {part: {0.25 if part == "context_model.meta" else 0.005} for part in PARTS}
    assert len(groups) == sum(len(parameters(agent, part)) for part in PARTS) + 1  # the temperature


class Numbered(gym.Env):
    """Shows the number of its step and its phase, of 40 steps; episodes of 25 steps."""

    observation_space, action_space = spaces.Box(0.0, 1e6, (2,), np.float32), spaces.Discrete(2)

    def __init__(self) -> None:
        self.number = 0

    def _obs(self) -> np.ndarray:
        return np.array([self.number, self.number // 40], np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._obs(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        phase = self.number // 40
        self.number += 1
        return self._obs(), 0.0, False, self.number % 25 == 0, {"phase": phase}


@UNFLAGGED
def test_a_context_is_fitted_to_some_runs_of_its_phase_and_judged_by_others() -> None:
    size, steps = 6, 3
    env = DummyVecEnv([Numbered])
    sizes = {"train_support": size, "steps_ahead": steps, "evidence_history": 1}
    agent = build(env, kind="none", learning_starts=10_000, **sizes)
    agent.learn(600)
    seen: dict[str, list[Outcomes]] = {"support": [], "query": []}
    context = torch.tensor([1.0, 2.0, 3.0])

    def fit(model: ContextModel, rows: Outcomes) -> Tensor:
        seen["support"].append(rows)
        return context.expand(len(rows.mask), 3)

    def loss(model: ContextModel, given: Tensor, rows: Outcomes) -> Tensor:
        seen["query"].append(rows)
        return torch.zeros(rows.mask.shape)

    ages: list[np.ndarray] = []
    drawn_runs = agent._drawn

    def drawn_of_age(*tasks: Any, span: np.ndarray, partly: bool) -> DrawnRuns:
        ages.append(span)
        return drawn_runs(*tasks, span=span, partly=partly)

    told: list[tuple[Windows, Tensor]] = []
    features = agent._features

    def unrolled(x: Windows, given: Tensor, state: Any) -> Tensor:
        told.append((x, given))
        return features(x, given, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContextModel, "fit", fit)
        patch.setattr(ContextModel, "loss", loss)
        patch.setattr(agent, "_features", unrolled)
        patch.setattr(agent, "_drawn", drawn_of_age)
        agent.train(gradient_steps=40, batch_size=8)
    counts, spread = [], 0
    for (x, given), support, query, age in zip(told, seen["support"], seen["query"][:-1], ages, strict=True):
        first = x.stretch[agent.replay_config.burn_in]  # the phases are numbered like the stretches
        ours = x.stretch == first
        assert torch.equal(given.any(-1), ours)
        scale = (given / context)[ours]  # as it was at that update
        torch.testing.assert_close(scale, scale[:1, :1].expand_as(scale))
        for b in range(8):
            numbers, judged = (rows.inputs[b, rows.mask[b], 0].int().tolist() for rows in (support, query))
            assert len(set(numbers)) == len(numbers) <= size and not set(numbers) & set(judged)
            within = range(min(numbers, default=0), max(numbers, default=-1) + 1)
            neighbours = [n for n in within if (n - 1) // 25 == (n - 1 + steps) // 25]
            spread += set(neighbours) != set(numbers)
            assert neighbours == sorted(numbers) or age[b] > size  # but for runs over an episode's end
            for number in (*numbers, *judged):
                assert number // 40 == (number + steps - 1) // 40 == first[b]
                assert number // 25 == (number + steps - 1) // 25
            assert judged
            counts.append(len(numbers))
    drawn = np.bincount(counts, minlength=size + 1) / len(counts)
    assert (drawn > 0.0).all() and spread  # from none to all; of an old phase they are spread
    assert not all(x.stretch.min(0).values.equal(x.stretch.max(0).values) for x, _ in told)


def test_memory_and_heads_are_told_what_acting_fits_and_the_model_learns_through_its_own_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = filled("Drift/Pendulum-v0", acting_steps=9)
    seen: dict[str, set[float]] = {"told": set(), "loss": set()}
    loss, tell = ContextModel.loss, ContextModel.told

    def fit(model: ContextModel, rows: Outcomes, *, num_steps: int | None = None) -> Tensor:
        return torch.full((len(rows.mask), model.context_dim), float(num_steps or 5))

    def told(model: ContextModel, context: Tensor) -> Tensor:
        seen["told"] |= set(context.unique().tolist())
        return tell(model, context)

    def of(model: ContextModel, context: Tensor, rows: Outcomes) -> Tensor:
        seen["loss"] |= set(context.unique().tolist())
        return loss(model, context, rows)

    for name, fake in (("fit", fit), ("told", told), ("loss", of)):
        monkeypatch.setattr(ContextModel, name, fake)
    agent.train(gradient_steps=2, batch_size=8)
    assert seen["told"] == {9.0} and seen["loss"] - {0.0} == {5.0}


LENGTH, PHASE = 16, 160


class Push(gym.Env):
    """A point on a line that pays -|x| / 4; it can be pushed a step or left, and each phase reverses the pushes.

    What is seen is x alone, in noise as large as a step.
    """

    observation_space, action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32), spaces.Discrete(3)

    def __init__(self) -> None:
        self.x, self.steps, self.phase, self.sign = 0.0, 0, 0, 0.0

    def _obs(self) -> np.ndarray:
        return np.array([self.x + self.np_random.normal()], np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        if self.sign == 0.0:
            self.sign = float(self.np_random.choice((-1.0, 1.0)))
        if self.steps // PHASE > self.phase:
            self.phase, self.sign = self.phase + 1, -self.sign
        self.x = self.np_random.uniform(-6.0, 6.0)
        return self._obs(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.x = float(np.clip(self.x + self.sign * (int(action) - 1), -8.0, 8.0))
        self.steps += 1
        return self._obs(), -abs(self.x) / 4.0, False, self.steps % LENGTH == 0, {"phase": self.phase}


def pushes(seed: int) -> DummyVecEnv:
    env = DummyVecEnv([Push] * 8)
    env.seed(seed)
    return env


def trained(enabled: bool) -> MemoryAlgorithm:
    agent = build(
        pushes(0),
        kind="none",
        width=32,
        gamma=0.8,
        tau=0.05,
        reward_scale=1.0,
        learning_rate=3e-3,
        learning_starts=800,
        steps_per_update=8,
        capacity=20_000,
        burn_in=0,
        rows=8,
        n_step=1,
        enabled=enabled,
        context_dim=4,
        lr=0.1,
        train_support=32,
        support=64,
        evidence_history=1,
        young=16,
    )
    agent.learn(8_000)
    return agent


@UNFLAGGED
def test_an_agent_with_a_context_masters_a_plant_whose_pushes_reverse_and_without_one_does_not() -> None:
    """Leaving the point is worth -12, the straight way to the goal -1.5, if no noise hid the point. Two phases."""

    def score(agent: MemoryAlgorithm, adapt: bool = True) -> float:
        return play(pushes(99), agent.make_acting(8, adapt=adapt), 2 * PHASE // LENGTH).mean()

    agent = trained(enabled=True)
    fitted, zero, never = score(agent), score(agent, adapt=False), score(trained(enabled=False))
    print(f"fitted {fitted:.1f}, zero {zero:.1f}, trained without {never:.1f}")
    assert fitted > -6.0
    assert max(zero, never) < -10.0
