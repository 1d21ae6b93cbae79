"""A setting is obeyed, wherever it is given, or refused in a sentence."""

import re
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agents.builders import Corridor, build
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import DummyVecEnv

from memagent.agents import (
    EntropyConfig,
    ExplorationConfig,
    LearnerConfig,
    MemoryAlgorithm,
    MemoryDQN,
    MemorySAC,
)
from memagent.agents.sac import in_sb3_words
from memagent.archive import ArchiveError
from memagent.context import AdaptConfig
from memagent.memory import MemoryConfig
from memagent.policies import MemoryActorCriticPolicy
from memagent.replay import ReplayConfig
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
    monkeypatch.setattr(
        agent, "_update", lambda batch, **how: (seen.append(len(batch.env)), update(batch, **how))[1]
    )
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


def test_configs_may_hold_numpys_numbers(tmp_path: Path) -> None:
    agent = MemoryDQN(
        "MemoryPolicy",
        DummyVecEnv([Corridor]),
        learner=LearnerConfig(gamma=np.float32(0.5)),
        replay=ReplayConfig(rows=np.int64(9)),
        buffer_size=np.int64(2048),
        exploration_final_eps=np.float64(0.1),
        policy_kwargs={"head_size": np.int32(8)},
        verbose=False,
    )
    agent.save(tmp_path / "agent")
    loaded = MemoryDQN.load(tmp_path / "agent")
    found = (loaded.replay_config.rows, loaded.replay_config.capacity, loaded.gamma, loaded.exploration.final)
    assert found == (9, 2048, 0.5, 0.1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"adapt": AdaptConfig(phase_signal="detected")},
            "AdaptConfig.phase_signal is 'detected'; give 'info' or",
        ),
        (
            {"learner": LearnerConfig(memory_scope="live")},
            "LearnerConfig.memory_scope is 'live'; give 'episode' or",
        ),
        ({"buffer_size": 1e4}, "buffer_size is 10000.0; give a whole number"),
        ({"batch_size": None}, "batch_size is None; give a whole number"),
        ({"learning_rate": "x"}, "learning_rate is 'x'; give a finite number"),
        ({"memory": "lstm"}, "memory is 'lstm'; give MemoryConfig(…)"),
        ({"learner": {"gamma": 0.9}}, "learner is {'gamma': 0.9}; give LearnerConfig(…)"),
        ({"adapt": False}, "adapt is False; give AdaptConfig(enabled=False)"),
        ({"exploration": 0.0}, "exploration is 0.0; give ExplorationConfig(…)"),
    ],
)
def test_a_config_with_a_value_of_another_kind_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        MemoryDQN("MemoryPolicy", DummyVecEnv([Corridor]), **given)


def test_updates_that_come_sooner_than_before_are_caught_up_with() -> None:
    agent = build(DummyVecEnv([Corridor] * 2), kind="none", steps_per_update=64)
    agent.learn(40, callback=lambda local, _: local["self"].num_timesteps < 40)
    agent.learner = replace(agent.learner, steps_per_update=32.0)
    agent.train_freq = TrainFreq(16, TrainFrequencyUnit.STEP)
    agent.learn(40, reset_num_timesteps=False)
    assert agent.num_timesteps >= 80 and agent._n_updates > 0


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
    with pytest.raises(ValueError, match="given 3 episode starts and 4 observations; give one for each"):
        agent.predict(np.zeros((4, 2)), episode_start=np.ones(3, bool))


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
            {"n_steps": 3},
            "has no setting n_steps; SB3's n_steps is replay=ReplayConfig(n_step=…).",
        ),
        (
            {"action_noise": None, "use_sde": True},
            "SB3's action_noise or use_sde has no counterpart: MemoryDQN explores by ExplorationConfig",
        ),
        (
            {"use_sde": True, "sde_sample_freq": 4, "target_update_interval": 250},
            "MemorySAC by its policy's distribution; leave it out; SB3's target_update_interval is tau=….",
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
    with pytest.raises(ArchiveError, match=r"SB3's n_steps is replay=ReplayConfig\(n_step=…\)"):
        MemoryDQN.load(tmp_path / "agent", n_steps=2)


def test_what_an_agent_cannot_learn_in_or_with_is_refused_in_a_sentence(agent: MemoryDQN) -> None:
    for env, said in ((None, "was given no environment"), ([Corridor()], "of several environments make one")):
        with pytest.raises(ValueError, match=said):
            MemoryDQN("MemoryPolicy", env)
    with pytest.raises(ValueError, match="given the policy MemoryActorCriticPolicy, expected MemoryQPolicy"):
        MemoryDQN(MemoryActorCriticPolicy, DummyVecEnv([Corridor]))
    with pytest.raises(ValueError, match="learn was given inf steps, expected a number"):
        agent.learn(float("inf"))


def test_sb3s_words_are_the_configs_fields(tmp_path: Path) -> None:
    env = DummyVecEnv([Corridor] * 4)
    words = {"learning_rate": 1e-4, "learning_starts": 7, "batch_size": 3, "tau": 0.1, "gamma": 0.9}
    agent = MemoryDQN(
        "MemoryPolicy",
        env,
        **words,
        max_grad_norm=2.0,
        buffer_size=4_000,
        exploration_initial_eps=0.5,
        exploration_final_eps=0.1,
        exploration_fraction=0.3,
        learner=LearnerConfig(reward_scale=0.5, gamma=0.1),
        replay=ReplayConfig(n_step=2),
    )
    assert agent.learner == LearnerConfig(**words, max_grad_norm=2.0, reward_scale=0.5)
    assert agent.replay_config == ReplayConfig(n_step=2, capacity=4_000)
    assert agent.exploration == ExplorationConfig(0.5, 0.1, 0.3)
    agent.save(tmp_path / "agent")
    loaded = MemoryDQN.load(tmp_path / "agent", env, gamma=0.8, exploration_final_eps=0.2)
    assert (loaded.gamma, loaded.learner.gamma, loaded.tau) == (0.8, 0.8, 0.1)
    assert loaded.exploration == ExplorationConfig(0.5, 0.2, 0.3)


@pytest.mark.parametrize(
    ("ent_coef", "target_entropy", "expected"),
    [
        ("auto", "auto", EntropyConfig()),
        ("auto_0.3", -2.0, EntropyConfig(target=-2.0, temperature=0.3)),
        (0.2, None, EntropyConfig(temperature=0.2, learning_rate=0.0)),
        ("0.2", None, EntropyConfig(temperature=0.2, learning_rate=0.0)),
    ],
)
def test_sb3s_words_of_sac(ent_coef: Any, target_entropy: Any, expected: EntropyConfig) -> None:
    env = DummyVecEnv([lambda: Corridor(actions=spaces.Box(-1.0, 1.0, (1,)))])
    agent = MemorySAC("MemoryPolicy", env, ent_coef=ent_coef, target_entropy=target_entropy)
    assert agent.entropy == expected
    for wrong in ("car", "auto_", "auto_much"):
        with pytest.raises(ValueError, match=r"ent_coef is .*; give a number"):
            in_sb3_words(EntropyConfig(), wrong, None)


def test_a_linear_schedule_of_the_learning_rate_is_taken_and_another_refused() -> None:
    env = DummyVecEnv([Corridor])
    agent = MemoryDQN("MemoryPolicy", env, learning_rate=lambda left: 1e-3 * left)
    assert (agent.learner.learning_rate, agent.learner.final_learning_rate) == (1e-3, 0.0)
    assert agent.lr_schedule(0.25) == pytest.approx(2.5e-4)
    with pytest.raises(ValueError, match="expected a number or a linear schedule"):
        MemoryDQN("MemoryPolicy", env, learning_rate=lambda left: 1e-3 * left**2)


@pytest.mark.parametrize("num_envs", [1, 2, 4, 8, 16])
@pytest.mark.parametrize(
    ("words", "every"),
    [
        ({"learner": LearnerConfig(steps_per_update=3)}, lambda n: 3.0),
        ({"learner": LearnerConfig(steps_per_update=20)}, lambda n: 20.0),
        ({"train_freq": 4, "gradient_steps": 3}, lambda n: 4 * n / 3),
        ({"train_freq": (2, "step"), "gradient_steps": -1}, lambda n: 1.0),
        ({"train_freq": TrainFreq(3, TrainFrequencyUnit.STEP)}, lambda n: 3.0 * n),
    ],
)
def test_updates_come_as_often_as_asked_with_any_number_of_environments(
    num_envs: int, words: dict[str, Any], every: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = DummyVecEnv([Corridor] * num_envs)
    agent = MemoryDQN("MemoryPolicy", env, **words, learning_starts=0, memory=MemoryConfig(kind="none"))
    made = []
    monkeypatch.setattr(agent, "train", lambda gradient_steps, batch_size: made.append(gradient_steps))
    agent.learn(480)
    assert sum(made) == pytest.approx(480 / every(num_envs), abs=1)
    assert max(made) - min(made) <= 1


def test_a_loaded_agent_counts_the_environments_that_it_had_or_is_given(tmp_path: Path) -> None:
    MemoryDQN("MemoryPolicy", DummyVecEnv([Corridor] * 3)).save(tmp_path / "agent.zip")
    for env, num_envs in ((None, 3), (DummyVecEnv([Corridor] * 2), 2)):
        agent = MemoryDQN.load(tmp_path / "agent.zip", env, train_freq=4, gradient_steps=2)
        assert agent.learner.steps_per_update == 2 * num_envs


@pytest.mark.parametrize(
    "wrong",
    [
        *({"train_freq": wrong} for wrong in ((1, "episode"), 0, (4,), None)),
        *({"gradient_steps": wrong} for wrong in (0, -2, None)),
    ],
)
def test_updates_that_cannot_be_counted_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; give"):
        MemoryDQN("MemoryPolicy", DummyVecEnv([Corridor]), **wrong)


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        (lambda agent: agent, "target_update_interval", "is tau=…."),
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
