"""Commands side by side, each in a process of its own: a bar or lines for each, and an end in order for all.

A command's standard input stays open while it is wanted and says nothing. It ends when the command is to stop: because
a person stopped this process, or because this process is gone, however it went (`memagent.stopping.stop_with_input`).
What starts the processes is a function, so that they may be on other machines (`memagent.distributed.trials`).
"""

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from tqdm.auto import tqdm

# How tqdm writes the bars of a command into its output, from where they are read.
BAR = "{desc}: {n_fmt}/{total_fmt} {elapsed}<{remaining}, {rate_fmt}{postfix}"
WRITTEN = re.compile(r"(?P<what>[^:\r\n]+): (?P<n>\d+)/(?P<total>\d+) (?P<rest>\d.*)")
SHOWN = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt}{postfix}"
TAIL = 4096  # bytes of an output's end in which the newest state of a bar is looked for
SECONDS_PER_LINE = 60.0
SECONDS_PER_LOOK = 0.2


class Process(Protocol):
    """A command that runs."""

    def poll(self) -> int | None:
        """The exit code, negative where a signal ended it; None while it runs."""

    def close_input(self) -> None:
        """End its input, which tells it to stop where it has not."""

    def kill(self) -> None:
        """End it at once, where it has not ended."""


Launch = Callable[[Sequence[str], Path, Mapping[str, str]], Process]
"""Starts a command: its words, the file for its output, behind what is there, and variables to add to the process's."""


class LocalProcess:
    """A process of this machine, out of reach of the terminal's Ctrl-C; a `Launch`."""

    def __init__(self, command: Sequence[str], output: Path, variables: Mapping[str, str]) -> None:
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | variables,
                start_new_session=True,
            )

    def poll(self) -> int | None:
        return self._process.poll()

    def close_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        self.close_input()
        self._process.kill()
        self._process.wait()


@dataclass
class Job:
    """A command with a name, and the file for all that it prints, behind what is there already."""

    name: str
    command: Sequence[str]
    output: Path
    process: Process | None = field(default=None, init=False)
    begin: int = field(default=0, init=False)
    """Bytes of the output that were there before."""

    def start(self, launch: Launch, variables: Mapping[str, str]) -> None:
        """Start the process."""
        self.output.touch()
        self.begin = self.output.stat().st_size
        self.process = launch(self.command, self.output, variables)

    def close_input(self) -> None:
        """Tell the process to stop."""
        if self.process is not None:
            self.process.close_input()

    def kill(self) -> None:
        """End the process at once."""
        if self.process is not None:
            self.process.kill()

    def said(self, last: int | None = None) -> list[str]:
        """The lines that it has printed but for its bars; the `last` ones, or all."""
        text = self.output.read_bytes()[self.begin :].decode(errors="replace")
        lines = [line for line in re.split(r"[\r\n]+", text) if line.strip() and not WRITTEN.match(line)]
        return lines if last is None else lines[-last:]

    def bar(self) -> re.Match[str] | None:
        """The newest state of its bar."""
        with self.output.open("rb") as output:
            output.seek(max(self.begin, output.seek(0, os.SEEK_END) - TAIL))
            text = output.read().decode(errors="replace")
        return next(filter(None, map(WRITTEN.match, reversed(re.split(r"[\r\n]+", text)))), None)


class Display:
    """One bar per job that runs, or where the output is no terminal a line a minute; sentences above them."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.bars: dict[str, tqdm] = {}
        self.lines: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Print a line, above the bars."""
        tqdm.write(text, file=self.file)
        self.file.flush()

    def show(self, job: Job) -> None:
        """How far a job is."""
        found = job.bar()
        if not self.file.isatty():
            now = time.monotonic()
            if found is not None and now - self.lines.setdefault(job.name, now) >= SECONDS_PER_LINE:
                self.lines[job.name] = now
                self.say(f"{job.name}, {found['what']}: {found['n']} of {found['total']}, {found['rest']}")
            return
        if job.name not in self.bars:
            taken = {abs(bar.pos) for bar in self.bars.values()}
            free = next(place for place in range(len(taken) + 1) if place not in taken)
            self.bars[job.name] = tqdm(
                desc=f"{job.name}, starting",
                total=1,
                position=free,
                leave=False,
                file=self.file,
                bar_format=SHOWN,
                dynamic_ncols=True,
            )
        if found is not None:
            bar = self.bars[job.name]
            bar.n, bar.total = int(found["n"]), int(found["total"])
            bar.set_description_str(f"{job.name}, {found['what']}", refresh=False)
            bar.set_postfix_str(found["rest"], refresh=False)
            bar.refresh()

    def close(self, job: Job) -> None:
        """Take a job's bar away."""
        if (bar := self.bars.pop(job.name, None)) is not None:
            bar.close()


def run(
    jobs: Sequence[Job], at_once: int, environment: Mapping[str, str], launch: Launch = LocalProcess
) -> dict[str, int]:
    """Run all jobs, `at_once` at a time; one that fails keeps none from going on.

    Ctrl-C and SIGTERM, as `memagent.stopping.plain_errors` raises them, tell all jobs to stop and wait for them; a
    second one kills them.

    Args:
        jobs: what to run.
        at_once: how many at a time.
        environment: variables that are added to those of each process.
        launch: starts the processes.

    Returns:
        The exit codes by name.
    """
    display = Display(sys.stderr)
    variables = {**environment, "TQDM_BAR_FORMAT": BAR, "TQDM_MININTERVAL": "1"}
    waiting, running = deque(jobs), list[Job]()
    codes: dict[str, int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.popleft()
                running.append(job)
                job.start(launch, variables)
                display.say(
                    f"{job.name}: begun, {len(waiting)} are waiting; what it prints is in {job.output}"
                )
            codes |= _look(running, display)
            time.sleep(SECONDS_PER_LOOK)
    except (KeyboardInterrupt, SystemExit):
        display.say(f"\nStopping {', '.join(job.name for job in running)}; a second signal kills them.")
        for job in running:
            job.close_input()
        while running:
            _look(running, display)
            time.sleep(SECONDS_PER_LOOK)
        raise
    finally:
        for job in running:
            display.close(job)
            job.kill()
    return codes


def _look(running: list[Job], display: Display) -> dict[str, int]:
    """Show how far the jobs are, and take those that have ended out of the list: their exit codes by name."""
    codes = {}
    for job in list(running):
        display.show(job)
        if job.process is not None and (code := job.process.poll()) is not None:
            running.remove(job)
            job.close_input()
            codes[job.name] = code
            display.close(job)
            display.say(f"{job.name}: {_end(job, code)}")
    return codes


def _end(job: Job, code: int) -> str:
    """How a job ended: its last words, more of them where it failed."""
    if code == 0:
        return "done."
    how = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return "\n    ".join([f"{how}; the last that it printed, of {job.output}:", *job.said(last=4)])
