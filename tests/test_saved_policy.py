"""A policy comes back from its own file, which holds no pickle, or is refused in a sentence."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents.builders import Corridor, build, use_memory
from gymnasium import spaces

from memagent.agents import MemoryAlgorithm
from memagent.archive import ArchiveError, format_archive, parse_archive
from memagent.policies import MemoryActorCriticPolicy, MemoryPolicy, MemoryQPolicy

pytestmark = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")
BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))


@pytest.fixture
def dqn() -> MemoryAlgorithm:
    return use_memory(build(Corridor(), kind="dnc"))


@pytest.mark.parametrize("actions", [spaces.Discrete(3), BOX])
@pytest.mark.parametrize("enabled", [True, False])
def test_a_policy_comes_back(actions: spaces.Space, enabled: bool, tmp_path: Path) -> None:
    agent = use_memory(build(Corridor(actions=actions), kind="lstm", enabled=enabled, reward_scale=0.3))
    policy = agent.policy
    policy.save(tmp_path / "policy")
    loaded = type(policy).load(tmp_path / "policy")
    assert (loaded.reward_scale, loaded.adapt, loaded.head_size) == (
        policy.reward_scale,
        policy.adapt,
        policy.head_size,
    )
    rates = [[group["lr"] for group in p.optimizer.param_groups] for p in (policy, loaded)]
    assert rates[0] == rates[1]
    states: list[Any] = [None, None]
    for obs in np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32):
        given = [
            p.predict(obs, state, deterministic=True, adapt=False)
            for p, state in zip((policy, loaded), states, strict=True)
        ]
        np.testing.assert_array_equal(given[0][0], given[1][0])
        states = [state for _, state in given]
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "policy").read_bytes()


LIES: dict[str, tuple[Callable[[dict, dict], Any], str]] = {
    "a tensor missing": (lambda t, d: t.pop("heads.value.2.bias", t.popitem()), "has no tensor"),
    "other sizes": (lambda t, d: d["parameters"].update(head_size=7), "its settings describe another agent"),
    "endless sizes": (lambda t, d: d["parameters"]["memory"].update(hidden_size=10**12), "was not loaded"),
    "an unknown argument": (lambda t, d: d["parameters"].update(x=1), "unexpected keyword argument 'x'"),
    "a string for a number": (
        lambda t, d: d["parameters"]["memory"].update(hidden_size="7"),
        "MemoryConfig.hidden_size is '7'; give a whole number",
    ),
    "a number for a class": (lambda t, d: d.update({"class": 3}), "class is 3; give a string"),
    "a space": (lambda t, d: d["parameters"].update(observation_space={"type": "Dict"}), "expected a Box"),
}


@pytest.mark.parametrize("case", LIES)
def test_a_file_that_lies_is_refused(case: str, dqn: MemoryAlgorithm, tmp_path: Path) -> None:
    path, (lie, said) = tmp_path / "policy", LIES[case]
    dqn.policy.save(path)
    tensors, data = parse_archive(path.read_bytes())
    lie(tensors, data)
    path.write_bytes(format_archive(tensors, data))
    assert said in refusal(path)


def refusal(path: Path, cls: type[MemoryPolicy] = MemoryQPolicy) -> str:
    with pytest.raises(ArchiveError) as caught:
        cls.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path} was not loaded: ") and len(message.splitlines()) == 1
    return message


def test_other_files_are_refused(dqn: MemoryAlgorithm, tmp_path: Path) -> None:
    path = tmp_path / "policy"
    dqn.policy.save(path)
    assert "it holds a 'MemoryQPolicy', expected a MemoryActorCriticPolicy" in refusal(
        path, MemoryActorCriticPolicy
    )
    torch.save({"state_dict": {}, "data": pickle.dumps(1)}, path)  # what SB3 writes
    assert "it holds" in refusal(path)
    path.write_bytes(pickle.dumps(1))
    assert "not a whole ZIP archive" in refusal(path)
    dqn.save(tmp_path / "agent.zip")
    assert "its data has no class" in refusal(tmp_path / "agent.zip")


def test_weights_that_are_no_numbers_are_not_saved(dqn: MemoryAlgorithm, tmp_path: Path) -> None:
    with torch.no_grad():
        next(dqn.policy.parameters()).fill_(float("nan"))
    with pytest.raises(ArchiveError, match=r"policy was not written: .* holds NaN"):
        dqn.policy.save(tmp_path / "policy")
    assert not list(tmp_path.iterdir())
