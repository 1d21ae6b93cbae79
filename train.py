"""Train an agent that remembers in an environment that drifts, then judge it; everything is left in one run folder.

python train.py --env Drift/CartPole-v0 --total-timesteps 100000 --seed 0 --num-envs 16 --memory.kind dnc
"""

import os
import signal

if __name__ == "__main__":  # Ctrl-C while the libraries load, which takes seconds
    signal.signal(signal.SIGINT, lambda *_: os.write(2, b"Interrupted.\n") and os._exit(130))

import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

import envs
from evaluate import evaluate, make_env
from memagent.agents import MemoryAlgorithm
from memagent.agents.finite import NonFiniteError
from memagent.archive import ArchiveError, reason
from memagent.files import write_text
from memagent.progress import TrainingLog
from memagent.runs import (
    RunConfig,
    RunError,
    Words,
    Wrappers,
    begun_run,
    make_agent,
    preset_config,
    save_agent,
    save_status,
    settings_of,
)
from memagent.stopping import Checkpoints, StopOnSignal, plain_errors
from memagent.tracking import Tracker, TrackingCallback, TrackingError, start_run


def main(config: RunConfig) -> None:
    """Config → environments → agent → learn → evaluate."""
    torch.set_num_threads(config.threads)
    env = make_env(config, config.num_envs, config.seed)
    agent = make_agent(config, env)
    with begun_run(config) as run_dir:
        tracker = start_run(run_dir, settings_of(config), config.wandb)
    with tracker:
        learn(agent, config, run_dir, tracker)
        evaluation = evaluate(agent, config, run_dir, run_dir)
        scores = {
            f"eval/{split}/{kind}": score
            for split, of_split in evaluation["summary"].items()
            for kind, score in of_split.items()
            if score is not None
        }
        tracker.summarise(scores)
        for path in sorted((run_dir / "figures").glob("*.png")):
            tracker.log_figure(f"figures/{path.stem}", path, agent.num_timesteps)
        tracker.log_model(run_dir / "model.zip", run_dir / "config.json", metadata=scores)
    save_status(run_dir, "finished", agent.num_timesteps)
    print(f"Everything is in {run_dir}; open {run_dir / 'report.html'}.")


def learn(agent: MemoryAlgorithm, config: RunConfig, run_dir: Path, tracker: Tracker) -> None:
    """Let the agent learn, under a progress bar, and save it, also where a signal or an error ends that early.

    Raises:
        SystemExit: with 130 or 143 after SIGINT or SIGTERM, with 1 after an error, such as one of the environment.
    """
    agent.set_logger(configure(str(run_dir), ["csv"]))
    save_status(run_dir, "training", agent.num_timesteps)
    failure: Exception | None = None
    with StopOnSignal() as stop:
        try:
            with TrainingLog(run_dir / "episodes.csv", config.total_timesteps) as log:
                callbacks: list[BaseCallback] = [log, TrackingCallback(tracker)]
                if config.save_every is not None:
                    callbacks.append(Checkpoints(run_dir / "checkpoint.zip", config.save_every))
                agent.learn(config.total_timesteps, [*callbacks, stop], log_interval=config.num_envs)
        except Exception as error:
            failure = error
        finally:
            agent.logger.close()
        end(agent, run_dir, stop, failure)


def end(agent: MemoryAlgorithm, run_dir: Path, stop: StopOnSignal, failure: Exception | None) -> None:
    """Save the agent and the run's status; say why a training ended early, and end the program with it."""
    try:
        saved = f"the agent is saved in {save_agent(agent, run_dir)}"
    except ArchiveError as error:
        failure = failure or error
        checkpoint = run_dir / "checkpoint.zip"
        kept = f"{checkpoint} is the newest that was" if checkpoint.is_file() else "there is no checkpoint"
        saved = f"it was not saved in this state, and {kept}"
    steps = agent.num_timesteps
    if stop.received is not None:
        save_status(run_dir, "interrupted", steps)
        word = "Interrupted" if stop.received == signal.SIGINT else "Terminated"
        print(f"{word} after {steps} steps; {saved}.", file=sys.stderr)
        raise SystemExit(128 + stop.received)
    if failure is not None:
        save_status(run_dir, "failed", steps)
        trace = write_text(run_dir / "error.txt", "".join(traceback.format_exception(failure)))
        said = f"{type(failure).__name__}: {reason(failure).rstrip('.')}"
        print(f"error: {said}, after {steps} steps; {saved}, the traceback in {trace}.", file=sys.stderr)
        raise SystemExit(1)
    save_status(run_dir, "trained", steps)


@dataclass(frozen=True)
class Asked:
    """The part of the command line that the defaults follow from; see `RunConfig`."""

    env: str = RunConfig.env
    env_kwargs: Words = field(default_factory=dict)
    wrapper: Wrappers = field(default_factory=dict)


def parse(arguments: Sequence[str]) -> RunConfig:
    """The command line; what it leaves out has the environment's defaults.

    Raises:
        RunError: the environment cannot be made.
    """
    flags = [as_flag(argument) for argument in arguments]
    asked, _ = tyro.cli(Asked, args=flags, return_unknown_args=True, add_help=False)
    actions = None
    if asked.env not in envs.CATALOGUE:
        one = make_env(RunConfig(**vars(asked)), num_envs=1, seed=0)
        actions = one.action_space
        one.close()
    default = preset_config(asked.env, envs.preset(asked.env, actions))
    return tyro.cli(RunConfig, args=flags, default=default, description=__doc__)


def as_flag(argument: str) -> str:
    """`--adapt.enabled=False`, as sweeps pass it, in the form of a flag: `--adapt.no-enabled`; others as they are."""
    match = re.fullmatch(r"--((?:[\w-]+\.)*)([\w-]+)=(true|false)", argument, re.IGNORECASE)
    if match is None:
        return argument
    section, name, value = match.groups()
    return f"--{section}{'no-' if value.lower() == 'false' else ''}{name}"


if __name__ == "__main__":
    with plain_errors(RunError, TrackingError, NonFiniteError):
        main(parse(sys.argv[1:]))
