"""What saving costs: a checkpoint of a large replay, the share of training, and whether memory grows.

python -m benchmarks.saving checkpoint      200,000 transitions with the default DNC's states
python -m benchmarks.saving share           training at the default interval, one checkpoint
python -m benchmarks.saving growth          200,000 steps of a tiny agent

Each writes its part of benchmarks/results/saving.json. Linux alone says how much memory a process has. On a machine
that has other things to do, processor time says more than the clock.
"""

import json
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

import envs
from benchmarks.runs import machine, resident
from memagent.agents import AdaptConfig, LearnerConfig, MemoryAlgorithm, MemoryDQN
from memagent.checkpoints import Checkpoints
from memagent.files import write_bytes, write_text
from memagent.memory import MemoryConfig
from memagent.presets import preset_settings
from memagent.replay import ReplayConfig
from memagent.run_config import RunConfig, preset_config
from memagent.runs import make_agent

ENV = "Drift/CartPole-v0"
RESULTS = Path(__file__).parent / "results" / "saving.json"


@dataclass(frozen=True)
class Options:
    """What is measured."""

    part: tyro.conf.Positional[Literal["checkpoint", "share", "growth"]]
    """A checkpoint's time, the share of training, or the growth of memory."""
    transitions: int = 200_000
    """For a checkpoint, how many the replay holds."""
    rounds: int = 3
    """For a checkpoint, how often it is written."""
    steps: int = 200_000
    """For the growth, environment steps."""
    warm_up: int = 20_000
    """For the growth, steps after which memory is compared with what it was."""
    out: Path = RESULTS
    """The file."""


def checkpoint(options: Options) -> dict[str, Any]:
    """Write checkpoints of a full replay, beside as many bytes written at once."""
    num_envs = 16
    rows = -(-options.transitions // num_envs)
    replay = ReplayConfig(capacity=(rows + ReplayConfig.stride) * num_envs)
    env = envs.make_vec(ENV, num_envs, seed=0)
    agent = MemoryDQN("MemoryPolicy", env, memory=MemoryConfig(), replay=replay, seed=0)
    fill(agent, rows)
    rounds = []
    with tempfile.TemporaryDirectory(dir=".") as place:
        for number in range(options.rounds):
            folder = Path(place) / str(number)
            began, cpu = time.perf_counter(), time.process_time()
            agent.save_checkpoint(folder)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            size = sum(path.stat().st_size for path in folder.iterdir())
            data = bytes(np.random.default_rng(number).bytes(size))
            began, disk_cpu = time.perf_counter(), time.process_time()
            write_bytes(Path(place) / "plain", data)
            disk, disk_cpu = time.perf_counter() - began, time.process_time() - disk_cpu
            del data
            began = time.perf_counter()
            MemoryDQN.load_checkpoint(folder, env)
            loading = time.perf_counter() - began
            rounds.append(
                {
                    "bytes": size,
                    "seconds": round(seconds, 3),
                    "processor_seconds": round(cpu, 3),
                    "disk_seconds": round(disk, 3),
                    "disk_processor_seconds": round(disk_cpu, 3),
                    "beyond_the_disk": round(seconds - disk, 3),
                    "processor_seconds_beyond_the_disk": round(cpu - disk_cpu, 3),
                    "loading_seconds": round(loading, 3),
                }
            )
            print(rounds[-1], flush=True)
    return {"transitions": agent.replay_buffer.size(), "rounds": rounds}


def fill(agent: MemoryAlgorithm, rows: int) -> None:
    """Fill the replay with random rows and memory states."""
    rng, E = np.random.default_rng(0), agent.n_envs
    empty = agent.policy.initial_state(E)
    state = [rng.standard_normal(part.shape).astype(np.float32) for part in empty]
    size = agent.observation_space.shape or ()
    for row in range(rows):
        agent.replay_buffer.add(
            np.arange(E),
            obs=rng.standard_normal((E, *size)).astype(np.float32),
            action=rng.integers(2, size=E),
            reward=rng.standard_normal(E).astype(np.float32),
            start=row == 0,
            memory_start=row == 0,
            final=False,
            terminal=False,
            phase=row // 1000,
            episode=0,
            state=lambda which: [part[which] for part in state],
        )


def state_of(env: VecEnv) -> dict[str, Any]:
    """What train.py has in a checkpoint beside the agent, but for its files."""
    return {"env": envs.get_state(env)}


class Timed(Checkpoints):
    """Checkpoints whose time is summed up."""

    seconds = 0.0
    written = 0

    def write(self) -> Path:
        began = time.perf_counter()
        path = super().write()
        self.seconds += time.perf_counter() - began
        self.written += 1
        return path


def share(options: Options) -> dict[str, Any]:
    """Train by the preset for a little more than the default interval: the time of the checkpoint in it."""
    found = {}
    for kind in ("dnc", "lstm", "none"):
        config = preset_config(ENV, preset_settings(ENV) | {"memory": {"kind": kind}})
        assert config.save_every is not None
        env = envs.make_vec(ENV, config.num_envs, seed=0)
        agent = make_agent(config, env)
        with tempfile.TemporaryDirectory(dir=".") as place:
            timed = Timed(Path(place), config.save_every, config.keep, partial(state_of, env))
            began = time.perf_counter()
            agent.learn(config.save_every + 500, callback=timed)
            seconds = time.perf_counter() - began
        found[kind] = {
            "steps": agent.num_timesteps,
            "checkpoints": timed.written,
            "training_seconds": round(seconds, 1),
            "saving_seconds": round(timed.seconds, 3),
            "share": round(timed.seconds / seconds, 4),
        }
        print(kind, found[kind], flush=True)
    return found


class Resident(BaseCallback):
    """Notes how much memory the process has, every so many steps: [steps, bytes]."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every
        self.noted: list[tuple[int, int]] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.every == 0:
            self.noted.append((self.num_timesteps, resident()))
            print(self.noted[-1], flush=True)
        return True


def growth(options: Options) -> dict[str, Any]:
    """Train a tiny agent, with checkpoints at the default interval."""
    agent = MemoryDQN(
        "MemoryPolicy",
        env := envs.make_vec(ENV, 16, seed=0),
        memory=MemoryConfig(memory_size=6, memory_dim=5, num_read_heads=2, hidden_size=16),
        replay=ReplayConfig(capacity=4_000, burn_in=2, rows=10, stride=4, n_step=2),
        learner=LearnerConfig(learning_starts=500, steps_per_update=128, batch_size=8),
        adapt=AdaptConfig(context_dim=3, train_support=6, support=8),
        policy_kwargs={"features_dim": 16, "head_size": 16},
        seed=0,
    )
    noting = Resident(2_000)
    config = RunConfig()
    with tempfile.TemporaryDirectory(dir=".") as place:
        checkpoints = Checkpoints(Path(place), config.save_every, config.keep, partial(state_of, env))
        agent.learn(options.steps, callback=[checkpoints, noting])
    before = max(size for step, size in noting.noted if step <= options.warm_up)
    after = max(size for step, size in noting.noted if step > 0.9 * options.steps)
    return {
        "steps": agent.num_timesteps,
        "warm_up": options.warm_up,
        "bytes_after_warm_up": before,
        "bytes_at_the_end": after,
        "growth": round(after / before - 1, 4),
        "every_20000_steps": [pair for pair in noting.noted if pair[0] % 20_000 == 0],
    }


def main(options: Options) -> None:
    """Measure one part and write it beside the others."""
    torch.set_num_threads(1)
    found = {"checkpoint": checkpoint, "share": share, "growth": growth}[options.part](options)
    kept = json.loads(options.out.read_text()) if options.out.is_file() else {}
    kept[options.part] = {"machine": machine(), **found}
    write_text(options.out, json.dumps(kept, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Options))
