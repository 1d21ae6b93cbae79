"""Settings written as words are read back as the same settings."""

from dataclasses import replace

import pytest

import train
from memagent.agents import AdaptConfig
from memagent.command_line import as_arguments
from memagent.memory import MemoryConfig
from memagent.presets import preset_settings
from memagent.run_config import RunConfig, preset_config, settings_of

DRIFTING = preset_config("Drift/CartPole-v0", preset_settings("Drift/CartPole-v0"))


def words(config: RunConfig) -> list[str]:
    default = preset_config(config.env, preset_settings(config.env))
    return as_arguments(settings_of(config), settings_of(default))


@pytest.mark.parametrize(
    "config",
    [
        DRIFTING,
        replace(DRIFTING, seed=7, schedule="cycle", phase_steps=60, save_every=None, device="cpu"),
        replace(DRIFTING, memory=MemoryConfig(kind="none"), adapt=AdaptConfig(enabled=False)),
        replace(DRIFTING, adapt=replace(DRIFTING.adapt, phase_signal="info", support=9)),
        replace(DRIFTING, env_kwargs={"num_contexts": 3, "change_at": "step"}, wandb="offline"),
        replace(DRIFTING, evaluation=replace(DRIFTING.evaluation, contexts=3, deterministic=False)),
    ],
)
def test_the_words_of_a_run_make_the_same_run(config: RunConfig) -> None:
    made = train.parse(["--env", config.env, *words(config)])
    assert settings_of(made) == settings_of(config)


def test_what_the_defaults_say_is_not_said_again() -> None:
    assert words(DRIFTING) == []
    assert words(replace(DRIFTING, seed=3)) == ["--seed", "3"]
    assert words(replace(DRIFTING, adapt=replace(DRIFTING.adapt, enabled=False))) == ["--adapt.no-enabled"]
