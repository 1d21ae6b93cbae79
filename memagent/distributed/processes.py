"""Commands on the machines of a Ray cluster, each a plain Ray task that runs it as a process of its own.

A task that is lost with its machine, or whose command fails, is run again where there is room, twice at most.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray
from ray.exceptions import RayError, RayTaskError, TaskCancelledError

from memagent.files import held
from memagent.jobs import SECONDS_PER_LOOK, Launch, LocalProcess

FINAL = (0, 2, 130, 143)
"""Exit codes that would come again: done, refused, and stopped by a person."""


class CommandError(Exception):
    """A command has failed, in a way that another try may mend."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def launcher(cpus: float, gpus: float, retries: int) -> Launch:
    """What starts commands on the cluster that this process is connected to.

    Args:
        cpus, gpus: what each needs; Ray runs as many at a time as its machines have of both.
        retries: how often one that failed is run again.
    """
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=retries, retry_exceptions=[CommandError])(
        _run
    )

    def launch(command: Sequence[str], output: Path, variables: Mapping[str, str]) -> RayProcess:
        own = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
        words = list(command[1:])  # without the interpreter, which is that of the machine
        return RayProcess(task.remote(words, output, {**own, **variables}, Path.cwd()))

    return launch


class RayProcess:
    """A command on some machine of the cluster; see `memagent.jobs.Process`."""

    def __init__(self, result: ray.ObjectRef) -> None:
        self._result = result

    def poll(self) -> int | None:
        if not ray.wait([self._result], timeout=0)[0]:
            return None
        try:
            return ray.get(self._result)
        except TaskCancelledError:
            return 130
        except RayTaskError as error:
            return error.cause.code if isinstance(error.cause, CommandError) else 1
        except RayError:  # the machine, or Ray's process on it, was lost too often
            return 1

    def close_input(self) -> None:
        if self.poll() is None:
            ray.cancel(self._result)

    def kill(self) -> None:
        if self.poll() is None:
            ray.cancel(self._result, force=True)


def _run(words: Sequence[str], output: Path, variables: Mapping[str, str], cwd: Path) -> int:
    """Run Python with these words and wait for its end, also where the task is cancelled; the exit code.

    Raises:
        CommandError: it failed.
    """
    os.chdir(cwd)
    _wait_until_free(output.parent)
    process = LocalProcess([sys.executable, *words], output, variables)
    while (code := process.poll()) is None:
        try:
            time.sleep(SECONDS_PER_LOOK)
        except KeyboardInterrupt:
            process.close_input()
    if code not in FINAL:
        raise CommandError(code)
    return code


def _wait_until_free(folder: Path) -> None:
    """Wait for a command whose task was lost, and which stops by itself, to let go of its folder."""
    while True:
        try:
            with held(folder):
                return
        except BlockingIOError:
            time.sleep(SECONDS_PER_LOOK)
