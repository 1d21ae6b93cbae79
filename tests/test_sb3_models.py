"""evaluate.py plays models of Stable-Baselines3 and sb3-contrib by the protocol that agents of ours are judged by."""

import base64
import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from agents.builders import Corridor
from sb3_contrib import ARS, QRDQN, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

import envs
from evaluate import choose_contexts, hold, main, parse
from memagent import MemoryConfig, MemoryDQN
from memagent.run_config import EvaluationConfig, RunConfig
from memagent.runs import RunError
from memagent.sb3_models import CLASSES, algorithm_class

CARTPOLE, PENDULUM = "Drift/CartPole-v0", "Drift/Pendulum-v0"
FEW = ["--contexts=1", "--episodes=2", "--warmup-episodes=1", "--seed=4"]


def saved(
    folder: Path, kind: type[BaseAlgorithm], env: Any, policy: str = "MlpPolicy", **settings: Any
) -> Path:
    """An untrained model's zip."""
    small = {} if kind is ARS else {"policy_kwargs": {"net_arch": [8]}}
    if kind is RecurrentPPO:
        small["policy_kwargs"]["lstm_hidden_size"] = 8
    kind(policy, env, seed=1, device="cpu", **small, **settings).save(path := folder / f"{kind.__name__}.zip")
    return path


@pytest.fixture(scope="module")
def ppo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(
        tmp_path_factory.mktemp("model"), PPO, envs.make_vec(CARTPOLE, 1, 0), n_steps=8, batch_size=8
    )


def judge(model: Path, algo: str, env: str, *more: str | Path) -> dict[str, Any]:
    words = ["--model", model, "--algo", algo, "--env", env, *FEW, *more]
    main(parse([str(word) for word in words]))
    out = Path(words[words.index("--out") + 1]) if "--out" in words else model.with_suffix("")
    return json.loads((out / "evaluation.json").read_text())


def test_the_names_are_those_of_algorithms() -> None:
    for algo, (_, name) in CLASSES.items():
        kind = algorithm_class(algo)
        assert issubclass(kind, BaseAlgorithm) and kind.__name__ == name


@pytest.mark.parametrize(
    ("kind", "algo", "env", "stack"),
    [
        (PPO, "ppo", CARTPOLE, 1),
        (RecurrentPPO, "recurrent_ppo", CARTPOLE, 1),
        (QRDQN, "qrdqn", CARTPOLE, 1),
        (ARS, "ars", CARTPOLE, 1),
        (SAC, "sac", PENDULUM, 3),
    ],
)
def test_returns_are_those_that_sb3_finds_in_the_same_contexts(
    tmp_path: Path, kind: type[BaseAlgorithm], algo: str, env: str, stack: int
) -> None:
    def make(num_envs: int, seed: int) -> VecFrameStack:
        return VecFrameStack(envs.make_vec(env, num_envs, seed), stack)

    policy = {"recurrent_ppo": "MlpLstmPolicy", "ars": "LinearPolicy"}.get(algo, "MlpPolicy")
    path = saved(tmp_path, kind, make(1, 0), policy)
    records = judge(path, algo, env, "--trust", "--num-stack", str(stack))["contexts"]
    contexts = choose_contexts(RunConfig(env=env, evaluation=EvaluationConfig(contexts=1, seed=4)))
    assert [(r["split"], r["context"], r["adapted"]) for r in records] == [
        (c.split, c.context, False) for c in contexts
    ]
    alone = hold(make(1, 4), contexts[:1])  # environment 0 is the same, however many there are
    expected, _ = evaluate_policy(
        kind.load(path, device="cpu"), alone, n_eval_episodes=3, return_episode_rewards=True
    )
    assert records[0]["warmup_returns"] + records[0]["returns"] == pytest.approx(expected)


def test_statistics_of_a_vec_normalize_are_taken_and_left_as_they_are(tmp_path: Path) -> None:
    def make(num_envs: int, seed: int, **settings: bool) -> VecNormalize:
        return VecNormalize(envs.make_vec(CARTPOLE, num_envs, seed), **settings)

    seen = make(4, 0)
    path = saved(tmp_path, PPO, seen, n_steps=8, batch_size=8)
    seen.reset()
    for _ in range(50):
        seen.step(np.array([0, 1, 0, 1]))
    seen.save(str(statistics := tmp_path / "vecnormalize.pkl"))
    before = statistics.read_bytes()
    records = judge(path, "ppo", CARTPOLE, "--trust", "--vec-normalize", statistics)["contexts"]
    alone = make(1, 4, training=False, norm_reward=False)
    alone.obs_rms = seen.obs_rms
    contexts = choose_contexts(RunConfig(evaluation=EvaluationConfig(contexts=1, seed=4)))
    held = hold(alone, contexts[:1])
    expected, _ = evaluate_policy(
        PPO.load(path, device="cpu"), held, n_eval_episodes=3, return_episode_rewards=True
    )
    found = records[0]["warmup_returns"] + records[0]["returns"]
    assert found == pytest.approx(expected) and statistics.read_bytes() == before
    bare = judge(path, "ppo", CARTPOLE, "--trust", "--out", tmp_path / "bare")["contexts"]
    assert [r["returns"] for r in bare] != [r["returns"] for r in records]
    asked = ["--model", path, "--algo", "ppo", "--env", CARTPOLE, "--trust", "--out", tmp_path / "new"]
    refused("PPO.zip holds no statistics of such observations: ", *asked, "--vec-normalize", path)
    refused("no.pkl holds no statistics .*No such file", *asked, "--vec-normalize", tmp_path / "no.pkl")


def test_it_writes_what_is_written_of_a_run(
    ppo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = judge(ppo, "ppo", CARTPOLE, "--trust", "--out", tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"evaluation.json", "figures", "report.html"}
    assert (tmp_path / "out" / "figures" / "contexts.png").read_bytes().startswith(b"\x89PNG")
    assert {"model": "PPO.zip", "algo": "ppo", "env": CARTPOLE, "num_stack": 1}.items() <= made[
        "settings"
    ].items()
    random = envs.reference_scores(CARTPOLE)["train"]["random"]
    oracle = envs.reference_scores(CARTPOLE)["train"]["oracle"]
    score = made["summary"]["train"]["unadapted"]
    assert made["normalised"]["train"] == {"adapted": None, "unadapted": (score - random) / (oracle - random)}
    page = (tmp_path / "out" / "report.html").read_text()
    printed = capsys.readouterr().out
    for text in (page.partition('id="scores"')[2].partition("</section>")[0], printed):
        assert "training (1)" in text and "normalised" in text and "unadapted" not in text
    assert f"{CARTPOLE}, ppo" in printed and str(tmp_path / "out" / "report.html") in printed.replace(
        "\n", ""
    )


def test_without_out_a_folder_of_the_models_name_lies_beside_it(ppo: Path) -> None:
    first = judge(ppo, "ppo", CARTPOLE, "--trust")
    assert (ppo.parent / "PPO" / "report.html").is_file()
    assert judge(ppo, "ppo", CARTPOLE, "--trust") == first
    with pytest.raises(RunError, match=r"holds an evaluation with other settings.*--out"):
        judge(ppo, "ppo", CARTPOLE, "--trust", "--episodes=3")


def test_a_model_that_was_trained_without_the_last_transition_gets_bare_observations(tmp_path: Path) -> None:
    for env in ("CartPole-v1", gym.make(CARTPOLE, transition_observation=False)):
        path = saved(tmp_path, DQN, env, buffer_size=1_000_000)
        name = env if isinstance(env, str) else CARTPOLE
        judged = judge(path, "dqn", name, "--trust", "--out", tmp_path / name)
        assert ("normalised" in judged) == (name == CARTPOLE)


def test_sampled_actions_are_of_the_seed(ppo: Path, tmp_path: Path) -> None:
    def sampled(folder: str, *more: str) -> list[list[float]]:
        records = judge(ppo, "ppo", CARTPOLE, "--trust", "--out", tmp_path / folder, *more)["contexts"]
        return [r["returns"] for r in records]

    one, same = (sampled(name, "--deterministic", "False") for name in ("one", "same"))
    assert one == same != sampled("best")


class Endless(Corridor):
    """Pays 1 a step, for ever."""

    def __init__(self) -> None:
        super().__init__(length=10**9)


def test_judging_ends_where_episodes_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gym.registry, "Endless-v0", gym.envs.registration.EnvSpec("Endless-v0", Endless))
    path = saved(tmp_path, PPO, envs.make_vec("Endless-v0", 1, 0), n_steps=8, batch_size=8)
    (record,) = judge(path, "ppo", "Endless-v0", "--trust", "--time-limit=6")["contexts"]
    assert record["returns"] == [6.0, 6.0] and record["warmup_returns"] == [6.0]


def refused(said: str, *words: str | Path) -> None:
    with pytest.raises(RunError, match=said) as caught:
        main(parse([str(word) for word in words]))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_judged_is_one_sentence(ppo: Path, tmp_path: Path) -> None:
    asked = ["--algo", "ppo", "--env", CARTPOLE, "--trust"]
    before = sorted(ppo.parent.rglob("*"))
    refused("There is no model .*none.zip; give", "--model", tmp_path / "none.zip", *asked)
    refused(
        r"Drift/CartPole-v0 shows Box\(-inf, inf, \(4,\).*--num-stack",
        "--model",
        ppo,
        *asked,
        "--num-stack=2",
    )
    refused(
        r"act in Discrete\(2\); Pendulum-v1 shows.*takes Box", "--model", ppo, *asked, "--env", "Pendulum-v1"
    )
    refused("num_stack is 0; give 1 or more", "--model", ppo, *asked, "--num-stack=0")
    refused("was not loaded as dqn: .*name the algorithm", "--model", ppo, *asked, "--algo", "dqn")
    refused("device is 'gpu'", "--model", ppo, *asked, "--device=gpu")
    refused("contexts is 0; give 1", "--model", ppo, *asked, "--contexts=0")
    refused("environment No-v0 cannot be made", "--model", ppo, *asked, "--env", "No-v0")
    refused("A model needs --model, --algo and --env", "--model", ppo)
    refused("A model needs --model, --algo and --env", "--env", CARTPOLE)
    refused("A model and run folders were given", tmp_path, "--model", ppo, *asked)
    refused("There is nothing to judge", "--contexts=3")
    refused("cannot be written into", "--model", ppo, *asked, "--out", __file__)
    assert sorted(ppo.parent.rglob("*")) == before


def test_an_unknown_algorithm_is_refused_with_those_that_there_are(
    ppo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--model", str(ppo), "--algo", "impala", "--env", CARTPOLE])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "'impala'" in said and "recurrent_ppo" in said


def test_a_file_that_is_no_model_is_named_so(tmp_path: Path) -> None:
    asked = ["--algo", "ppo", "--env", CARTPOLE, "--trust"]
    (tmp_path / "text.zip").write_text("not a zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with zipfile.ZipFile(tmp_path / "hollow.zip", "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", b"")
    env = envs.make_vec(CARTPOLE, 1, 0)
    MemoryDQN("MemoryPolicy", env, memory=MemoryConfig(kind="none", hidden_size=8)).save(
        tmp_path / "ours.zip"
    )
    for name in ("text", "other", "ours"):
        refused(f"{name}.zip is no model of Stable-Baselines3", "--model", tmp_path / f"{name}.zip", *asked)
    refused("hollow.zip was not loaded as ppo: ", "--model", tmp_path / "hollow.zip", *asked)


class Touches:
    """Unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_code_in_a_model_runs_with_trust_alone(tmp_path: Path) -> None:
    ran, model = tmp_path / "ran", tmp_path / "evil.zip"
    code = base64.b64encode(pickle.dumps(Touches(ran))).decode()
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": {":type:": "x", ":serialized:": code}}))
        archive.writestr("policy.pth", b"")
    asked = ["--model", model, "--algo", "ppo", "--env", CARTPOLE]
    refused("runs whatever code it holds; if you trust who made it, add --trust", *asked)
    assert not ran.exists()
    refused("was not loaded as ppo", *asked, "--trust")
    assert ran.exists()


def test_without_sb3_contrib_its_algorithms_are_refused(ppo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    asked = ["--model", ppo, "--env", CARTPOLE, "--trust", "--algo"]
    refused("recurrent_ppo is an algorithm of sb3-contrib, which is not installed", *asked, "recurrent_ppo")


def test_a_models_replay_takes_no_room(tmp_path: Path) -> None:
    from memagent.sb3_models import load_model

    path = saved(tmp_path, DQN, "CartPole-v1", buffer_size=1_000)
    model = load_model(path, "dqn", "cpu", trust=True)
    assert isinstance(model, DQN) and model.replay_buffer is not None
    assert model.replay_buffer.observations.shape[0] == 1
    assert np.isfinite(model.predict(np.zeros((1, 4), np.float32))[0]).all()
