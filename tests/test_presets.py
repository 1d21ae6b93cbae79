"""An environment's preset overrides the learner's defaults, and the command line overrides the preset."""

import pytest

import envs
from memagent.runs import RunConfig, preset_config
from train import parse


def test_the_command_line_starts_from_the_environments_preset() -> None:
    config = parse(["--env", "Drift/CartPole-v0", "--learner.gamma", "0.9"])
    preset = envs.preset("Drift/CartPole-v0")
    assert config.learner.gamma == 0.9 != preset["learner"]["gamma"]
    assert config.learner.batch_size == preset["learner"]["batch_size"] != RunConfig().learner.batch_size
    assert config.replay.capacity == preset["replay"]["capacity"] != RunConfig().replay.capacity


def test_where_nothing_drifts_there_is_no_adaptation_unless_asked_for() -> None:
    config = parse(["--env=CartPole-v1", "--seed", "3"])
    assert config.learner == RunConfig().learner
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


@pytest.mark.parametrize("name", envs.CATALOGUE)
def test_every_preset_is_made_of_settings_that_exist(name: str) -> None:
    config = preset_config(name, envs.preset(name))
    for section, values in envs.preset(name).items():
        for setting, value in values.items():
            assert getattr(getattr(config, section), setting) == value


def test_a_preset_cannot_be_changed_by_who_reads_it() -> None:
    envs.preset("Drift/CartPole-v0")["learner"]["gamma"] = 0.0
    assert envs.preset("Drift/CartPole-v0")["learner"]["gamma"] > 0.9
