"""What evaluate.py gathers for the page: the training's contexts found again, a change recorded, the commands."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

import evaluate
import train
from memagent.agents import AdaptConfig, MemoryAlgorithm
from memagent.memory import MemoryConfig
from memagent.presets import preset_settings
from memagent.run_config import RunConfig, preset_config, settings_of
from memagent.runs import make_agent

CARTPOLE = preset_config("Drift/CartPole-v0", preset_settings("Drift/CartPole-v0"))
SMALL = replace(CARTPOLE, memory=MemoryConfig(kind="none", hidden_size=8), num_envs=3, seed=5, device="cpu")


def agent_of(config: RunConfig) -> MemoryAlgorithm:
    return make_agent(config, evaluate.make_env(config, config.num_envs, config.seed))


class Conditions(BaseCallback):
    """Notes the true condition of the first environment by context id."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, dict[str, float]] = {}

    def _on_step(self) -> bool:
        info = self.locals["infos"][0]
        self.seen[info["context_id"]] = dict(info["context"])
        return True


@pytest.mark.parametrize("schedule", ["draw", "cycle"])
def test_the_conditions_of_a_training_are_found_again(schedule) -> None:
    config = replace(SMALL, schedule=schedule, phase_steps=30)
    agent, seen = agent_of(config), Conditions()
    agent.learn(600, callback=seen)
    assert len(seen.seen) > 2
    ids = np.array([*seen.seen, *seen.seen], float)
    found = evaluate.training_conditions(config, {"context_id": ids, "env": np.zeros(len(ids))})
    assert found == seen.seen


def test_an_environment_that_does_not_drift_has_no_conditions() -> None:
    episodes = {"context_id": np.zeros(2), "env": np.zeros(2)}
    assert evaluate.training_conditions(RunConfig(env="CartPole-v1"), episodes) == {}


def test_a_change_within_an_episode_is_recorded_with_frames_and_beliefs() -> None:
    seen = evaluate.record_change(agent_of(SMALL), SMALL)
    assert seen.changes == [150] and len(seen.rewards) == 300
    assert not np.array_equal(*(list(seen.conditions[t].values()) for t in (149, 150)))
    assert seen.contexts.shape == (300, SMALL.adapt.context_dim)
    assert (seen.evidence >= 0).all() and seen.evidence.any()
    assert [t for t, share in enumerate(seen.evidence) if share > 1.0] == seen.noticed
    assert len(seen.frames) == 150 and all(frame.startswith(b"\xff\xd8") for frame in seen.frames.values())
    assert sum(map(len, seen.frames.values())) < 2e6


def test_the_change_that_is_shown_is_the_largest_of_some() -> None:
    sizes = [evaluate.size_of_change(SMALL, seed) for seed in range(4)]
    assert sizes == [evaluate.size_of_change(SMALL, seed) for seed in range(4)]
    assert max(sizes) > min(sizes) >= 0


def test_an_agent_that_does_not_adapt_in_an_environment_without_pictures_is_recorded() -> None:
    config = RunConfig(
        env="Memory/Recall-v0", memory=MemoryConfig(kind="dnc", memory_size=6, memory_dim=4, hidden_size=8)
    )
    config = replace(config, adapt=AdaptConfig(enabled=False), num_envs=2, device="cpu")
    seen = evaluate.record_change(agent_of(config), config)
    assert (seen.contexts, seen.evidence, dict(seen.frames)) == (None, None, {})
    assert seen.memory["usage"].shape == (len(seen.rewards), 6)
    heads = [name for name in seen.memory if name.startswith("read")]
    assert len(heads) == config.memory.num_read_heads


def test_the_commands_make_the_run_and_judge_it_again() -> None:
    config = replace(SMALL, evaluation=replace(SMALL.evaluation, contexts=3))
    first, second = evaluate.commands(agent_of(config), config, Path("runs/a b"), Path("out"))
    words = shlex.split(first)
    assert words[:2] == ["python", "train.py"]
    assert settings_of(train.parse(words[2:])) == settings_of(config)
    words = shlex.split(second)
    assert "--trust" not in words
    foreign = replace(config, env_kwargs={"observe_context": True})
    assert evaluate.commands(agent_of(foreign), foreign, Path("run"), Path("run"))[1].endswith(" --trust")
    options = evaluate.parse(words[2:])
    assert (options.run_dirs, options.out, options.contexts, options.deterministic) == (
        (Path("runs/a b"),),
        Path("out"),
        3,
        True,
    )
