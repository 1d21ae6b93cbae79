"""What is lost when trainings are killed: SIGKILL at random moments, then `train.py --resume`.

python -m benchmarks.kills      50 trainings, minutes on one core; not on Windows

Trainings of five seeds run through once. Then each is killed ten times, in a folder of its own, and gone on with. The
moment is drawn between the first sign of life and a tenth more than the uninterrupted one had trained for, which is
while it was judged; one that was over by then is killed anew. Checkpoints are written all the time, so that some are
killed in the middle of one. What is left of each is compared with the uninterrupted run: agent, episodes, evaluation.
Writes benchmarks/results/kills.json.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.runs import machine, write
from memagent.checkpoints import is_whole, saved
from memagent.files import UNFINISHED
from memagent.runs import load_status
from train import start

SMALL = (
    *("--env=CartPole-v1", "--total-timesteps=1000", "--num-envs=4", "--wandb=disabled"),
    *("--save-every=32", "--memory.kind=lstm", "--memory.hidden-size=16", "--replay.capacity=800"),
    *("--replay.rows=8", "--replay.burn-in=2", "--replay.n-step=2", "--replay.stride=4", "--adapt.support=8"),
    *("--learner.batch-size=4", "--learner.learning-starts=100", "--learner.steps-per-update=32"),
    *("--evaluation.contexts=1", "--evaluation.episodes=1", "--evaluation.warmup-episodes=1"),
)
COMPARED = ("model.zip", "episodes.csv", "evaluation.json")
RESULTS = Path(__file__).parent / "results" / "kills.json"


@dataclass(frozen=True)
class Options:
    """How many trainings are killed."""

    kills: int = 50
    """Trainings."""
    seeds: int = 5
    """Different ones among them."""
    seed: int = 0
    """Of the moments."""
    out: Path = RESULTS
    """The file for the counts."""


def train(said: Path, *arguments: str) -> int:
    """A training in a process of its own, forked off this one, which has loaded all libraries: its number.

    What it prints goes into the file `said`.
    """
    if number := os.fork():
        return number
    code: Any = 1
    try:
        for target, path in ((1, said), (2, Path(os.devnull))):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), target)
        start(arguments)
        code = 0
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


def straight(folder: Path, seed: int) -> float:
    """An uninterrupted training; the seconds from its first sign of life to the last step."""
    process = train(folder.with_suffix(".out"), *SMALL, f"--seed={seed}", f"--run-dir={folder}")
    alive(folder)
    began = time.monotonic()
    while load_status(folder) in (None, "training"):
        time.sleep(0.02)
    seconds = time.monotonic() - began
    if code := os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        raise RuntimeError(f"The uninterrupted training of seed {seed} ended with {code}.")
    return seconds


def alive(folder: Path) -> None:
    """Wait until a training has written its settings."""
    while not (folder / "config.json").is_file():
        time.sleep(0.005)


def kill(folder: Path, seed: int, seconds: float) -> dict[str, Any]:
    """Kill a training after so many seconds; in which state it was, and the newest checkpoint it left."""
    process = train(folder.with_suffix(".out"), *SMALL, f"--seed={seed}", f"--run-dir={folder}")
    alive(folder)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    paths = saved(folder / "checkpoints")
    return {
        "seed": seed,
        "seconds": round(seconds, 3),
        "state": load_status(folder),
        "checkpoints": len(paths),
        "broken_checkpoints": sum(not is_whole(path) for path in paths),
        "newest": int(paths[-1].name) if paths else 0,
        "while_writing": any(folder.rglob(f".*{UNFINISHED}")),
    }


def resumed(folder: Path, twin: Path, killed: dict[str, Any]) -> dict[str, Any]:
    """Go on with a killed training; what became of it, beside its uninterrupted twin."""
    file = folder.with_suffix(".out")
    process = train(file, "--resume", str(folder))
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    said = [*file.read_text().splitlines(), ""]
    lost = killed["state"] == "training" and killed["newest"] and f"step {killed['newest']} of" not in said[0]
    same = {name: (folder / name).read_bytes() == (twin / name).read_bytes() for name in COMPARED}
    return {
        **killed,
        "finished": code == 0 and load_status(folder) == "finished",
        "checkpoint_lost": bool(lost) or killed["broken_checkpoints"] > 0,
        "identical": all(same.values()),
    }


def main(options: Options) -> None:
    """Kill, go on, compare, count."""
    torch.set_num_threads(1)
    rng, runs = random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as place:
        twins = [Path(place) / f"straight-{seed}" for seed in range(options.seeds)]
        seconds = [straight(twin, seed) for seed, twin in enumerate(twins)]
        for number in range(options.kills):
            seed = number % options.seeds
            folder = Path(place) / f"killed-{number}"
            while (killed := kill(folder, seed, rng.uniform(0.0, 1.1 * seconds[seed])))[
                "state"
            ] == "finished":
                shutil.rmtree(folder)
            runs.append(resumed(folder, twins[seed], killed))
            print(json.dumps(runs[-1]), flush=True)
            result = {"machine": machine(), "settings": SMALL, "counts": counts(runs)}
            write(options.out, result, runs)
    print(json.dumps(counts(runs), indent=1))


def counts(runs: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Of how many trainings what is true."""
    training = [run for run in runs if run["state"] == "training"]
    named = ("finished", "checkpoint_lost", "identical", "while_writing")
    return {
        "killed": len(runs),
        **{name: sum(run[name] for run in runs) for name in named},
        "before_the_first_checkpoint": sum(not run["checkpoints"] for run in training),
        "while_judging": len(runs) - len(training),
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
