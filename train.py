"""Train an agent that remembers in an environment that drifts, then judge it; everything is left in one run folder.

python train.py --env Drift/CartPole-v0 --total-timesteps 100000 --seed 0 --num-envs 16 --memory.kind dnc
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import tyro
from stable_baselines3.common.logger import configure

import envs
from evaluate import evaluate, make_env
from memagent.agents import MemoryAlgorithm
from memagent.agents.finite import NonFiniteError
from memagent.progress import TrainingLog
from memagent.runs import (
    RunConfig,
    make_agent,
    new_run_dir,
    plain_errors,
    preset_config,
    save_agent,
    save_config,
    settings_of,
)
from memagent.tracking import Tracker, TrackingCallback, TrackingError, start_run


def main(config: RunConfig) -> None:
    """Config → environments → agent → learn → evaluate."""
    torch.set_num_threads(config.threads)
    run_dir = new_run_dir(config)
    env = make_env(config, config.num_envs, config.seed)
    agent = make_agent(config, env)
    save_config(run_dir, config)
    with start_run(run_dir, settings_of(config), config.wandb) as tracker:
        learn(agent, config, run_dir, tracker)
        evaluation = evaluate(agent, config, run_dir)
        tracker.summarise(evaluation["summary"])
        for path in sorted((run_dir / "figures").glob("*.png")):
            tracker.log_figure(f"figures/{path.stem}", path, agent.num_timesteps)
        tracker.log_model(run_dir / "model.zip", evaluation["summary"])
    print(f"Everything is in {run_dir}; open {run_dir / 'report.html'}.")


def learn(agent: MemoryAlgorithm, config: RunConfig, run_dir: Path, tracker: Tracker) -> None:
    """Let the agent learn, under a progress bar, and save it; Ctrl-C saves what it has learned and ends the program."""
    agent.set_logger(configure(str(run_dir), ["csv"]))
    try:
        with TrainingLog(run_dir / "episodes.csv", config.total_timesteps) as log:
            agent.learn(
                config.total_timesteps, [log, TrackingCallback(tracker)], log_interval=config.num_envs
            )
    except KeyboardInterrupt:
        model = save_agent(agent, run_dir)
        print(
            f"Interrupted after {agent.num_timesteps} steps; the agent is saved in {model}.", file=sys.stderr
        )
        raise SystemExit(130) from None
    finally:
        agent.logger.close()
    save_agent(agent, run_dir)


def parse(arguments: Sequence[str]) -> RunConfig:
    """The command line; what it leaves out has the environment's defaults."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--env", default=RunConfig.env)
    env = first.parse_known_args(arguments)[0].env
    return tyro.cli(
        RunConfig, args=arguments, default=preset_config(env, envs.preset(env)), description=__doc__
    )


if __name__ == "__main__":
    with plain_errors(TrackingError, NonFiniteError):
        main(parse(sys.argv[1:]))
