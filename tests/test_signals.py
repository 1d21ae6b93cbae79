"""A training that ends early, by a signal, an error or bad numbers, keeps its agent and says so."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents.builders import Corridor, build
from stable_baselines3.common.vec_env import DummyVecEnv

from memagent.agents import MemoryAlgorithm, MemoryDQN
from memagent.checkpoints import saved
from memagent.files import write_bytes
from memagent.run_config import RunConfig
from memagent.tracking import start_run
from train import learn

pytestmark = [
    pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation"),
    pytest.mark.filterwarnings("ignore:You are trying to run"),
]
STEP = 150


class At(Corridor):
    """A corridor in which something happens at its 150th step."""

    def __init__(self, happen: Callable[[], object]) -> None:
        super().__init__()
        self.happen, self.steps = happen, 0

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        if self.steps == STEP:
            self.happen()
        return super().step(action)


def train(tmp_path: Path, happen: Callable[[], object], every: int | None = None) -> MemoryAlgorithm:
    """The agent after the training, or after what ended it; it had one environment."""
    agent = build(DummyVecEnv([lambda: At(happen)]), kind="none")
    config = RunConfig(total_timesteps=400, save_every=every, num_envs=1, eval_share=0.0)
    with start_run(tmp_path, {}, "disabled") as tracker:
        learn(agent, config, tmp_path, tracker)
    return agent


def status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text())


def end(tmp_path: Path, happen: Callable[[], object], every: int | None = None) -> int:
    with pytest.raises(SystemExit) as ended:
        train(tmp_path, happen, every)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_training_to_the_end(tmp_path: Path) -> None:
    agent = train(tmp_path, lambda: None)
    assert status(tmp_path) == {"state": "trained", "steps": agent.num_timesteps}
    assert MemoryDQN.load(tmp_path / "model.zip").num_timesteps == agent.num_timesteps >= 400
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(("number", "code", "word"), [(2, 130, "Interrupted"), (15, 143, "Terminated")])
def test_a_signal_finishes_the_step_and_saves(
    tmp_path: Path, number: int, code: int, word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    assert end(tmp_path, lambda: os.kill(os.getpid(), number)) == code
    assert status(tmp_path) == {"state": "interrupted", "steps": STEP}
    assert MemoryDQN.load(tmp_path / "model.zip").num_timesteps == STEP
    said = capfd.readouterr().err.splitlines()[-1]
    assert said == (
        f"{word} after {STEP} steps; the agent is saved in {tmp_path / 'model.zip'}; go on with "
        f"`python train.py --resume {tmp_path}`."
    )
    assert [path.name for path in saved(tmp_path / "checkpoints")] == [f"{STEP:09d}"]
    assert signal.getsignal(number) == before


def test_an_error_of_the_environment_keeps_the_agent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("the simulator's socket was closed\nmore of it")

    assert end(tmp_path, fail) == 1
    assert status(tmp_path)["state"] == "failed"
    assert MemoryDQN.load(tmp_path / "model.zip").num_timesteps == STEP - 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: RuntimeError: the simulator's socket was closed, after {STEP - 1} steps")
    assert "in fail" in (tmp_path / "error.txt").read_text()


def test_numbers_gone_bad_leave_the_checkpoint_from_before(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agents = []
    monkeypatch.setattr(
        MemoryAlgorithm, "train", lambda self, gradient_steps, batch_size: agents.append(self)
    )

    def spoil() -> None:
        with torch.no_grad():
            next(agents[0].policy.parameters()).fill_(float("nan"))

    assert end(tmp_path, spoil, every=100) == 1
    assert status(tmp_path)["state"] == "failed"
    assert not (tmp_path / "model.zip").exists()
    (checkpoint,) = saved(tmp_path / "checkpoints")
    assert MemoryDQN.load(checkpoint / "model.zip").num_timesteps == 112  # the first update after 100 steps
    said = capfd.readouterr().err.splitlines()[-1]
    assert "holds NaN" in said and f"{checkpoint} is the newest that was" in said


def test_a_signal_waits_for_a_file_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []

    def write(path: Path, data: bytes) -> Path:
        sent.append(path.name)
        os.kill(os.getpid(), signal.SIGTERM)
        return write_bytes(path, data)

    monkeypatch.setattr("memagent.agents.checkpoint.write_bytes", write)
    monkeypatch.setattr("memagent.agents.saving.write_bytes", write)
    monkeypatch.setattr("memagent.stopping.os._exit", lambda code: None)  # it would be the second signal
    assert end(tmp_path, lambda: None, every=100) == 143
    assert (
        sent == ["model.zip"] * 3
    )  # the checkpoint at which the signal came, that of the next step, the agent
    assert [path.name for path in saved(tmp_path / "checkpoints")] == ["000000112", "000000113"]
    assert MemoryDQN.load(tmp_path / "model.zip").num_timesteps == 113


def test_a_second_signal_leaves_at_once() -> None:
    program = (
        "import os, signal; from memagent.stopping import StopOnSignal\n"
        "with StopOnSignal() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT); print(stop.received.name, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print('not at once')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (143, "SIGINT\n")
    assert "a second signal leaves at once" in done.stderr
