"""A run that was stopped or killed, where it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from memagent.agents import MemoryAlgorithm
from memagent.archive import ArchiveError
from memagent.checkpoints import saved
from memagent.files import held
from memagent.run_config import RunConfig
from memagent.runs import RunError, algorithm, load_agent, load_status, make_agent


def last_whole(
    run_dir: Path, config: RunConfig, env: VecEnv
) -> tuple[MemoryAlgorithm, dict[str, Any] | None, str]:
    """The agent of the newest checkpoint that is whole, what was saved beside it, and a sentence that says which.

    An agent that has learned all it should comes from model.zip. Where there is no checkpoint the training begins anew:
    the same seed is the same run. In both cases nothing was saved beside it.

    Raises:
        RunError: the run is finished, or none of its checkpoints can be used.
    """
    state = load_status(run_dir)
    if state == "finished":
        raise RunError(f"{run_dir} is finished; judge it again by `python evaluate.py {run_dir}`.")
    if state == "trained":
        return (
            load_agent(run_dir, config, env),
            None,
            "Training is over, and what is left is to judge the agent.",
        )
    paths = saved(run_dir / "checkpoints")
    agent, settings = algorithm(config, env)
    broken = ""
    for path in reversed(paths):
        try:
            loaded, extra = agent.load_checkpoint(path, env, config.device, **settings)
        except ArchiveError as error:
            broken = f"{error} "
            continue
        steps = f"step {loaded.num_timesteps} of {config.total_timesteps}"
        return loaded, extra, f"{broken}Training goes on from {steps}, saved in {path}."
    if paths:
        raise RunError(
            f"{broken}Nothing else in {run_dir} can be gone on from; train anew in another folder."
        )
    return make_agent(config, env), None, f"{run_dir} holds no checkpoint, and training begins anew."


@contextmanager
def alone(run_dir: Path) -> Iterator[None]:
    """Hold a run's folder while it is written.

    Raises:
        RunError: another process is training there.
    """
    try:
        with held(run_dir):
            yield
    except BlockingIOError as error:
        raise RunError(f"{run_dir} is being trained by another process; wait for it, or stop it.") from error
