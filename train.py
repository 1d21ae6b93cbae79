"""Train an agent that remembers in an environment that drifts, then judge it; everything is left in one run folder.

python train.py --env Drift/CartPole-v0 --total-timesteps 100000 --seed 0 --num-envs 16 --memory.kind dnc
python train.py --resume runs/my-run    goes on with a run that was stopped or killed, as if it had not been
python train.py --seeds 0 1 2 3 4 --jobs 2    trains five agents of these seeds, two at a time, each in a process of its
    own, and prints the scores of all; --run-dir is the folder for all then. `--resume FOLDER` goes on with those that
    are not finished.
python train.py --env Drift/Pendulum-v0 --tune 50 --run-dir runs/search    searches for settings in 50 trainings, with
    Optuna; the same command in another terminal joins in. The best settings are in runs/search/best.json.
python train.py --env Drift/Pendulum-v0 --preset runs/search/best.json    trains with the settings of a file
python train.py --seeds 0 1 2 3 4 --ray auto    trains them on the machines of a Ray cluster
python train.py --actors 4 --ray local    one training, whose environments four processes step, there or elsewhere
"""

import os
import signal

if __name__ == "__main__":
    # Ctrl-C while the libraries load, which takes seconds
    signal.signal(signal.SIGINT, lambda *_: os.write(2, b"Interrupted.\n") and os._exit(130))
    # After each of its operations PyTorch's threads spin, for some ten milliseconds, in case there is another: the
    # memory's own threads want these cores. GNU OpenMP reads this once, when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import argparse
import re
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import tyro
from rich.console import Console
from stable_baselines3.common.logger import Logger

import envs
from evaluate import evaluate, make_env, make_held_env, make_player
from memagent.agents import MemoryAlgorithm
from memagent.agents.finite import NonFiniteError
from memagent.archive import ArchiveError, reason
from memagent.checkpoints import Checkpoints, saved
from memagent.comparing import read_evaluation
from memagent.distributed.actor import Environments
from memagent.distributed.collecting import collecting, env_state, is_whole, joined, learner_env
from memagent.distributed.trials import launching
from memagent.evaluation.seed_scores import seed_table
from memagent.files import write_text
from memagent.jobs import Launch
from memagent.phase_evaluation import PhaseEvaluation
from memagent.presets import preset_settings
from memagent.progress import Records, last_step
from memagent.results import check_out
from memagent.resuming import alone, last_whole
from memagent.run_config import RunConfig, Words, Wrappers, preset_config, settings_of
from memagent.runs import (
    RunError,
    RunState,
    begun_run,
    how_to_go_on,
    load_config,
    make_agent,
    named_dir,
    save_agent,
    save_status,
)
from memagent.seeds import begin, complete, refuse_other, seed_dirs
from memagent.stopping import StopOnSignal, plain_errors, stop_with_input
from memagent.tracking import Tracker, TrackingCallback, TrackingError, start_run
from memagent.tracking_results import labels_of, track_results
from memagent.tuning import Pruning, StoppedError, merged, read_preset, tune

ENVIRONMENTS = Environments(make_env, envs.get_state, envs.set_state, envs.is_whole)
NOTHING: Mapping[str, Any] = MappingProxyType({})


def main(config: RunConfig, ray: str | None = None) -> None:
    """Config → environments → agent → learn → evaluate."""
    torch.set_num_threads(config.threads)
    if "tensorboard" in config.log_formats and find_spec("tensorboard") is None:
        raise RunError(
            "--log-formats tensorboard needs a package that is not there: pip install 'memagent[tensorboard]'."
        )
    env = learner_env(config, ENVIRONMENTS)
    agent = make_agent(config, env)
    with joined(config, ray):
        with begun_run(config) as run_dir:
            tracker = start_run(run_dir, settings_of(config), config.wandb, labels=labels_of(config))
        with alone(run_dir), tracker:
            run(agent, config, run_dir, tracker)


def resume(run_dir: Path, ray: str | None = None, *, trust: bool = False) -> None:
    """Go on with a run where its newest whole checkpoint was written.

    Raises:
        RunError: there is no such run, it is finished, or its checkpoints are of no use.
    """
    config = load_config(run_dir, trust=trust)
    with alone(run_dir), joined(config, ray):
        torch.set_num_threads(config.threads)
        env = learner_env(config, ENVIRONMENTS)
        agent, extra, said = last_whole(run_dir, config, env)
        print(said)
        if extra is not None:
            try:
                if not config.actors:  # which get theirs when they begin
                    envs.set_state(env, extra["env"])
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    f"{config.env} is in no state that {run_dir} names: {reason(error)}"
                ) from error
            if not is_whole(agent, ENVIRONMENTS):
                print(f"{config.env} does not save its state: its environments begin new episodes.")
        logged = last_step(run_dir / "progress.csv")
        labels = labels_of(config)
        with start_run(run_dir, settings_of(config), config.wandb, logged=logged, labels=labels) as tracker:
            run(agent, config, run_dir, tracker, extra or NOTHING)


def train_seeds(
    config: RunConfig, seeds: Sequence[int], jobs: int | None, ray: str | None = None, *, trust: bool = False
) -> None:
    """Train and judge an agent of each seed, in a process of its own.

    Raises:
        RunError: no agent can learn so, or the run folders cannot be made.
        SystemExit: as in `resume_seeds`.
    """
    try_out(config)
    with launching(ray, config) as launch:
        resume_seeds(begin(config, seeds), jobs, launch, trust=trust)


def try_out(config: RunConfig) -> None:
    """Make an agent, so that what is wrong with it is said once, and not by each of several trainings.

    Raises:
        RunError: no agent can learn so.
    """
    env = make_env(config, config.num_envs, config.seed)
    make_agent(config, env)
    env.close()


def resume_seeds(
    parent: Path, jobs: int | None, launch: Launch | None = None, *, trust: bool = False
) -> None:
    """Train and judge what is not finished of a folder with several seeds, and print the scores of all.

    Args:
        parent: the folder.
        jobs: how many at a time; see `complete`.
        launch: starts them on other machines; None: on this one.
        trust: see `load_config`.

    Raises:
        SystemExit: with 1 where some failed, with 130 or 143 after a signal.
    """
    failed = complete(parent, Path(__file__), jobs, trust=trust, launch=launch)
    judged = [path for path in seed_dirs(parent) if (path / "evaluation.json").is_file()]
    if of_seeds := {path.name: read_evaluation(path)["contexts"] for path in judged}:
        Console().print(seed_table(of_seeds, title=f"{len(of_seeds)} seeds, {parent}"))
    if failed:
        print(f"error: failed: {', '.join(failed)}; mend it, then {how_to_go_on(parent)}.", file=sys.stderr)
        raise SystemExit(1)


def search(config: RunConfig, trials: int) -> None:
    """Search for settings: train with some at a time, scored while they learn, and write the best as a preset.

    Raises:
        RunError: agents are not to be scored, or there can be no such search.
        SystemExit: with 130 or 143 after a signal.
    """
    if not config.eval_share or trials < 1:
        raise RunError(
            "--tune takes 1 trial or more, and an --eval-share above 0: trials are compared by scores."
        )
    torch.set_num_threads(config.threads)
    try_out(config)
    folder = config.run_dir or named_dir(config, "search")
    with StopOnSignal() as stop:
        try:
            tune(config, folder, trials, partial(train_trial, stop=stop))
        except StoppedError:
            print(f"Stopped; the same command with --run-dir {folder} goes on.", file=sys.stderr)
            raise SystemExit(128 + (stop.received or 0)) from None
    if (best := folder / "best.json").is_file():
        command = shlex.join(["python", "train.py", "--env", config.env, "--preset", str(best)])
        print(f"The best settings are in {best}: train with `{command}` and what else the search was given.")


def train_trial(config: RunConfig, folder: Path, trial: Any, stop: StopOnSignal) -> float | None:
    """One training of a search: its evaluated return at the end, None where it was pruned.

    Raises:
        StoppedError: a signal came.
    """
    env = make_env(config, config.num_envs, config.seed)
    try:
        agent = make_agent(config, env)
        agent.set_logger(Logger(None, []))
        scoring = make_scoring(agent, config, folder, NOTHING)
        assert scoring is not None
        pruning = Pruning(trial, scoring)
        agent.learn(config.total_timesteps, [scoring, pruning, stop])
    finally:
        env.close()
    if stop.received is not None:
        raise StoppedError
    scores = scoring.scores
    return None if pruning.pruned else scores.mean(scores.evaluations[-1])


def run(
    agent: MemoryAlgorithm,
    config: RunConfig,
    run_dir: Path,
    tracker: Tracker,
    extra: Mapping[str, Any] = NOTHING,
) -> None:
    """Let the agent learn what is left to learn, judge it, and write all that into the run folder.

    Args:
        agent, config, run_dir, tracker: the run.
        extra: what a checkpoint of it held beside the agent; nothing where the training begins.
    """
    check_out(run_dir, asdict(config.evaluation))  # now, not when all is learned
    if agent.num_timesteps < config.total_timesteps:
        with collecting(agent, config, ENVIRONMENTS, extra.get("env")):
            learn(agent, config, run_dir, tracker, extra)
    evaluation = evaluate(agent, config, run_dir, run_dir)
    track_results(tracker, run_dir, evaluation, agent.num_timesteps)
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
            steps, formats = config.total_timesteps, config.log_formats
            with Records(run_dir, steps, agent.num_timesteps, extra, formats) as records:
                agent.set_logger(records.logger)
                scoring = make_scoring(agent, config, run_dir, extra)
                checkpoints = make_checkpoints(agent, config, run_dir, records, scoring)
                own = [checkpoints] if scoring is None else [checkpoints, scoring]
                agent.learn(
                    config.total_timesteps - agent.num_timesteps,
                    [*own, records.episodes, TrackingCallback(tracker), stop],
                    log_interval=config.num_envs,
                    reset_num_timesteps=agent.num_timesteps == 0,
                )
        except Exception as error:
            failure = error
        end(agent, run_dir, stop, failure)


def make_scoring(
    agent: MemoryAlgorithm, config: RunConfig, run_dir: Path, extra: Mapping[str, Any]
) -> PhaseEvaluation | None:
    """What scores the agent while it trains, going on where the checkpoint was; None where that is switched off."""
    if not config.eval_share:
        return None
    return PhaseEvaluation(
        partial(make_held_env, config),
        partial(make_player, agent, config, adapted=config.adapt.enabled),
        run_dir,
        share=config.eval_share,
        seed=config.evaluation.seed,
        held=config.env in envs.CATALOGUE,
        state=extra.get("phase_evaluation"),
    )


def make_checkpoints(
    agent: MemoryAlgorithm,
    config: RunConfig,
    run_dir: Path,
    records: Records,
    scoring: PhaseEvaluation | None,
) -> Checkpoints:
    """Checkpoints that hold beside the agent the environments' state, and how far the run's files have come."""

    def extra() -> dict[str, Any]:
        scores = {} if scoring is None else {"phase_evaluation": scoring.get_state()}
        return {"env": env_state(agent, ENVIRONMENTS), **records.get_state(), **scores}

    folder, whole = run_dir / "checkpoints", is_whole(agent, ENVIRONMENTS)
    every, minutes = config.save_every, config.save_minutes
    return Checkpoints(folder, every, config.keep, extra, minutes=minutes, mid_episode=whole)


def end(agent: MemoryAlgorithm, run_dir: Path, stop: StopOnSignal, failure: Exception | None) -> None:
    """Save the agent and the run's status; say why a training ended early, and end the program with it."""
    try:
        where = f"the agent is saved in {save_agent(agent, run_dir)}"
    except (ArchiveError, OSError) as error:
        failure = failure or error
        written = saved(run_dir / "checkpoints")
        kept = f"{written[-1]} is the newest that was" if written else "there is no checkpoint"
        where = f"it was not saved in this state, and {kept}"
    steps = agent.num_timesteps
    if stop.received is not None:
        note(run_dir, "interrupted", steps)
        word = "Interrupted" if stop.received == signal.SIGINT else "Terminated"
        print(f"{word} after {steps} steps; {where}; {how_to_go_on(run_dir)}.", file=sys.stderr)
        raise SystemExit(128 + stop.received)
    if failure is not None:
        note(run_dir, "failed", steps)
        trace = "".join(traceback.format_exception(failure))
        try:
            trace = f"the traceback in {write_text(run_dir / 'error.txt', trace)}."
        except OSError:
            trace = f"the traceback is\n{trace}"
        said = f"{type(failure).__name__}: {reason(failure).rstrip('.')}"
        print(f"error: {said}, after {steps} steps; {where}, {trace}", file=sys.stderr)
        raise SystemExit(1)
    save_status(run_dir, "trained", steps)


def note(run_dir: Path, state: RunState, steps: int) -> None:
    """Write how a training ended early, where that can be written: a full disk hides neither that nor why."""
    with suppress(OSError):
        save_status(run_dir, state, steps)


@dataclass(frozen=True)
class Asked:
    """The part of the command line that the defaults follow from; see `RunConfig`."""

    env: str = RunConfig.env
    env_kwargs: Words = field(default_factory=dict)
    wrapper: Wrappers = field(default_factory=dict)


def command_parser() -> argparse.ArgumentParser:
    """What is asked for beside the settings of a run."""
    parser = argparse.ArgumentParser(
        usage="train.py [options] [settings]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--resume", type=Path, metavar="FOLDER", help="go on with a run, or with several of --seeds")
    add("--seeds", type=int, nargs="+", metavar="SEED", help="train an agent of each seed")
    add(
        "--jobs",
        type=int,
        metavar="N",
        help="of several seeds, how many train at a time; else as cores allow",
    )
    add("--tune", type=int, metavar="TRIALS", help="search for settings in so many trainings")
    add(
        "--preset",
        type=Path,
        metavar="FILE",
        help="settings in place of the environment's; flags override them",
    )
    add(
        "--ray",
        metavar="ADDRESS",
        help='where --seeds or --actors run: "auto" for the Ray cluster that this machine is part of, HOST:PORT for '
        'another, "local" for one of this machine alone',
    )
    add(
        "--trust",
        action="store_true",
        help="with --resume: also run code that the folder names, or pickles in it",
    )
    add("--stop-with-input", action="store_true", help=argparse.SUPPRESS)  # of the processes of several seeds
    return parser


def start(arguments: Sequence[str]) -> None:
    """Begin a run or several, or go on with them, as the command line says.

    Raises:
        RunError: it cannot be done.
    """
    parser = command_parser()
    given, rest = parser.parse_known_args(arguments)
    if given.stop_with_input:
        stop_with_input()
    if {"-h", "--help"} & set(rest):
        print(parser.format_help())  # and `parse` prints the settings
    several = given.resume is not None and bool(seed_dirs(given.resume))
    refuse_together(given, rest, several)
    if several:
        if given.seeds:  # the command that began them, again
            refuse_other(given.resume, parse(rest, given.preset), given.seeds, trust=given.trust)
        else:
            refuse_settings([*rest, *(["--preset"] if given.preset else [])])
        with launching(given.ray, load_config(seed_dirs(given.resume)[0], trust=given.trust)) as launch:
            resume_seeds(given.resume, given.jobs, launch, trust=given.trust)
    elif given.resume is not None:
        if given.resume.is_dir():
            refuse_settings([*rest, *(f"--{name}" for name in ("seeds", "preset") if getattr(given, name))])
        resume(given.resume, given.ray, trust=given.trust)
    elif given.seeds:
        config = parse(rest, given.preset)
        train_seeds(
            config, given.seeds, given.jobs, given.ray, trust=True
        )  # it is the person's own command line
    else:
        begin_one(parse(rest, given.preset), given.tune, given.ray)


def refuse_together(given: argparse.Namespace, rest: Sequence[str], several: bool) -> None:
    """RunError where what was asked for does not go together."""
    if given.seeds and any(word.split("=")[0] == "--seed" for word in rest):
        raise RunError("--seed and --seeds were given; give --seed for one training, or --seeds for several.")
    if given.jobs is not None and not (given.seeds or several):
        raise RunError(
            "--jobs was given without --seeds; it says how many of several trainings run at a time."
        )
    if given.jobs is not None and given.jobs < 1:
        raise RunError(f"--jobs is {given.jobs}; give 1 or more.")
    if given.tune is not None and (given.seeds or given.resume):
        raise RunError(
            "--tune trains with one seed, and the same command goes on; leave --seeds and --resume out."
        )


def begin_one(config: RunConfig, tune: int | None, ray: str | None) -> None:
    """Begin a run, or a search of `tune` runs.

    Raises:
        RunError: it cannot be done.
    """
    if ray is not None and not config.actors:
        raise RunError(
            "--ray was given without --actors or --seeds; it says on what machines actors or several trainings run."
        )
    if tune is None:
        main(config, ray)
    elif config.actors:
        raise RunError(
            "--tune and --actors were given; a search's trainings have none, so leave one of them out."
        )
    else:
        search(config, tune)


def refuse_settings(given: Sequence[str]) -> None:
    """RunError where a command line that goes on with a run has settings."""
    if given:
        raise RunError(f"--resume takes no other settings than the run's own; leave {' '.join(given)} out.")


def parse(arguments: Sequence[str], preset: Path | None = None) -> RunConfig:
    """The command line; what it leaves out has the values of a preset's file, and then the environment's defaults.

    Raises:
        RunError: the environment cannot be made, or the file holds no preset.
    """
    flags = [as_flag(argument) for argument in arguments]
    asked, _ = tyro.cli(Asked, args=flags, return_unknown_args=True, add_help=False)
    actions, env = None, envs.canonical_id(asked.env)
    if env not in envs.CATALOGUE:
        one = make_env(RunConfig(**vars(asked)), num_envs=1, seed=0)
        actions = one.action_space
        one.close()
    settings = preset_settings(env, actions)
    if preset is not None:
        settings = merged(settings, read_preset(preset))
    default = preset_config(env, settings)
    about = f"The settings of a run, with the defaults of {env}."
    return replace(tyro.cli(RunConfig, args=flags, default=default, description=about), env=env)


def as_flag(argument: str) -> str:
    """`--adapt.enabled=False`, as sweeps pass it, in the form of a flag: `--adapt.no-enabled`; others as they are."""
    match = re.fullmatch(r"--((?:[\w-]+\.)*)([\w-]+)=(true|false)", argument, re.IGNORECASE)
    if match is None:
        return argument
    section, name, value = match.groups()
    return f"--{section}{'no-' if value.lower() == 'false' else ''}{name}"


if __name__ == "__main__":
    with plain_errors(RunError, TrackingError, NonFiniteError, OSError):
        start(sys.argv[1:])
