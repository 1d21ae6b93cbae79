"""One training by actors and a learner on one machine: how fast, how many bytes, and what is lost when it is killed.

python -m benchmarks.distributed    minutes; needs the extra `ray`

Speed: environments that cost a millisecond a step (they sleep, to stand for a simulator), at the same ratio of updates
to steps, in one process and with 1, 2 and 4 actors, beside what `benchmarks.distributed_simulator` predicts from the
costs of the parts. Bytes: of a row, of a memory's state where a window begins, of the weights. Kills: actors at random
times of trainings, the learner by SIGKILL and `--resume`; then every row has to be stored once. Writes
benchmarks/results/distributed.json.
"""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from safetensors.numpy import load_file
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.distributed_simulator import Costs, predict
from benchmarks.runs import machine
from memagent.agents import ExplorationConfig, LearnerConfig, MemoryAlgorithm
from memagent.checkpoints import saved
from memagent.distributed.actor import Share
from memagent.distributed.cluster import connected
from memagent.distributed.collecting import collecting, learner_env
from memagent.distributed.stretches import Stretch, store
from memagent.memory import MemoryConfig
from memagent.replay import ReplayConfig
from memagent.run_config import RunConfig
from memagent.runs import load_status, make_agent
from train import ENVIRONMENTS

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "distributed.json"
ACTORS = (0, 1, 2, 4)
WANTED_GAIN, WANTED_ERROR = 1.6, 0.2
SLOW = RunConfig(
    env="CartPole-v1",
    wrapper={"benchmarks.distributed:Slow": {}},
    num_envs=16,
    device="cpu",
    wandb="disabled",
    memory=MemoryConfig(kind="lstm", hidden_size=64),
    replay=ReplayConfig(capacity=50_000, rows=32),
    learner=LearnerConfig(batch_size=8, steps_per_update=64, learning_starts=1_000),
    exploration=ExplorationConfig(fraction=0.1),
)
SMALL = (
    *("--env=CartPole-v1", "--total-timesteps=1600", "--num-envs=4", "--actors=2", "--wandb=disabled"),
    *("--save-every=64", "--memory.kind=lstm", "--memory.hidden-size=16", "--replay.capacity=4000"),
    *("--replay.rows=8", "--replay.burn-in=2", "--replay.n-step=2", "--replay.stride=4"),
    *("--learner.batch-size=4", "--learner.learning-starts=100", "--learner.steps-per-update=32"),
    *("--evaluation.contexts=1", "--evaluation.episodes=1", "--evaluation.warmup-episodes=1"),
)


class Slow(gym.Wrapper):
    """An environment whose steps take `seconds` more, in which nothing is computed."""

    def __init__(self, env: gym.Env, seconds: float = 1e-3) -> None:
        super().__init__(env)
        self.seconds = seconds

    def step(self, action: Any) -> Any:
        time.sleep(self.seconds)
        return self.env.step(action)


@dataclass(frozen=True)
class Options:
    """What is measured."""

    steps: int = 4_000
    """Environment steps of each training whose speed is measured, behind those without updates."""
    rounds: int = 1
    """How often each is measured, in turns; medians count."""
    actor_kills: int = 20
    """Trainings of which an actor is killed."""
    learner_kills: int = 5
    """Trainings of which the learner is killed, and which are resumed."""
    seed: int = 0
    """Of the moments."""
    out: Path = RESULTS
    """The file for the results."""


class Speed(BaseCallback):
    """The time from the first step behind `learning_starts` to the last one."""

    model: MemoryAlgorithm

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start, self.first, self.last = start, (0, 0.0), (0, 0.0)
        self.updates = 0

    def _on_step(self) -> bool:
        now = (self.num_timesteps, time.monotonic())
        if not self.first[0] and self.num_timesteps > self.start:
            self.first, self.updates = now, self.model._n_updates
        self.last = now
        return True

    def figures(self) -> dict[str, float]:
        """Steps and updates a second."""
        steps, seconds = (last - first for last, first in zip(self.last, self.first, strict=True))
        updates = self.model._n_updates - self.updates
        return {"steps_per_s": round(steps / seconds, 1), "updates_per_s": round(updates / seconds, 2)}


def speed(actors: int, steps: int) -> dict[str, float]:
    """Environment steps and updates a second of a training with so many actors; 0: in one process."""
    config = replace(SLOW, actors=actors, total_timesteps=SLOW.learner.learning_starts + steps)
    agent = make_agent(config, learner_env(config, ENVIRONMENTS))
    watch = Speed(config.learner.learning_starts + 2 * 16 * config.num_envs)
    with collecting(agent, config, ENVIRONMENTS, None):
        agent.learn(config.total_timesteps, watch)
        figures = watch.figures()
        if agent.collector is not None:
            figures |= {
                n: round(x, 3) for n, x in agent.collector.figures().items() if n.startswith("actors/")
            }
    return figures


def parts(actors: int) -> tuple[Costs, dict[str, float]]:
    """What the parts of a training with so many actors cost, on a cluster that does nothing else; and the bytes sent.

    A stretch is that of one actor on Ray, from its order to its rows here: Ray's own processes count.
    """
    import ray

    from memagent.distributed.actors import Host

    config = replace(SLOW, actors=actors)
    agent = make_agent(config, learner_env(config, ENVIRONMENTS))
    agent._setup_learn(config.total_timesteps)
    count = config.num_envs // actors
    own = Share(0, count)
    actor = ray.remote(Host).options(num_cpus=1).remote()
    begun = (config, ENVIRONMENTS, own, agent.replay_buffer.pos[:count], agent._episodes[:count])
    ray.get(actor.begin.remote(*begun, seed=1))
    sent: list[Stretch] = []

    def weights() -> dict[str, np.ndarray]:
        return {name: x.cpu().numpy() for name, x in agent.policy.state_dict().items()}

    published = ray.put(weights())

    def act() -> None:
        orders = (published, 0, 10**6, config.distributed.stretch)
        stretch, _ = actor.collect.options(num_returns=2).remote(*orders)
        sent.append(ray.get(stretch))

    acting, computing = seconds(act, 24)
    ray.kill(actor)
    stretches = iter(sent)
    taking, _ = seconds(lambda: store(agent, 0, next(stretches)), len(sent))
    updating, _ = seconds(lambda: agent.train(1, config.learner.batch_size), 12)
    publishing, _ = seconds(lambda: ray.put(weights()), 12)
    rows = sum(len(one.env) for one in sent)
    bare = sum(len(pickle.dumps(one._replace(state=()))) for one in sent)
    states = sum(int(one.opens.sum()) for one in sent)
    return Costs(acting, computing, taking, updating, publishing), {
        "row": round(bare / rows, 1),
        "stored_state": round(sum(part.nbytes for one in sent for part in one.state) / states, 1),
        "weights": len(pickle.dumps(weights())),
    }


def seconds(call: Callable[[], Any], times: int) -> tuple[float, float]:
    """The median time of a call by the clock and the mean by all processors, behind a first one that is not counted."""
    call()
    taken, began_cpu = [], processor_seconds()
    for _ in range(times - 1):
        began = time.monotonic()
        call()
        taken.append(time.monotonic() - began)
    return float(np.median(taken)), (processor_seconds() - began_cpu) / len(taken)


def processor_seconds() -> float:
    """What all processors of this machine have been busy for since it was started (Linux)."""
    user, nice, system, *_ = Path("/proc/stat").read_text().split()[1:]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def bytes_of(kind: str) -> dict[str, float]:
    """Bytes of a stored state and of the weights with the default memory of a kind."""
    config = replace(SLOW, wrapper={}, memory=MemoryConfig(kind=kind), actors=1)  # type: ignore[arg-type]
    agent = make_agent(config, learner_env(config, ENVIRONMENTS))
    one = agent.policy.initial_state(1)
    state = sum(
        x.numel() * (2 if name in ("M", "L") else 4) for name, x in zip(one._fields, one, strict=True)
    )
    return {"stored_state": state, "weights": sum(x.nbytes for x in agent.policy.state_dict().values())}


def rows_are_whole(replay: dict[str, np.ndarray], steps: int) -> bool:
    """Whether every step is stored once, and the episodes of each stream follow each other."""
    follow = all(
        np.isin(np.diff(own[:count]), (0, 1)).all()
        for own, count in zip(replay["row_episode"], replay["next_row"], strict=True)
    )
    return int(replay["is_transition"].sum()) == steps and bool(follow)


def kill_actor(number: int, moment: float) -> dict[str, Any]:
    """A training of which an actor is killed at a moment, as a share of its time."""
    import ray

    from train import parse

    config = replace(parse(SMALL), seed=number)
    agent = make_agent(config, learner_env(config, ENVIRONMENTS))
    with collecting(agent, config, ENVIRONMENTS, None):
        collector: Any = agent.collector
        stop = threading.Event()

        def kill() -> None:
            while agent.num_timesteps < moment * config.total_timesteps and not stop.wait(0.001):
                pass
            if not stop.is_set():
                ray.kill(collector._slots[number % config.actors].actor)

        thread = threading.Thread(target=kill)
        thread.start()
        agent.learn(config.total_timesteps)
        replaced = collector.replaced
        stop.set()
        thread.join()
    return {
        "killed": "actor",
        "at_step": int(moment * config.total_timesteps),
        "finished": agent.num_timesteps >= config.total_timesteps,
        "replaced": replaced,
        "rows_are_whole": rows_are_whole(agent.replay_buffer.state_dict(), agent.num_timesteps),
    }


def kill_learner(folder: Path, number: int, moment: float) -> dict[str, Any]:
    """A training whose learner is killed by SIGKILL when it has done a share of its steps, and which is resumed."""
    command = [sys.executable, str(ROOT / "train.py")]
    with subprocess.Popen(
        [*command, *SMALL, f"--seed={number}", f"--run-dir={folder}"], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as process:
        wanted = moment * 1600
        while process.poll() is None and newest(folder) < wanted:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    at, state = newest(folder), load_status(folder)
    resumed = subprocess.run(
        [*command, "--resume", str(folder)], check=False, cwd=ROOT, stderr=subprocess.DEVNULL
    )
    path = saved(folder / "checkpoints")[-1]
    arrays = load_file(path / "training.safetensors")
    replay = {name.removeprefix("replay/"): x for name, x in arrays.items() if name.startswith("replay/")}
    return {
        "killed": "learner",
        "at_step": at,
        "state": state,
        "finished": resumed.returncode == 0 and load_status(folder) == "finished",
        "rows_are_whole": rows_are_whole(replay, json.loads((path / "training.json").read_text())["steps"]),
    }


def newest(folder: Path) -> int:
    """The step of a run's newest checkpoint; 0 where there is none."""
    paths = saved(folder / "checkpoints")
    return int(paths[-1].name) if paths else 0


def main(options: Options) -> None:
    """Measure, kill, compare, write."""
    torch.set_num_threads(1)
    rng, load = random.Random(options.seed), [os.getloadavg()[0]]
    costs, sent = {}, {}
    found: dict[int, list[dict[str, float]]] = {actors: [] for actors in ACTORS}
    kills: list[dict[str, Any]] = []
    with connected("local", num_cpus=max(ACTORS)):
        for actors in ACTORS[1:]:
            costs[actors], sent[actors] = parts(actors)
        for _ in range(options.rounds):
            for actors in ACTORS:
                found[actors].append(speed(actors, options.steps))
                load.append(os.getloadavg()[0])
        for number in range(options.actor_kills):
            kills.append(kill_actor(number, rng.uniform(0.0, 0.95)))
            print(kills[-1], flush=True)
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.learner_kills):
            kills.append(kill_learner(Path(place) / str(number), number, rng.uniform(0.1, 0.9)))
            print(kills[-1], flush=True)
    rates = {n: float(np.median([one["steps_per_s"] for one in runs])) for n, runs in found.items()}
    result = {
        "command": " ".join(["python -m benchmarks.distributed", *sys.argv[1:]]),
        "machine": machine(),
        "load": {"from": round(min(load), 1), "to": round(max(load), 1)},
        "settings": {
            "num_envs": SLOW.num_envs,
            "steps_per_update": SLOW.learner.steps_per_update,
            "stretch": SLOW.distributed.stretch,
            "seconds_per_step": 1e-3,
            "memory": "lstm, 64 units",
            "steps": options.steps,
        },
        "summary": summary(rates, costs, kills),
        "bytes": {"measured": sent[2], **{kind: bytes_of(kind) for kind in ("none", "lstm", "dnc")}},
        "costs_ms": {n: {k: round(1e3 * v, 2) for k, v in vars(one).items()} for n, one in costs.items()},
        "speed": found,
        "kills": kills,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=1))


def summary(rates: dict[int, float], costs: dict[int, Costs], kills: list[dict[str, Any]]) -> dict[str, Any]:
    """Gains over one process, predictions beside them, and what the kills left."""
    predicted = {
        actors: predict(
            one,
            actors=actors,
            cores=os.cpu_count() or 1,
            steps=SLOW.distributed.stretch,
            num_envs=SLOW.num_envs // actors,
            steps_per_update=SLOW.learner.steps_per_update,
        )
        for actors, one in costs.items()
    }
    return {
        "steps_per_s": rates,
        "gain_of_two_actors": round(rates[2] / rates[0], 2),
        "wanted_gain": WANTED_GAIN,
        "predicted_steps_per_s": {n: round(x, 1) for n, x in predicted.items()},
        "prediction_error": {n: round(x / rates[n] - 1.0, 2) for n, x in predicted.items()},
        "wanted_error": WANTED_ERROR,
        "kills": len(kills),
        "finished": sum(kill["finished"] for kill in kills),
        "rows_whole": sum(kill["rows_are_whole"] for kill in kills),
    }


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
