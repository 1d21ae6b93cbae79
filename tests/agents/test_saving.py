"""Agents are saved without pickle, go on after loading, and a file that does not fit is refused in a sentence."""

import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents.builders import Corridor, build
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.mutations import bytes_altered, contents_altered, members_altered
from memagent.agents import EntropyConfig, LearnerConfig, MemoryAlgorithm, MemoryDQN, MemorySAC
from memagent.archive import ArchiveError, format_archive, parse_archive
from memagent.fields import space_as_json, space_of
from memagent.memory import MemoryConfig
from memagent.policies import MemoryQPolicy

pytestmark = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")
BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))


def corridors(count: int = 2, actions: spaces.Space | None = None) -> DummyVecEnv:
    return DummyVecEnv([lambda: Corridor(actions=actions) for _ in range(count)])


@pytest.fixture(scope="module")
def dqn() -> MemoryAlgorithm:
    return build(corridors(), kind="lstm").learn(200)


@pytest.fixture(scope="module")
def sac() -> MemoryAlgorithm:
    return build(corridors(actions=BOX), kind="none").learn(200)


@pytest.fixture
def file(dqn: MemoryAlgorithm, tmp_path: Path) -> Path:
    dqn.save(tmp_path / "agent.zip")
    return tmp_path / "agent.zip"


def changed(file: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> Path:
    """The file with other contents and right digests, as one makes it who means to deceive."""
    tensors, data = parse_archive(file.read_bytes())
    change(tensors, data)
    file.write_bytes(format_archive(tensors, data))
    return file


def refusal(path: Any, cls: type[MemoryAlgorithm] = MemoryDQN, **given: Any) -> str:
    with pytest.raises(ArchiveError) as caught:
        cls.load(path, **given)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("name", ["dqn", "sac"])
def test_nothing_of_an_agent_is_lost(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    agent: MemoryAlgorithm = request.getfixturevalue(name)
    agent.save(tmp_path / "agent.zip")
    loaded = type(agent).load(tmp_path / "agent.zip")
    for part, other in zip(agent.get_parameters().values(), loaded.get_parameters().values(), strict=True):
        assert_same(part, other)
    known = set(vars(agent)) - {
        "policy",
        "env",
        "replay_buffer",
        "acting",
        "held",  # random actions that are kept: an agent that is loaded draws others
        "generator",
        "start_time",
        "_logger",
    }
    known -= {"lr_schedule", "learning_rate", "action_space", "device"}
    for attribute in known:
        assert_same(getattr(agent, attribute), getattr(loaded, attribute), attribute)
    assert loaded.action_space == agent.action_space
    assert [loaded.lr_schedule(x) for x in (1.0, 0.3)] == [agent.lr_schedule(x) for x in (1.0, 0.3)]
    assert loaded.generator.bit_generator.state == agent.generator.bit_generator.state
    loaded.save(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "agent.zip").read_bytes()


def assert_same(a: Any, b: Any, name: str = "") -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys(), name
        for key in a:
            assert_same(a[key], b[key], f"{name}.{key}")
    elif isinstance(a, torch.Tensor | np.ndarray):
        assert np.array_equal(np.asarray(a), np.asarray(b)), name
    else:
        assert a == b, name


def test_learning_goes_on_with_more_or_fewer_environments(file: Path, dqn: MemoryAlgorithm) -> None:
    for count in (1, 2, 3):
        loaded = MemoryDQN.load(file, env=corridors(count))
        loaded.learn(60, reset_num_timesteps=False)
        assert loaded.num_timesteps >= dqn.num_timesteps + 60
        assert loaded._n_updates > dqn._n_updates


def test_paths_and_file_objects(dqn: MemoryAlgorithm, tmp_path: Path) -> None:
    dqn.save(str(tmp_path / "new" / "agent"))  # SB3 makes folders and appends .zip
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["agent.zip"]
    buffer = io.BytesIO()
    dqn.save(buffer)
    assert buffer.getvalue() == (tmp_path / "new" / "agent.zip").read_bytes()
    for path in (
        str(tmp_path / "new" / "agent"),
        tmp_path / "new" / "agent.zip",
        io.BytesIO(buffer.getvalue()),
    ):
        assert MemoryDQN.load(path).num_timesteps == dqn.num_timesteps
    with (tmp_path / "new" / "agent.zip").open("rb") as opened:
        assert MemoryDQN.load(opened, trust=True).num_timesteps == dqn.num_timesteps
    with pytest.raises(FileNotFoundError):
        MemoryDQN.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("given", "written"),
    [("plain", "plain.npz"), ("buffer.pkl", "buffer.pkl"), ("new/folder/b.npz", "new/folder/b.npz")],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_the_replay_is_where_its_path_says(
    dqn: MemoryAlgorithm, tmp_path: Path, kind: type, given: str, written: str
) -> None:
    path = kind(tmp_path / given)
    dqn.save_replay_buffer(path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / written]
    other = build(DummyVecEnv([Corridor] * 2), kind="lstm", seed=5)
    for without in (False, True):
        if without:
            other.replay_buffer = None
        other.load_replay_buffer(path)
    assert other.replay_buffer.size() == dqn.replay_buffer.size() > 0


def test_a_replay_of_other_sizes_or_of_none_is_refused(dqn: MemoryAlgorithm, tmp_path: Path) -> None:
    stream = io.BytesIO()
    dqn.save_replay_buffer(stream)
    stream.seek(0)
    other = build(DummyVecEnv([Corridor] * 2), kind="lstm", capacity=2048)
    with pytest.raises(
        ValueError, match="The file holds no replay for this agent: The saved replay has the sizes"
    ):
        other.load_replay_buffer(stream)
    for content in (b"", b"PK", pickle.dumps([1])):
        (tmp_path / "replay.npz").write_bytes(content)
        with pytest.raises(ValueError, match="replay holds no replay for this agent"):
            dqn.load_replay_buffer(tmp_path / "replay")


def test_each_algorithm_refuses_the_others_file(file: Path, sac: MemoryAlgorithm) -> None:
    assert "it holds a 'MemoryDQN', expected a MemorySAC" in refusal(file, MemorySAC)
    buffer = io.BytesIO()
    sac.save(buffer)
    buffer.seek(0)
    assert "The file was not loaded: it holds a 'MemorySAC', expected a MemoryDQN" in refusal(buffer)


def test_settings_are_taken_or_refused(file: Path, sac: MemoryAlgorithm) -> None:
    learner = LearnerConfig(learning_rate=1e-5, batch_size=2, steps_per_update=16)
    for loaded in (
        MemoryDQN.load(file, env=corridors(), learner=learner),
        MemoryDQN.load(file, env=corridors(), custom_objects={"learner": learner}),
    ):
        loaded.learn(60, reset_num_timesteps=False)
        assert loaded.policy.optimizer.param_groups[0]["lr"] == 1e-5
        assert loaded.batch_size == 2
    assert MemoryDQN.load(file, learning_rate=1e-5).learner.learning_rate == 1e-5
    assert "was given n_steps, expected some of" in refusal(file, n_steps=3)
    assert "was given clip_range" in refusal(file, custom_objects={"clip_range": 0.2})
    assert "its settings describe another agent" in refusal(
        file, memory=MemoryConfig(kind="lstm", hidden_size=9)
    )
    assert "its policy_kwargs are" in refusal(file, policy_kwargs={"head_size": 99})
    buffer = io.BytesIO()
    sac.save(buffer)
    buffer.seek(0)
    hot = MemorySAC.load(buffer, entropy=EntropyConfig(learning_rate=0.5))
    assert hot.policy.optimizer.param_groups[-1]["lr"] == 0.5


def test_a_temperature_and_a_seed_that_are_given_take_the_place_of_the_files(sac: MemorySAC) -> None:
    buffer = io.BytesIO()
    sac.save(buffer)

    def load(**given: Any) -> MemorySAC:
        buffer.seek(0)
        return MemorySAC.load(buffer, corridors(actions=BOX), **given)

    learned = sac.policy.log_temperature.item()
    assert load(ent_coef="auto").policy.log_temperature.item() == learned != np.log(0.1)
    fixed, begun = (load(ent_coef=given).learn(100, reset_num_timesteps=False) for given in (0.5, "auto_0.5"))
    assert fixed.policy.log_temperature.exp().item() == pytest.approx(0.5, abs=1e-6)
    assert 0.0 < abs(begun.policy.log_temperature.exp().item() - 0.5) < 0.1
    draws = [load(seed=seed).generator.random() for seed in (None, None, 1, 1, 2)]
    assert draws[0] == draws[1] and draws[2] == draws[3] and len(set(draws)) == 3


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=1, dtype=np.int32),
        spaces.Box(0, 1, (3,), np.bool_),
        spaces.Box(0, 2**64 - 1, (2,), np.uint64),
    ],
    ids=str,
)
def test_spaces_of_any_number_are_said_in_json(space: spaces.Space) -> None:
    assert space_of(json.loads(json.dumps(space_as_json(space)))) == space


def test_a_file_does_not_say_where_to_write(tmp_path: Path) -> None:
    agent = build(corridors(), kind="none")
    agent.tensorboard_log = str(tmp_path / "logs")
    agent.save(tmp_path / "agent")
    assert MemoryDQN.load(tmp_path / "agent").tensorboard_log is None
    assert MemoryDQN.load(tmp_path / "agent", tensorboard_log="mine").tensorboard_log == "mine"
    data = parse_archive((tmp_path / "agent.zip").read_bytes())[1]
    assert str(tmp_path) not in json.dumps(data)


def test_another_environment_is_refused(file: Path) -> None:
    assert "Action spaces do not match" in refusal(file, env=corridors(actions=spaces.Discrete(5)))


class OwnPolicy(MemoryQPolicy):
    """A policy of a user."""


def test_a_policy_of_ones_own_is_given_not_imported(tmp_path: Path) -> None:
    MemoryDQN(OwnPolicy, corridors(), memory=MemoryConfig(kind="none")).save(tmp_path / "own.zip")
    assert "OwnPolicy', and no class is imported" in refusal(tmp_path / "own.zip")
    loaded = MemoryDQN.load(tmp_path / "own.zip", custom_objects={"policy_class": OwnPolicy})
    assert type(loaded.policy) is OwnPolicy


def test_system_info_is_shown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MemoryDQN.load(file, print_system_info=True)
    shown = capsys.readouterr().out
    assert shown.count(f"- PyTorch: {torch.__version__}") == 2


def test_weights_are_taken_from_a_file_or_a_dict(file: Path, dqn: MemoryAlgorithm) -> None:
    fresh = build(corridors(), kind="lstm", seed=9)
    fresh.set_parameters(file)
    assert_same(fresh.get_parameters(), dqn.get_parameters())
    other = build(corridors(), kind="lstm", seed=8)
    other.set_parameters(dqn.get_parameters())
    assert_same(other.policy.state_dict(), dqn.policy.state_dict())
    with pytest.raises(ArchiveError, match="its settings describe another agent"):
        build(corridors(), kind="lstm", hidden_size=9).set_parameters(file)


def test_what_cannot_be_said_without_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"

    def refused(agent: MemoryAlgorithm, **given: Any) -> str:
        with pytest.raises(ArchiveError) as caught:
            agent.save(path, **given)
        assert not list(tmp_path.iterdir())
        return str(caught.value)

    agent = build(corridors(), kind="none")
    assert "leave them out" in refused(agent, include=["replay_buffer"])
    agent.policy.optimizer = torch.optim.SGD(agent.policy.parameters(), lr=0.1)
    assert "the optimiser is SGD, expected Adam" in refused(agent)
    agent = build(corridors(), kind="none")
    agent.generator = np.random.Generator(np.random.MT19937(0))
    assert "PCG64" in refused(agent)
    agent = build(corridors(), kind="none")
    agent.policy_kwargs = {"features_dim": torch.tensor(3)}
    assert "only what JSON can say" in refused(agent)
    agent = build(corridors(), kind="none")
    with torch.no_grad():
        next(agent.policy.parameters()).fill_(float("nan"))
    assert "holds NaN or infinity" in refused(agent)


def test_an_interrupted_save_keeps_the_file_that_was_there(
    file: Path, dqn: MemoryAlgorithm, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(corridors(), kind="none").save(file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["agent.zip"]


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_pickled_file_needs_trust(dqn: MemoryAlgorithm, tmp_path: Path) -> None:
    """What memagent 0.1.0 wrote: SB3's own save."""
    path = tmp_path / "old.zip"
    OffPolicyAlgorithm.save(dqn, path)
    said = refusal(path)
    assert (
        "it is pickled, by Stable-Baselines3 2." in said and "memagent 0.1.0" in said and "trust=True" in said
    )
    loaded = MemoryDQN.load(path, env=corridors(), trust=True)
    assert_same(loaded.policy.state_dict(), dqn.policy.state_dict())
    loaded.save(tmp_path / "new.zip")
    assert MemoryDQN.load(tmp_path / "new.zip").num_timesteps == dqn.num_timesteps


def test_no_code_in_a_file_is_run(tmp_path: Path) -> None:
    trap, path = tmp_path / "sprung", tmp_path / "agent.zip"
    buffer = io.BytesIO()
    torch.save({"heads": Touch(trap)}, buffer)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": {":serialized:": "gASVAAAA"}}))
        archive.writestr("policy.pth", buffer.getvalue())
    assert "it is pickled, by Stable-Baselines3 of an unknown version" in refusal(path)
    path.write_bytes(pickle.dumps(Touch(trap)))
    assert "not a whole ZIP archive" in refusal(path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Touch(trap)))
    assert trap.exists()  # it would have been


LIES: dict[str, tuple[Callable[[dict, dict], Any], str]] = {
    "a tensor missing": (lambda t, d: t.pop("policy/heads.value.bias"), "has no tensor"),
    "a tensor too many": (lambda t, d: t.update({"policy/x": torch.zeros(1)}), "unknown tensor 'policy/x'"),
    "a part too many": (lambda t, d: t.update({"x": torch.zeros(1)}), "unknown tensor 'x'"),
    "a run's tensor too many": (lambda t, d: t.update({"run/x": torch.zeros(1)}), "unknown tensor 'run/x'"),
    "negative moments": (
        lambda t, d: next(v for k, v in t.items() if k.endswith("exp_avg_sq")).fill_(-1),
        "below 0",
    ),
    "halves": (
        lambda t, d: t.update({k: v.half() for k, v in t.items() if "policy/" in k}),
        "is torch.float16",
    ),
    "other sizes": (
        lambda t, d: d["configs"]["memory"].update(hidden_size=17),
        "settings describe another agent",
    ),
    "endless sizes": (lambda t, d: d["configs"]["memory"].update(hidden_size=10**12), "was not loaded"),
    "an endless replay": (lambda t, d: d["configs"]["replay"].update(capacity=10**12), "GB of this machine"),
    "endless environments": (lambda t, d: d.update(n_envs=10**9), "GB of this machine"),
    "no environments": (lambda t, d: d.update(n_envs=0), "0 environments"),
    "other episodes": (
        lambda t, d: t.update({"run/episodes": torch.zeros(5)}),
        "no tensor run/episodes of shape",
    ),
    "a string for a bool": (
        lambda t, d: d["configs"]["adapt"].update(enabled="false"),
        "AdaptConfig.enabled is 'false'; give true or false",
    ),
    "an unknown setting": (
        lambda t, d: d["configs"]["memory"].update(hiden_size=3),
        "did you mean hidden_size",
    ),
    "a setting out of range": (lambda t, d: d["configs"]["learner"].update(gamma=3.0), "gamma=3.0"),
    "no settings": (lambda t, d: d.pop("configs"), "its data has no configs"),
    "an unknown policy": (lambda t, d: d.update(policy="os.system"), "no class is imported"),
    "an unknown argument": (lambda t, d: d["policy_kwargs"].update(x=1), "no policy has its settings"),
    "a space": (lambda t, d: d["action_space"].update(type="Dict"), "expected a Box or Discrete"),
    "no actions": (lambda t, d: d["action_space"].update(n=0), "expected n above 0"),
    "bounds beyond the type": (
        lambda t, d: d["observation_space"].update(low=[-1e308, 0]),
        "no bounds that fit",
    ),
    "bounds": (lambda t, d: d["observation_space"].update(low=["nan", 0]), "no bounds that fit"),
    "a layout": (lambda t, d: d.update(transition_layout={"start": [0, 99]}), "expected a range in 0 to 2"),
    "half a layout": (lambda t, d: d.update(transition_layout={"start": [0, 1]}), "has no change"),
    "a counter below 0": (lambda t, d: d["counters"].update(_n_updates=-1), "_n_updates is -1"),
    "a generator": (lambda t, d: d["generator"].update(bit_generator="MT19937"), "not in a state of PCG64"),
    "episodes": (lambda t, d: d["episodes"].append({"r": "x"}), "r is 'x'; give a finite number"),
}


@pytest.mark.parametrize("case", LIES)
def test_a_file_that_lies_is_refused(case: str, file: Path) -> None:
    lie, said = LIES[case]
    message = refusal(changed(file, lie))
    assert message.startswith(f"{file} was not loaded: ")
    assert said in message


@pytest.mark.parametrize("mutate", [bytes_altered, contents_altered, members_altered])
def test_a_hundred_mutations_are_refused_or_change_no_weight(
    file: Path, dqn: MemoryAlgorithm, mutate: Callable[[bytes, random.Random], bytes]
) -> None:
    whole, rng, said = file.read_bytes(), random.Random(0), []
    for _ in range(100):
        try:
            loaded = MemoryDQN.load(io.BytesIO(mutate(whole, rng)))
        except ArchiveError as error:
            said.append(str(error))
        else:
            assert_same(loaded.policy.state_dict(), dqn.policy.state_dict())
            assert_same(
                loaded.policy.optimizer.state_dict()["state"], dqn.policy.optimizer.state_dict()["state"]
            )
    assert len(said) > 80
    assert all(len(message.splitlines()) == 1 for message in said)
