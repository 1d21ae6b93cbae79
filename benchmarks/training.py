"""How fast is training, against an earlier commit: both in one run, in turns.

    python -m benchmarks.training --before COMMIT

checks the commit out beside this one, measures both in processes that take turns, and writes
benchmarks/results/training.json and training.md: an update of the drifting pendulum's preset (8 windows of 41 steps; ms
of processor time on one thread) with adaptation and without, environment steps of training a second on one thread and
on two, and the time from the command to the first update. Kernels that are not there are compiled first.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro

from benchmarks.runs import machine
from benchmarks.tables import markdown

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "training.json"
KINDS = ("none", "lstm", "gru", "dnc")
Numbers = dict[str, list[float]]


@dataclass(frozen=True)
class Options:
    """What is compared."""

    before: str
    """The commit to compare with."""
    kinds: tuple[str, ...] = KINDS
    """Memories."""
    rounds: int = 3
    """How often both are measured, in turns."""


def main(options: Options) -> None:
    """Measure both, and write the results."""
    results: dict[str, dict[str, Numbers]] = {}
    with checked_out(options.before) as before:
        trees = {"before": before, "after": ROOT}
        for kind in options.kinds:
            for tree in trees.values():
                ask(tree, "start", kind, threads=1)  # compiles what is not compiled
            results[kind] = {name: {} for name in trees}
            for _ in range(options.rounds):
                for name, tree in trees.items():
                    found = ask(tree, "measure", kind, threads=1) | ask(tree, "start", kind, threads=2)
                    found["steps_per_s_two"] = ask(tree, "measure", kind, threads=2)["steps_per_s"]
                    for what, number in found.items():
                        results[kind][name].setdefault(what, []).append(round(number, 3))
            print(kind, {name: {k: median(v) for k, v in of.items()} for name, of in results[kind].items()})
    data = {
        "command": f"python -m benchmarks.training --before {options.before}",
        "machine": machine(),
        "results": results,
    }
    RESULTS.write_text(json.dumps(data, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(table(data))
    print(table(data))


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The tree of a commit, in a folder of its own."""
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", tree, commit], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


def ask(tree: Path, what: str, kind: str, threads: int) -> dict[str, float]:
    """What the probe says of a tree, in a process of its own."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    env = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONPATH": str(tree), "WANDB_MODE": "offline"}
    with tempfile.TemporaryDirectory() as place:
        probe = Path(__file__).with_name("training_probe.py")
        # -P: every module is the tree's
        command = [sys.executable, "-P", str(probe), what, kind, f"{place}/run"]
        done = subprocess.run(command, env=env, cwd=tree, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(data: dict) -> str:
    """Medians before and after, and the ratio."""
    names = {
        "plain_ms": "an update without adaptation, ms",
        "adapting_ms": "an update with adaptation, ms",
        "steps_per_s": "steps a second, one thread",
        "steps_per_s_two": "steps a second, two threads",
        "first_update_s": "command to first update, s",
    }
    rows = []
    for kind, of in data["results"].items():
        for what, name in names.items():
            before, after = (median(of[side][what]) for side in ("before", "after"))
            gain = after / before if "steps" in what else before / after
            rows.append([kind, name, f"{before:.3g}", f"{after:.3g}", f"{gain:.2f}"])
    return (
        f"Made by `{data['command']}` on {data['machine']}.\n\n"
        + markdown(["memory", "", "before", "after", "times as fast"], rows)
        + "\n"
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
