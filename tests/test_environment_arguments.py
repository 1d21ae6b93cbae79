"""Arguments and wrappers of the environment: from the command line into config.json, and out of it with trust alone."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import envs
from evaluate import choose_contexts, evaluate, make_env
from memagent.agents import AdaptConfig
from memagent.memory import MemoryConfig
from memagent.run_config import EvaluationConfig, RunConfig, words
from memagent.runs import RunError, load_config, make_agent, save_config
from train import parse

WRAPPED = [
    "--wrapper",
    'gymnasium.wrappers:DelayObservation={"delay": 2}',
    "gymnasium.wrappers:FlattenObservation",
]


def test_values_by_name_are_json_or_text() -> None:
    given = ['{"a": [1, 2], "b": null}', "c=3", "d=true", "e=fast", 'f={"g": "h"}', "i=a=b", "j"]
    expected = {"a": [1, 2], "b": None, "c": 3, "d": True, "e": "fast", "f": {"g": "h"}, "i": "a=b", "j": {}}
    assert words(given) == expected


def test_the_command_line_reaches_gymnasium_make() -> None:
    config = parse(
        ["--env", "Pendulum-v1", "--env-kwargs", "g=5.5", "max_episode_steps=7", "--seed", "1", *WRAPPED]
    )
    assert config.env_kwargs == {"g": 5.5, "max_episode_steps": 7}
    assert list(config.wrapper) == [
        "gymnasium.wrappers:DelayObservation",
        "gymnasium.wrappers:FlattenObservation",
    ]
    assert config.seed == 1
    (env,) = make_env(config, 1, 0).envs
    assert env.unwrapped.g == 5.5
    env.reset()
    assert [env.step(np.zeros(1, np.float32))[3] for _ in range(7)] == [False] * 6 + [True]
    layers = []
    while isinstance(env, gym.Wrapper):
        layers.append(type(env))
        env = env.env
    outer = layers.index(envs.TransitionObservation)
    assert layers[outer + 1 : outer + 3] == [gym.wrappers.FlattenObservation, gym.wrappers.DelayObservation]


def test_arguments_of_a_drifting_id_change_its_drift() -> None:
    config = parse(["--env", "Drift/CartPole-v0", "--env-kwargs", "num_contexts=2", "--schedule", "cycle"])
    vec = make_env(config, 1, 0)
    vec.reset()
    (clock,) = vec.get_attr("clock")
    assert len({str(clock.lifetime.context(phase)) for phase in range(20)}) == 2


def test_difficulty_is_given_on_the_command_line_and_judged_as_trained() -> None:
    config = parse(
        ["--env", "Drift/PointGoals-v0", "--env-kwargs", "platforms=2", "change_at=step", "--seed", "1"]
    )
    (inner,) = make_env(config, 1, 0).envs
    assert inner.unwrapped.platforms == 2
    assert {len(context.context) for context in choose_contexts(config)} == {4}
    pairs = parse(["--env", "Memory/Pairs-v0", "--env-kwargs", "num_pairs=9", "--memory.kind", "gru"])
    (inner,) = make_env(pairs, 1, 0).envs
    assert inner.unwrapped.difficulty == 9 and pairs.memory.kind == "gru"
    assert [context.context for context in choose_contexts(pairs)] == [{}]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"env": "CartPole-v1", "env_kwargs": {"nonsense": 1}},
            "cannot be made: .*unexpected keyword argument",
        ),
        (
            {"env": "CartPole-v1", "env_kwargs": {"seed": 1}},
            "env_kwargs has seed, expected arguments of the env",
        ),
        ({"env_kwargs": {"phase_steps": 9}}, "env_kwargs has phase_steps"),
        ({"env_kwargs": {"drift": {"parameters": {}}}}, "env_kwargs has a drift, expected Drift/"),
        (
            {"env": "CartPole-v1", "wrapper": {"gymnasium.wrappers:No": {}}},
            "cannot be made: .*no attribute 'No'",
        ),
        (
            {"env": "CartPole-v1", "wrapper": {"no_module:No": {}}},
            "cannot be made: No module named 'no_module'",
        ),
        ({"env": "No-v0"}, "No-v0 cannot be made: .*doesn't exist"),
    ],
)
def test_what_cannot_be_made_is_told_in_a_sentence(arguments: dict, sentence: str) -> None:
    with pytest.raises(RunError, match=sentence):
        make_env(RunConfig(**arguments), 1, 0)


class Endless(gym.Env):
    """Pays 1 a step, for ever."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(2, np.float32), 1.0, False, False, {}


def test_an_error_of_the_environments_own_is_named_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Endless):
        def __init__(self) -> None:
            raise KeyError

    monkeypatch.setitem(gym.registry, "Broken-v0", gym.envs.registration.EnvSpec("Broken-v0", Broken))
    with pytest.raises(RunError, match=r"Broken-v0 cannot be made: KeyError in .*\.py, line \d+: "):
        make_env(RunConfig(env="Broken-v0"), 1, 0)


def test_judging_ends_where_episodes_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gym.registry, "Endless-v0", gym.envs.registration.EnvSpec("Endless-v0", Endless))
    config = RunConfig(
        env="Endless-v0",
        memory=MemoryConfig(kind="none"),
        adapt=AdaptConfig(enabled=False),
        evaluation=EvaluationConfig(episodes=2, warmup_episodes=1, time_limit=6),
    )
    judged = evaluate(make_agent(config, make_env(config, 1, 0)), config, tmp_path, tmp_path)
    (record,) = judged["contexts"]
    assert record["returns"] == [6.0, 6.0] and record["warmup_returns"] == [6.0]


@pytest.mark.parametrize("wrapper", [{"gymnasium.wrappers.FlattenObservation": {}}, {"a:b": 3}])
def test_a_wrapper_is_a_class_of_a_module_with_arguments(wrapper: dict) -> None:
    with pytest.raises(ValueError, match="give module:Class"):
        RunConfig(wrapper=wrapper)


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"env": "this:Env-v0"}, "names 'this:Env-v0', for which a module would be imported"),
        ({"wrapper": {"this:Wrapper": {}}}, "names 'this:Wrapper', for which a module would be imported"),
        ({"env_kwargs": {"a": 1}}, "arguments, {'a': 1}, which may be names of files or of code"),
    ],
)
def test_a_received_folder_names_no_code_without_trust(tmp_path: Path, part: dict, sentence: str) -> None:
    config = RunConfig(**part)
    save_config(tmp_path, config)
    with pytest.raises(RunError, match=f"{sentence}; if you trust who made the folder, add --trust"):
        load_config(tmp_path)
    trusted = load_config(tmp_path, trust=True)
    assert (trusted.env, trusted.env_kwargs, trusted.wrapper) == (
        config.env,
        config.env_kwargs,
        config.wrapper,
    )
    assert json.loads((tmp_path / "config.json").read_text())["wrapper"] == config.wrapper
