"""Train an agent that remembers in an environment that drifts, then judge it; everything is left in one run folder.

python train.py --env Drift/CartPole-v0 --total-timesteps 100000 --seed 0 --num-envs 16 --memory.kind dnc
python train.py --resume runs/my-run    goes on with a run that was stopped or killed, as if it had not been
"""

import argparse
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import tyro

import envs
from evaluate import evaluate, make_env
from memagent.agents import MemoryAlgorithm
from memagent.agents.finite import NonFiniteError
from memagent.archive import ArchiveError, reason
from memagent.checkpoints import Checkpoints, saved
from memagent.files import write_text
from memagent.progress import Records, last_step
from memagent.resuming import alone, last_whole
from memagent.runs import (
    RunConfig,
    RunError,
    load_config,
    make_agent,
    new_run_dir,
    preset_config,
    save_agent,
    save_config,
    save_status,
    settings_of,
)
from memagent.stopping import StopOnSignal, plain_errors
from memagent.tracking import Tracker, TrackingCallback, TrackingError, start_run

NOTHING: Mapping[str, Any] = MappingProxyType({})


def main(config: RunConfig) -> None:
    """Config → environments → agent → learn → evaluate."""
    torch.set_num_threads(config.threads)
    env = make_env(config, config.num_envs, config.seed)
    agent = make_agent(config, env)
    run_dir = new_run_dir(config)
    save_config(run_dir, config)
    with alone(run_dir):
        run(agent, config, run_dir)


def resume(run_dir: Path, *, trust: bool = False) -> None:
    """Go on with a run where its newest whole checkpoint was written.

    Raises:
        RunError: there is no such run, it is finished, or its checkpoints are of no use.
    """
    config = load_config(run_dir, trust=trust)
    with alone(run_dir):
        torch.set_num_threads(config.threads)
        env = make_env(config, config.num_envs, config.seed)
        agent, extra, said = last_whole(run_dir, config, env)
        print(said)
        if extra is not None:
            try:
                envs.set_state(env, extra["env"])
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    f"{config.env} is in no state that {run_dir} names: {reason(error)}"
                ) from error
            if not envs.is_whole(env):
                print(f"{config.env} does not save its state: its environments begin new episodes.")
        run(agent, config, run_dir, extra or NOTHING)


def run(agent: MemoryAlgorithm, config: RunConfig, run_dir: Path, extra: Mapping[str, Any] = NOTHING) -> None:
    """Let the agent learn what is left to learn, judge it, and write all that into the run folder.

    Args:
        agent, config, run_dir: the run.
        extra: what a checkpoint of it held beside the agent; nothing where the training begins.
    """
    logged = last_step(run_dir / "progress.csv")
    with start_run(run_dir, settings_of(config), config.wandb, logged=logged) as tracker:
        if agent.num_timesteps < config.total_timesteps:
            learn(agent, config, run_dir, tracker, extra)
        evaluation = evaluate(agent, config, run_dir)
        tracker.summarise(evaluation["summary"])
        for path in sorted((run_dir / "figures").glob("*.png")):
            tracker.log_figure(f"figures/{path.stem}", path, agent.num_timesteps)
        tracker.log_model(run_dir / "model.zip", evaluation["summary"])
    save_status(run_dir, "finished", agent.num_timesteps)
    print(f"Everything is in {run_dir}; open {run_dir / 'report.html'}.")


def learn(
    agent: MemoryAlgorithm,
    config: RunConfig,
    run_dir: Path,
    tracker: Tracker,
    extra: Mapping[str, Any] = NOTHING,
) -> None:
    """Let the agent learn, under a progress bar, and save it, also where a signal or an error ends that early.

    Raises:
        SystemExit: with 130 or 143 after SIGINT or SIGTERM, with 1 after an error, such as one of the environment.
    """
    save_status(run_dir, "training", agent.num_timesteps)
    failure: Exception | None = None
    with StopOnSignal() as stop:
        try:
            with Records(run_dir, config.total_timesteps, agent.num_timesteps, extra) as records:
                agent.set_logger(records.logger)
                checkpoints = make_checkpoints(agent, config, run_dir, records)
                agent.learn(
                    config.total_timesteps - agent.num_timesteps,
                    [checkpoints, records.episodes, TrackingCallback(tracker), stop],
                    log_interval=config.num_envs,
                    reset_num_timesteps=agent.num_timesteps == 0,
                )
        except Exception as error:
            failure = error
        end(agent, run_dir, stop, failure)


def make_checkpoints(
    agent: MemoryAlgorithm, config: RunConfig, run_dir: Path, records: Records
) -> Checkpoints:
    """Checkpoints that hold beside the agent the environments' state, and how far the run's files have come."""
    env = agent.get_env()

    def extra() -> dict[str, Any]:
        return {"env": envs.get_state(env), **records.get_state()}

    folder, whole = run_dir / "checkpoints", envs.is_whole(env)
    return Checkpoints(folder, config.save_every, config.keep, extra, mid_episode=whole)


def end(agent: MemoryAlgorithm, run_dir: Path, stop: StopOnSignal, failure: Exception | None) -> None:
    """Save the agent and the run's status; say why a training ended early, and end the program with it."""
    try:
        where = f"the agent is saved in {save_agent(agent, run_dir)}"
    except ArchiveError as error:
        failure = failure or error
        written = saved(run_dir / "checkpoints")
        kept = f"{written[-1]} is the newest that was" if written else "there is no checkpoint"
        where = f"it was not saved in this state, and {kept}"
    steps = agent.num_timesteps
    if stop.received is not None:
        save_status(run_dir, "interrupted", steps)
        word = "Interrupted" if stop.received == signal.SIGINT else "Terminated"
        go_on = f"go on with `python train.py --resume {run_dir}`"
        print(f"{word} after {steps} steps; {where}; {go_on}.", file=sys.stderr)
        raise SystemExit(128 + stop.received)
    if failure is not None:
        save_status(run_dir, "failed", steps)
        trace = write_text(run_dir / "error.txt", "".join(traceback.format_exception(failure)))
        said = f"{type(failure).__name__}: {reason(failure).rstrip('.')}"
        print(f"error: {said}, after {steps} steps; {where}, the traceback in {trace}.", file=sys.stderr)
        raise SystemExit(1)
    save_status(run_dir, "trained", steps)


def start(arguments: Sequence[str]) -> None:
    """Begin a run, or go on with one, as the command line says.

    Raises:
        RunError: it cannot be done.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--trust", action="store_true")
    given, rest = parser.parse_known_args(arguments)
    if given.resume is None:
        main(parse(arguments))
    elif rest:
        raise RunError(f"--resume takes no other settings than the run's own; leave {' '.join(rest)} out.")
    else:
        resume(given.resume, trust=given.trust)


def parse(arguments: Sequence[str]) -> RunConfig:
    """The command line; what it leaves out has the environment's defaults."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--env", default=RunConfig.env)
    env = first.parse_known_args(arguments)[0].env
    return tyro.cli(
        RunConfig, args=arguments, default=preset_config(env, envs.preset(env)), description=__doc__
    )


if __name__ == "__main__":
    with plain_errors(RunError, TrackingError, NonFiniteError):
        start(sys.argv[1:])
