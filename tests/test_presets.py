"""An environment's preset overrides the learner's defaults, and the command line overrides the preset."""

import pytest

import envs
from envs import make_vec
from memagent.agents import LearnerConfig, MemorySAC
from memagent.memory import MemoryConfig
from memagent.presets import PRESETS, SECTIONS, preset, preset_settings
from memagent.run_config import RunConfig, preset_config, settings_of
from train import parse

PLAIN = ("CartPole-v1", "Pendulum-v1")


def test_the_command_line_starts_from_the_environments_preset() -> None:
    config = parse(["--env", "Drift/CartPole-v0", "--learner.gamma", "0.9"])
    settings = preset_settings("Drift/CartPole-v0")
    assert config.learner.gamma == 0.9 != settings["learner"]["gamma"]
    assert config.learner.batch_size == settings["learner"]["batch_size"] != RunConfig().learner.batch_size
    assert config.replay.capacity == settings["replay"]["capacity"] != RunConfig().replay.capacity


def test_outside_the_catalogue_the_kind_of_the_actions_decides() -> None:
    assert preset_settings("CartPole-v1") == {"adapt": {"enabled": False}}
    discrete, continuous = (preset_settings("CartPole-v1", make_vec(env, 1).action_space) for env in PLAIN)
    assert discrete != continuous
    for env, settings in zip(PLAIN, (discrete, continuous), strict=True):
        config = settings_of(parse([f"--env={env}", "--seed", "3"]))
        expected = settings_of(preset_config(env, settings)) | {"seed": 3}
        assert config == expected != settings_of(RunConfig(env=env, seed=3))
    assert parse(["--env=CartPole-v1", "--num-envs", "2"]).num_envs == 2 != discrete["num_envs"]


def test_where_nothing_drifts_there_is_no_adaptation_unless_asked_for() -> None:
    config = parse(["--env=CartPole-v1", "--seed", "3"])
    assert not config.adapt.enabled
    assert parse(["--env=CartPole-v1", "--adapt.enabled"]).adapt.enabled
    assert parse(["--env=Drift/CartPole-v0"]).adapt.enabled


@pytest.mark.parametrize("off", ["--adapt.enabled=False", "--adapt.enabled=false", "--adapt.no-enabled"])
def test_flags_parse_as_sweeps_and_people_write_them(off: str) -> None:
    links = "--memory.temporal_links"
    assert not parse([off]).adapt.enabled
    assert parse([off, "--adapt.enabled=True"]).adapt.enabled  # the last one counts
    assert not parse([f"{links}=False"]).memory.temporal_links
    assert parse([f"{links}=true"]).memory.temporal_links


@pytest.mark.parametrize("name", [*envs.CATALOGUE, *envs.PROBES])
def test_every_preset_is_made_of_settings_that_exist(name: str) -> None:
    config = preset_config(name, preset_settings(name))
    given = preset(name)
    assert given == {
        section: getattr(config, section) for section in SECTIONS if section in preset_settings(name)
    }
    for section, values in preset_settings(name).items():
        if not isinstance(values, dict):
            assert getattr(config, section) == values
            continue
        for setting, value in values.items():
            assert getattr(getattr(config, section), setting) == value


@pytest.mark.parametrize("name", ["Memory/Pairs-v0", "Memory/Repeat-v0"])
def test_a_probe_has_its_own_settings_and_no_adaptation(name: str) -> None:
    actions = make_vec(name, 1).action_space
    assert preset_settings(name, actions) == preset_settings(name) != preset_settings("Acrobot-v1", actions)
    config = parse([f"--env={name}", "--memory.kind=gru", "--seed", "3"])
    assert not config.adapt.enabled and config.memory.kind == "gru"
    assert config.learner.gamma == preset_settings(name)["learner"]["gamma"]
    assert preset_settings("Memory/Recall-v0", actions) == preset_settings("Acrobot-v1", actions)


def test_a_preset_cannot_be_changed_by_who_reads_it() -> None:
    preset_settings("Drift/CartPole-v0")["learner"]["gamma"] = 0.0
    assert preset_settings("Drift/CartPole-v0")["learner"]["gamma"] > 0.9


def test_presets_are_those_of_ids_that_exist_and_can_be_given_to_an_agent() -> None:
    assert set(PRESETS) <= {*envs.CATALOGUE, *envs.PROBES}
    env = make_vec("Drift/Pendulum-v0", 1)
    agent = MemorySAC(
        "MemoryPolicy", env, **preset("Drift/Pendulum-v0"), gamma=0.5, memory=MemoryConfig(kind="none")
    )
    expected = preset_settings("Drift/Pendulum-v0")
    assert agent.learner == LearnerConfig(**expected["learner"] | {"gamma": 0.5})
    assert agent.entropy.temperature == expected["entropy"]["temperature"]
