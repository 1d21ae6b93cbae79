"""A setting is obeyed, wherever it is given, or refused in a sentence."""

import re
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agents.builders import Corridor, build
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from memagent.agents import ExplorationConfig, LearnerConfig, MemoryAlgorithm, MemoryDQN
from memagent.archive import ArchiveError
from memagent.sb3_names import ATTRIBUTES

pytestmark = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")


@pytest.fixture
def agent() -> MemoryAlgorithm:
    return build(DummyVecEnv([Corridor]), kind="none")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gamma", 0.5),
        ("tau", np.float64(0.25)),
        ("batch_size", np.int64(3)),
        ("learning_starts", 5),
        ("learning_rate", 1e-5),
    ],
)
def test_what_sb3_calls_a_setting_changes_the_learners(
    agent: MemoryAlgorithm, tmp_path: Path, name: str, value: Any
) -> None:
    setattr(agent, name, value)
    assert getattr(agent, name) == getattr(agent.learner, name) == value
    agent.save(tmp_path / "agent")
    assert getattr(MemoryDQN.load(tmp_path / "agent").learner, name) == value


def test_a_changed_setting_is_learned_with(agent: MemoryAlgorithm, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    update = agent._update
    monkeypatch.setattr(agent, "_update", lambda batch, **how: (seen.append(len(batch.env)), update(batch, **how))[1])
    agent.learning_rate, agent.batch_size, agent.learning_starts = 1e-5, 3, 20
    agent.learn(64)
    assert set(seen) == {3}
    assert agent._n_updates == len(seen) == 3  # at steps 32, 48 and 64
    assert {group["lr"] for group in agent.policy.optimizer.param_groups if group["factor"] == 1.0} == {1e-5}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("gamma", 2.0, "gamma=2.0; give a number from 0 to 1"),
        ("gamma", "0.9", "gamma is '0.9'; give a finite number"),
        ("batch_size", 2.5, "batch_size is 2.5; give a whole number"),
        ("learning_rate", lambda left: 1e-3 * left, "learning_rate is .*; give a finite number"),
    ],
)
def test_a_value_that_cannot_be_is_refused(agent: MemoryAlgorithm, name: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        setattr(agent, name, value)


def test_a_seed_may_be_numpys() -> None:
    given, plain = (build(DummyVecEnv([Corridor]), kind="none", seed=seed) for seed in (np.uint32(3), 3))
    assert given.seed == 3 and isinstance(given.seed, int)
    assert given.generator.bit_generator.state == plain.generator.bit_generator.state


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mps:7"])
def test_a_device_that_is_not_here_is_refused(device: str, tmp_path: Path, agent: MemoryAlgorithm) -> None:
    with pytest.raises(
        ValueError, match=f"device is '{device}', which PyTorch cannot use here; give \"cpu\""
    ):
        build(DummyVecEnv([Corridor]), device=device)
    agent.save(tmp_path / "agent")
    with pytest.raises(ArchiveError, match="agent was not loaded: device is"):
        MemoryDQN.load(tmp_path / "agent", device=device)


def test_a_replay_that_outgrows_the_machine_is_refused() -> None:
    with pytest.raises(ValueError, match=r"A replay of \d+ rows grows to \d+\.\d GB, and this machine has"):
        build(DummyVecEnv([Corridor]), capacity=10**11)


def test_a_pickled_file_has_settings_of_its_own(tmp_path: Path) -> None:
    agent = build(DummyVecEnv([Corridor]), kind="none")
    OffPolicyAlgorithm.save(agent, tmp_path / "old")
    for given in ({"learner": LearnerConfig()}, {"custom_objects": {"gamma": 0.5}}):
        with pytest.raises(ArchiveError, match=r"it is pickled, with settings of its own, and .* was given"):
            MemoryDQN.load(tmp_path / "old.zip", trust=True, **given)
    assert MemoryDQN.load(tmp_path / "old.zip", trust=True).learner == agent.learner


@pytest.mark.parametrize(
    ("fraction", "rates"), [(0.0, [0.25, 0.25]), (0.5, [1.0, 0.25]), (1.0, [1.0, 0.625])]
)
def test_exploration_falls_over_its_fraction(agent: MemoryDQN, fraction: float, rates: list[float]) -> None:
    agent.exploration = ExplorationConfig(1.0, 0.25, fraction)
    for left, rate in zip((1.0, 0.5), rates, strict=True):
        agent._current_progress_remaining = left
        assert agent.exploration_rate == rate


@pytest.mark.parametrize(
    "wrong", [{"initial": 1.5}, {"final": -0.1}, {"fraction": 2.0}, {"initial": float("nan")}]
)
def test_shares_are_from_0_to_1(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="give a number from 0 to 1"):
        ExplorationConfig(**wrong)


@pytest.mark.parametrize("actions", [spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,), np.float32)])
def test_predict_answers_with_arrays_and_refuses_as_sb3_does(actions: spaces.Space) -> None:
    agent = build(DummyVecEnv([lambda: Corridor(actions=actions)]), kind="none", enabled=False)
    one, many = agent.predict(np.zeros(2))[0], agent.predict(np.zeros((4, 2)))[0]
    assert isinstance(one, np.ndarray)
    assert (one.shape, many.shape) == (actions.shape, (4, *actions.shape))
    assert one.dtype == many.dtype
    for shape in ((3,), (4, 3), (1, 4, 2), ()):
        with pytest.raises(
            ValueError, match=r"Unexpected observation shape .* please use \(2,\) or \(n_env, 2\)"
        ):
            agent.predict(np.zeros(shape))
    with pytest.raises(ValueError, match="given a tuple, expected an array"):
        agent.predict((np.zeros(2), {}))
    with pytest.raises(ValueError, match="given a dict, expected an array"):
        agent.predict({"obs": np.zeros(2)})


@pytest.mark.parametrize(("given", "name"), [({}, "MemoryDQN"), ({"tb_log_name": "run"}, "run")])
def test_a_run_in_tensorboard_is_named_after_the_algorithm(
    agent: MemoryAlgorithm, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], name: str
) -> None:
    asked = []

    def configure(verbose: int, folder: str | None, tb_log_name: str, *args: Any) -> Logger:
        asked.append(tb_log_name)
        return Logger(None, [])

    monkeypatch.setattr("stable_baselines3.common.utils.configure_logger", configure)
    agent.learn(4, **given)
    assert asked == [name]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"buffer_size": 100},
            "has no setting buffer_size; SB3's buffer_size is replay=ReplayConfig(capacity=…).",
        ),
        ({"gamma": 0.9}, "SB3's gamma is learner=LearnerConfig(gamma=…)."),
        (
            {"action_noise": None, "use_sde": True},
            "SB3's action_noise or use_sde has no counterpart: MemoryDQN explores by ExplorationConfig",
        ),
        (
            {"use_sde": True, "sde_sample_freq": 4, "tau": 0.1},
            "MemorySAC by its policy's distribution; leave it out; SB3's tau is learner=LearnerConfig(tau=…).",
        ),
        (
            {"learnr": 1},
            "has no setting learnr; give memory=…, replay=…, meta=…, adapt=…, learner=…, exploration=….",
        ),
        ({"policy_kwargs": {"net_arch": [64]}}, "expected features_dim and head_size"),
    ],
)
def test_settings_of_sb3_are_refused_with_their_way_here(given: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=re.escape(said)):
        MemoryDQN("MemoryPolicy", DummyVecEnv([Corridor]), **given)


def test_policies_of_sb3_and_a_rate_that_follows_are_refused_in_a_sentence(
    agent: MemoryDQN, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError, match="given the policy 'MlpPolicy', expected 'MemoryPolicy', with memory="
    ):
        MemoryDQN("MlpPolicy", DummyVecEnv([Corridor]))
    with pytest.raises(AttributeError, match="follows from the agent's `exploration`"):
        agent.exploration_rate = 0.5
    agent.save(tmp_path / "agent")
    with pytest.raises(
        ArchiveError, match=r"SB3's learning_rate is learner=LearnerConfig\(learning_rate=…\)"
    ):
        MemoryDQN.load(tmp_path / "agent", learning_rate=1e-4)


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        (lambda agent: agent, "target_update_interval", "is learner=LearnerConfig(tau=…)."),
        (lambda agent: agent, "log_ent_coef", "is policy.log_temperature."),
        (lambda agent: agent, "q_net", "is policy.heads, on the features that policy.unroll gives."),
        (lambda agent: agent.policy, "actor", "is policy.heads.actor, on the features that"),
        (
            lambda agent: agent.replay_buffer,
            "rewards",
            "is a field of the rows that sample draws windows of.",
        ),
    ],
)
def test_what_sb3_calls_an_attribute_is_refused_with_its_way_here(
    agent: MemoryAlgorithm, owner: Any, name: str, said: str
) -> None:
    assert not hasattr(owner(agent), name)
    with pytest.raises(AttributeError, match=re.escape(f"has no attribute '{name}'; SB3's {name} {said}")):
        getattr(owner(agent), name)
    with pytest.raises(AttributeError, match=r"has no attribute 'weather'$"):
        owner(agent).weather  # noqa: B018 - not there


@pytest.mark.parametrize("continuous", [False, True])
def test_the_ways_of_attributes_lead_to_something(continuous: bool) -> None:
    space = spaces.Box(-1.0, 1.0, (1,)) if continuous else spaces.Discrete(3)
    agent = build(DummyVecEnv([lambda: Corridor(actions=space)]), kind="none")
    own = ("log_ent_coef", "ent_coef_tensor", "actor", "critic") if continuous else ("q_net",)
    targets = "critic_target" if continuous else "q_net_target"
    for name in (*own, targets):
        path = ATTRIBUTES[name].removeprefix("is ").partition(",")[0].removesuffix(".exp()")
        assert attrgetter(path)(agent) is not None
