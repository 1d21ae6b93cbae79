"""Run folders: settings and weights written and read back, and what is refused on the way."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import envs
from memagent.agents import (
    AdaptConfig,
    EntropyConfig,
    ExplorationConfig,
    LearnerConfig,
    MemoryAlgorithm,
    MemoryDQN,
    MemorySAC,
)
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig
from memagent.replay import ReplayConfig
from memagent.run_config import DistributedConfig, EvaluationConfig, RunConfig, settings_of
from memagent.runs import (
    RunError,
    load_agent,
    load_config,
    make_agent,
    model_file,
    new_run_dir,
    save_agent,
    save_config,
)
from memagent.stopping import plain_errors

SMALL = RunConfig(
    memory=MemoryConfig(memory_size=5, memory_dim=4, num_read_heads=2, hidden_size=7),
    replay=ReplayConfig(capacity=200),
)


@pytest.fixture(scope="module")
def env() -> Iterator[VecEnv]:
    made = envs.make_vec("Drift/CartPole-v0", 2, seed=0)
    yield made
    made.close()


@pytest.fixture
def run_dir(tmp_path: Path, env: VecEnv) -> Path:
    """A run folder with an agent whose weights are not those that its seed gives."""
    save_config(tmp_path, SMALL)
    save_agent(make_agent(replace(SMALL, seed=7), env), tmp_path)
    return tmp_path


def weights(agent: MemoryAlgorithm) -> dict[str, torch.Tensor]:
    return agent.policy.state_dict()


def test_every_setting_survives_the_file(tmp_path: Path) -> None:
    config = RunConfig(
        env="CartPole-v1",
        env_kwargs={"sutton_barto_reward": True},
        wrapper={"gymnasium.wrappers:FrameStackObservation": {"stack_size": 2}},
        algo="dqn",
        schedule="cycle",
        phase_steps=250,
        total_timesteps=123,
        seed=4,
        num_envs=3,
        run_dir=tmp_path / "run",
        wandb="disabled",
        device="cpu",
        threads=2,
        save_every=None,
        save_minutes=2.5,
        keep=3,
        memory=MemoryConfig(kind="lstm", hidden_size=9, layer_norm=False),
        replay=ReplayConfig(capacity=77, alpha=0.1, n_step=2),
        meta=MetaConfig(num_steps=2, first_order=True, inner_grad_norm=0.5, bound=None),
        adapt=AdaptConfig(phase_signal="none", context_dim=5, steps_ahead=3, train_support=9, young=0),
        learner=LearnerConfig(gamma=0.9, memory_scope="lifetime"),
        exploration=ExplorationConfig(final=0.3),
        entropy=EntropyConfig(target=-3.0),
        evaluation=EvaluationConfig(contexts=2, seed=9),
        log_formats=("json", "csv"),
        video=True,
        eval_share=0.5,
        actors=3,
        distributed=DistributedConfig(stretch=5),
    )
    default = settings_of(RunConfig())
    assert all(value != default[name] for name, value in settings_of(config).items())
    save_config(new_run_dir(config), config)
    assert load_config(config.run_dir, trust=True) == config


def test_settings_that_are_missing_have_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"seed": 3, "memory": {"memory_size": 16}}')
    assert load_config(tmp_path) == RunConfig(seed=3, memory=MemoryConfig(memory_size=16), run_dir=tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"seed": 3', "Expecting ',' delimiter"),
        ('{"sed": 3}', "RunConfig has no setting sed; did you mean seed"),
        ('{"memory": {"slots": 3}}', "MemoryConfig has no setting slots"),
        ('{"seed": "3"}', "RunConfig.seed is '3'; give a whole number"),
        ('{"seed": true}', "RunConfig.seed is True; give a whole number"),
        ('{"num_envs": 2.5}', "RunConfig.num_envs is 2.5; give a whole number"),
        ('{"algo": "ppo"}', "RunConfig.algo is 'ppo'; give 'auto' or 'dqn' or 'sac'"),
        ('{"phase_steps": "many"}', "RunConfig.phase_steps is 'many'; give a whole number or null"),
        ('{"learner": {"gamma": NaN}}', "LearnerConfig.gamma is nan; give a finite number"),
        ('{"adapt": {"enabled": "false"}}', "AdaptConfig.enabled is 'false'; give true or false"),
        ('{"memory": {"memory_size": 0}}', "memory_size is 0"),
        ('{"memory": 3}', "MemoryConfig is 3; give its settings by name"),
        ('{"seed": "' + "9" * 10**6 + '9"}', "RunConfig.seed is '999.*; give a whole number"),
        ("[" * 100_000, "recursion"),
        ("[1, 2]", "RunConfig is .*; give its settings by name"),
    ],
)
def test_a_broken_config_is_one_sentence(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match=f"config.json does not hold the settings of a run: .*{reason}"):
        load_config(tmp_path)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere is not a run folder: there is no config\.json"):
        load_config(tmp_path / "nowhere")


def test_a_run_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    empty, new = tmp_path / "empty", tmp_path / "some" / "new"
    empty.mkdir()
    for folder in (empty, new):
        assert new_run_dir(RunConfig(run_dir=folder)) == folder
        assert folder.is_dir()
        with pytest.raises(RunError, match="is there already and not empty"):
            new_run_dir(RunConfig(run_dir=folder))
    (tmp_path / "notes.txt").write_text("mine")
    for taken in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(RunError, match="is there already and not empty"):
            new_run_dir(RunConfig(run_dir=taken))
    with pytest.raises(RunError, match="No run folder can be made"):
        new_run_dir(RunConfig(run_dir=tmp_path / "notes.txt" / "below"))


def test_of_many_that_want_one_folder_one_gets_it(tmp_path: Path) -> None:
    def ask(_: int) -> Path | None:
        try:
            return new_run_dir(RunConfig(run_dir=tmp_path / "run"))
        except RunError:
            return None

    with ThreadPoolExecutor(8) as pool:
        assert sorted(path is not None for path in pool.map(ask, range(8))) == [False] * 7 + [True]


def test_runs_of_one_second_get_folders_that_tell_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = RunConfig(seed=5, memory=MemoryConfig(kind="lstm"))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_run_dir(config), range(20)))
    assert len(set(made)) == 20
    assert all(path.is_dir() and path.parent == Path("runs") for path in made)
    assert all(path.name.startswith("CartPole-v0-lstm-seed5-") for path in made)


def test_a_module_is_imported_for_those_alone_who_trust(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"env": "os:Thing-v0"}')
    with pytest.raises(RunError, match=r"a module would be imported; .*--trust"):
        load_config(tmp_path)
    assert load_config(tmp_path, trust=True).env == "os:Thing-v0"


def test_no_link_out_of_the_folder_is_followed(tmp_path: Path) -> None:
    outside, run_dir = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    run_dir.mkdir()
    (outside / "config.json").write_text("{}")
    for name, target in {
        "config.json": outside / "config.json",
        "model.zip": outside / "nothing",
        "figures": outside,
        "episodes.csv": run_dir / "episodes.csv",
    }.items():
        (run_dir / name).symlink_to(target)
        with pytest.raises(RunError, match=f"{name} is a link out of the run folder"):
            load_config(run_dir)
        (run_dir / name).unlink()
    (run_dir / "real.json").write_text('{"seed": 3}')
    (run_dir / "config.json").symlink_to("real.json")  # within the folder
    (tmp_path / "alias").symlink_to(run_dir)  # the folder itself, which the user names
    assert load_config(tmp_path / "alias").seed == 3


def test_a_killed_run_has_its_checkpoint(run_dir: Path, env: VecEnv) -> None:
    checkpoint = run_dir / "checkpoints" / "000000020"
    checkpoint.mkdir(parents=True)
    (run_dir / "model.zip").rename(checkpoint / "model.zip")
    assert model_file(run_dir) == checkpoint / "model.zip"
    assert load_agent(run_dir, SMALL, env).num_timesteps == 0


def test_the_loaded_agent_has_the_saved_weights_and_acts_the_same(run_dir: Path, env: VecEnv) -> None:
    saved, loaded = make_agent(replace(SMALL, seed=7), env), load_agent(run_dir, SMALL, env)
    untrained = weights(make_agent(SMALL, env))
    assert any(not torch.equal(untrained[name], part) for name, part in weights(saved).items())
    assert weights(saved).keys() == weights(loaded).keys()
    assert all(torch.equal(weights(saved)[name], weights(loaded)[name]) for name in weights(saved))
    obs = np.random.default_rng(0).normal(size=(6, *env.observation_space.shape)).astype(np.float32)
    assert np.array_equal(saved.predict(obs)[0], loaded.predict(obs)[0])


def test_broken_model_files_are_one_sentence(run_dir: Path, env: VecEnv) -> None:
    path = run_dir / "model.zip"
    good = path.read_bytes()
    other = replace(SMALL, memory=replace(SMALL.memory, hidden_size=8))

    def refused(config: RunConfig = SMALL) -> str:
        with pytest.raises(RunError) as caught:
            load_agent(run_dir, config, env)
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    assert "its settings describe another agent" in refused(other)
    path.write_bytes(good[: len(good) // 2])
    assert f"{path} was not loaded: it is not a whole ZIP archive" in refused()
    path.unlink()
    assert "holds neither model.zip nor a checkpoint" in refused()


def test_a_pickled_model_needs_trust(run_dir: Path, env: VecEnv) -> None:
    """What a run folder of memagent 0.1.0 holds."""
    agent = load_agent(run_dir, SMALL, env)
    OffPolicyAlgorithm.save(agent, run_dir / "model.zip")
    with pytest.raises(RunError, match=r"model\.zip was not loaded: it is pickled.*trust=True"):
        load_agent(run_dir, SMALL, env)
    loaded = load_agent(run_dir, SMALL, env, trust=True)
    assert all(torch.equal(weights(loaded)[name], weights(agent)[name]) for name in weights(agent))


def test_the_algorithm_follows_the_action_space(env: VecEnv, tmp_path: Path) -> None:
    assert isinstance(make_agent(SMALL, env), MemoryDQN)
    torques = envs.make_vec("Drift/Pendulum-v0", 2, seed=0)
    config = replace(SMALL, env="Drift/Pendulum-v0", entropy=EntropyConfig(target=-0.5))
    agent = make_agent(config, torques)
    assert isinstance(agent, MemorySAC) and agent.target_entropy == -0.5
    save_config(tmp_path, config)
    save_agent(agent, tmp_path)
    loaded = load_agent(tmp_path, load_config(tmp_path), torques)
    assert all(torch.equal(weights(agent)[name], weights(loaded)[name]) for name in weights(agent))
    torques.close()


@pytest.mark.parametrize(
    ("name", "algo", "reason"),
    [
        ("Pendulum-v1", "dqn", "action space Box.*MemorySAC"),
        ("CartPole-v1", "sac", "action space Discrete.*MemoryDQN"),
    ],
)
def test_an_environment_that_no_agent_fits_is_one_sentence(name: str, algo: str, reason: str) -> None:
    env = DummyVecEnv([lambda: gym.make(name)])
    with pytest.raises(RunError, match=f"No agent can learn in {name}: .*{reason}"):
        make_agent(RunConfig(env=name, algo=algo), env)
    env.close()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RunError("No."), 2, "error: No.\n"),
        (KeyError("x"), 2, "error: 'x'\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_what_a_person_reads_when_it_cannot_be_done(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, plain_errors(RunError, KeyError):
        raise error
    assert ended.value.code == code
    assert capsys.readouterr() == ("", said)


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), plain_errors(RunError):
        raise ZeroDivisionError


def test_json_is_plain(tmp_path: Path) -> None:
    save_config(tmp_path, RunConfig())
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["memory"]["memory_size"] == 128
    assert "run_dir" not in saved
