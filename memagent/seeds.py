"""Trainings of several seeds, side by side: a folder for all, and in it a run folder for each, `seed-0`, `seed-1`, …"""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from memagent.jobs import Job, Launch, LocalProcess, run
from memagent.run_config import MAX_SEED, RunConfig, settings_of
from memagent.runs import RunError, how_to_go_on, load_config, load_status, named_dir, save_config

OUTPUT = "output.txt"
"""The file in a seed's run folder with all that its training printed."""


def begin(config: RunConfig, seeds: Sequence[int]) -> Path:
    """Make the folder for the trainings of these seeds, and in it their run folders, in which nothing has begun yet.

    Args:
        config: of all of them; its seed is not looked at, and its `run_dir` is the folder for all.
        seeds: different ones, from 0 to MAX_SEED.

    Raises:
        RunError: the seeds are no such numbers, or there is something already, or no folder can be made there.
    """
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) > MAX_SEED:
        raise RunError(
            f"--seeds are {' '.join(map(str, seeds))}; give different whole numbers from 0 to {MAX_SEED}."
        )
    parent = config.run_dir
    try:
        if parent is None:
            parent = named_dir(config, f"{len(seeds)}seeds")
        elif parent.exists() and (not parent.is_dir() or any(parent.iterdir())):
            raise FileExistsError
        for seed in seeds:
            (folder := parent / f"seed-{seed}").mkdir(parents=True)
            save_config(folder, replace(config, seed=seed))
    except FileExistsError:
        assert parent is not None
        raise RunError(
            f"{parent} is there already and not empty; name a new folder, or {how_to_go_on(parent)}."
        ) from None
    except OSError as error:
        raise RunError(f"No run folders can be made: {error}; name another folder by --run-dir.") from error
    return parent


def seed_dirs(parent: Path) -> list[Path]:
    """The run folders in a folder that `begin` made, by seed; none where it made no such."""
    found = {}
    if not (parent / "config.json").exists():
        for path in parent.glob("seed-*"):
            with suppress(ValueError):
                found[int(path.name.removeprefix("seed-"))] = path
    return [found[seed] for seed in sorted(found)]


def refuse_other(parent: Path, config: RunConfig, seeds: Sequence[int], *, trust: bool = False) -> None:
    """RunError where the trainings in a folder are not those of these settings and seeds."""
    there = [load_config(path, trust=trust) for path in seed_dirs(parent)]
    if sorted(seeds) != [other.seed for other in there]:
        names = " ".join(str(other.seed) for other in there)
        raise RunError(
            f"{parent} holds the seeds {names}, not {' '.join(map(str, seeds))}; leave --seeds out."
        )
    for other in there:
        differ = [
            name
            for name, value in settings_of(other).items()
            if name != "seed" and value != settings_of(config)[name]
        ]
        if differ:
            raise RunError(
                f"{parent} holds trainings with another {', '.join(differ)}; {how_to_go_on(parent)}, or give other "
                "settings a new folder."
            )


def complete(
    parent: Path,
    script: Path,
    jobs: int | None = None,
    *,
    trust: bool = False,
    launch: Launch | None = None,
) -> list[str]:
    """Train and judge what is not finished in a folder that `begin` made, each seed in a process of its own.

    Args:
        parent: the folder.
        script: train.py.
        jobs: how many at a time; by default as many as the processor has cores for, or all where `launch` is given.
        trust: passed on to each of them, see `load_config`.
        launch: starts them somewhere else; None: on this machine.

    Returns:
        The names of those that failed, which the others did not wait for; what they said has been printed.

    Raises:
        RunError: the folder's runs are none.
        KeyboardInterrupt, SystemExit: after a signal, when all have stopped.
    """
    paths = seed_dirs(parent)
    configs = [load_config(path, trust=trust) for path in paths]
    states = [load_status(path) for path in paths]
    todo = [path for path, state in zip(paths, states, strict=True) if state != "finished"]
    threads = configs[0].threads
    at_once = _at_once(jobs, len(todo), threads, elsewhere=launch is not None)
    if todo:
        print(f"{len(todo)} of {len(paths)} seeds to train in {parent}, {at_once} at a time.", flush=True)  # noqa: T201
    own = [sys.executable, str(script), "--stop-with-input", *(["--trust"] if trust else []), "--resume"]
    wanted = [Job(path.name.replace("-", " "), [*own, str(path)], path / OUTPUT) for path in todo]
    try:
        codes = run(wanted, at_once, _variables(threads, parent), launch or LocalProcess)
    except (KeyboardInterrupt, SystemExit):
        print(f"All have stopped; {how_to_go_on(parent)}.", file=sys.stderr)  # noqa: T201
        raise
    return [name for name, code in codes.items() if code]


def _at_once(jobs: int | None, wanted: int, threads: int, *, elsewhere: bool) -> int:
    """How many trainings run at a time."""
    if elsewhere:
        return max(1, min(jobs or wanted, wanted))
    if jobs is None:
        jobs = max(1, _cores() // threads)
    elif jobs * threads > _cores():
        print(  # noqa: T201
            f"{jobs} trainings with --threads {threads} share {_cores()} of the processor's cores and wait for each "
            "other; fewer --jobs take no longer."
        )
    return max(1, min(jobs, wanted))


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _variables(threads: int, parent: Path) -> Mapping[str, Any]:
    """Environment variables of each training: no library takes more threads, and W&B lists them as one group."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return dict.fromkeys(names, str(threads)) | {
        "WANDB_RUN_GROUP": os.environ.get("WANDB_RUN_GROUP") or parent.resolve().name
    }
