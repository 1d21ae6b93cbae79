"""Judge trained agents: play contexts held still, adapted and not, and write the results into their run folders.

python evaluate.py runs/my-run
"""

import os
import signal

if __name__ == "__main__":  # Ctrl-C while the libraries load, which takes seconds
    signal.signal(signal.SIGINT, lambda *_: os.write(2, b"Interrupted.\n") and os._exit(130))

import inspect
import json
import shlex
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.envs.registration import load_env_creator
from rich.console import Console
from stable_baselines3.common.vec_env import VecEnv

import envs
from memagent.agents import Acting, MemoryAlgorithm
from memagent.agents.base import lifetime_seed
from memagent.archive import reason
from memagent.command_line import as_arguments
from memagent.evaluation.adaptation_charts import context_charts, model_chart
from memagent.evaluation.adaptation_figures import context_figure, episodes_figure, model_figure
from memagent.evaluation.charts import contexts_chart, recovery_chart, stream_chart
from memagent.evaluation.figures import contexts_figure, memory_figure, png, stream_figure
from memagent.evaluation.metrics import SPLITS, summarise
from memagent.evaluation.page import Picture
from memagent.evaluation.protocol import Context, ContextRecord, play_contexts
from memagent.evaluation.recording import Recording, record
from memagent.evaluation.report import SPLIT_NAMES, table, write_report
from memagent.files import write_bytes, write_text
from memagent.progress import phase_changes, read_episodes
from memagent.runs import (
    EvaluationConfig,
    RunConfig,
    RunError,
    load_agent,
    load_config,
    load_status,
    model_file,
    preset_config,
    settings_of,
)
from memagent.stopping import plain_errors
from memagent.traces import inside, model_errors, play_stream, threshold_of, trace_episode

CAPTIONS = {
    "stream": "Return over the training stream, with the phase changes.",
    "contexts": "Return on every context, held still from empty memory.",
    "episodes": "Return by episode since the change, unadapted and adapted: how soon adaptation pays.",
    "context": "The context vector over one environment's drifting stream: one condition, one place.",
    "model": "The dynamics model's error over the steps since a change, with z = 0 and with z fitted.",
    "memory": "The memory over the first training context's first episode.",
}
CHARTS = {
    "stream": "Return over the training stream. Dots are episodes of all environments. Bands, and the parameters "
    "beneath, are of the first environment's phases; each environment has contexts of its own.",
    "episodes": "Return since the change. Mean over contexts by episode, with its 95 % interval.",
    "contexts": "Return on every context. Each is held still and begun from empty memory; bars reach from the lowest "
    "to the highest episode. Point at a mark for its parameters.",
    "context": "The context vector over a drifting stream. Bands are conditions; in the plane a large mark is z at "
    "the end of a phase: conditions that z tells apart lie apart.",
    "model": "What the dynamics model gains by the context. Its error over the steps since a change, with z = 0 and "
    "with z as fitted then; bands are standard errors.",
}
STREAM_ENVS = 8
PLAYER_PHASE = 300  # steps to the change that the episode player shows: the middle of an episode of many ids
PLAYER_DRAWS = 8


@dataclass(frozen=True)
class Options:
    """Judge trained agents: play contexts held still, adapted and not, and write the results into the run folders.

    Writes evaluation.json, figures/ and report.html, and prints a table.
    """

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, as train.py leaves them."""
    contexts: int | None = None
    """Contexts of the training ranges, and as many held-out ones. None: as config.json says."""
    episodes: int | None = None
    """Scored episodes of each context, unadapted and adapted. None: as config.json says."""
    warmup_episodes: int | None = None
    """Episodes before them, in which adaptation gathers its first transitions. None: as config.json says."""
    seed: int | None = None
    """Seed of the contexts, of their episodes and of sampled actions. None: as config.json says."""
    deterministic: bool | None = None
    """Judge MemorySAC by its best actions, else by actions sampled as in training. None: as config.json says."""
    device: str | None = None
    """Where the agent acts: "cpu", "cuda", or "auto" for a GPU where there is one. None: as config.json says."""
    out: Path | None = None
    """Folder for the results, of one run. None: the run folder itself; an evaluation there with other settings, which
    would be lost, is refused."""
    trust: bool = False
    """Let a run folder run code: import the module that its environment's id names, and read a pickled model.zip. Give
    it only for folders of people you trust."""


def main(options: Options) -> None:
    """Evaluate one run folder after the other."""
    if options.out is not None and len(options.run_dirs) > 1:
        raise RunError(f"--out was given for {len(options.run_dirs)} run folders; give it with one.")
    configs = [with_options(load_config(d, trust=options.trust), options) for d in options.run_dirs]
    for run_dir, config in zip(options.run_dirs, configs, strict=True):
        torch.set_num_threads(min(config.threads, os.cpu_count() or 1))
        env = make_env(config, num_envs=1, seed=config.evaluation.seed)
        agent = load_agent(run_dir, config, env, trust=options.trust)
        evaluate(agent, config, run_dir, options.out or run_dir)


def with_options(config: RunConfig, options: Options) -> RunConfig:
    """The configuration, with what the command line gives in its place.

    Raises:
        RunError: the evaluation cannot have such a value.
    """
    given = {name: value for name, value in vars(options).items() if value is not None}
    own = given.keys() & {setting.name for setting in fields(EvaluationConfig)}
    try:
        evaluation = replace(config.evaluation, **{name: given[name] for name in own})
    except ValueError as error:
        raise RunError(str(error)) from error
    return replace(config, evaluation=evaluation, device=given.get("device", config.device))


def evaluate(agent: MemoryAlgorithm, config: RunConfig, run_dir: Path, out: Path) -> dict[str, Any]:
    """Play; write evaluation.json, figures/ and report.html; print the table; return what evaluation.json holds.

    Args:
        agent, config: what is judged, and how.
        run_dir: the folder of its training.
        out: the folder for the results.

    Raises:
        RunError: the training's episodes cannot be read, or the results not be written.
    """
    settings, log = config.evaluation, run_dir / "episodes.csv"
    episodes = read_log(log) if log.is_file() else None
    remarks = remarks_on(agent, config, run_dir)
    check_out(out, config)

    def make_held_env(contexts: Sequence[Context]) -> VecEnv:
        return hold(make_env(config, len(contexts), settings.seed, settings.time_limit), contexts)

    def make_player(num_envs: int, adapted: bool) -> Acting:
        sample_with = None if settings.deterministic else np.random.default_rng(settings.seed)
        return agent.make_acting(num_envs, adapt=adapted, sample_with=sample_with)

    contexts = choose_contexts(config)
    records = play_contexts(
        contexts,
        make_held_env,
        make_player,
        settings.episodes,
        settings.warmup_episodes,
        (False, True) if config.adapt.enabled else (False,),
        progress=True,
    )
    evaluation = {"contexts": records, "summary": summarise(records), "settings": asdict(settings)}
    stream = None
    if config.adapt.enabled and config.env in envs.CATALOGUE:
        stream = play_stream(agent, make_env(config, STREAM_ENVS, settings.seed))
    figures = {"contexts": png(contexts_figure(records))}
    if config.adapt.enabled:
        figures |= adaptation_figures(agent, records, stream)
    if episodes is not None:
        figures["stream"] = png(stream_figure(episodes["step"], episodes["return"], phase_changes(episodes)))
    if config.memory.kind == "dnc":
        figures["memory"] = png(memory_figure(**trace_episode(agent, make_held_env(contexts[:1]))))

    shown = charts(agent, config, records, episodes, stream)
    recording = record_change(agent, config)
    try:
        write_text(out / "evaluation.json", json.dumps(evaluation, indent=2) + "\n")
        save_figures(figures, out / "figures")
        write_report(
            out / "report.html",
            evaluation,
            settings_of(config),
            {CHARTS[name]: shown[name] for name in CHARTS if name in shown},
            title=f"{config.env}, memory {config.memory.kind}",
            remarks=remarks,
            recording=recording,
            commands=commands(agent, config, run_dir, out),
        )
    except OSError as error:
        raise RunError(f"The evaluation cannot be written into {out}: {error}.") from error
    for remark in remarks:
        print(remark)
    Console().print(table(records, title=f"{config.env}, memory {config.memory.kind}, {run_dir}"))
    return evaluation


def check_out(out: Path, config: RunConfig) -> None:
    """Make the folder for the results.

    Raises:
        RunError: nothing can be written there, or it holds an evaluation with other settings.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
        earlier = out / "evaluation.json"
        held = earlier.read_bytes() if earlier.is_file() else None
    except OSError as error:
        raise RunError(
            f"The evaluation cannot be written into {out}: {error}; name another folder by --out."
        ) from error
    if held is None:
        return
    try:
        same = json.loads(held)["settings"] == asdict(config.evaluation)
    except (ValueError, KeyError, TypeError, RecursionError):
        same = False
    if not same:
        raise RunError(
            f"{earlier} holds an evaluation with other settings, which would be lost; name another folder by --out, or "
            "remove it first."
        )


def remarks_on(agent: MemoryAlgorithm, config: RunConfig, run_dir: Path) -> list[str]:
    """What one has to know of a training before its results: that it ended early, or that nothing was learned.

    Raises:
        RunError: status.json cannot be read.
    """
    state, steps, wanted = load_status(run_dir), agent.num_timesteps, config.total_timesteps
    remarks = []
    if state in ("interrupted", "failed"):
        remarks.append(
            f"The training was {state.replace('failed', 'ended by an error')} after {steps} of {wanted} steps."
        )
    elif state == "training":
        remarks.append(
            f"The training was not finished: {model_file(run_dir)} is of step {steps} of {wanted}."
        )
    if (why := untaught(agent)) is not None:
        remarks.append(why)
    return remarks


def untaught(agent: MemoryAlgorithm) -> str | None:
    """That an agent has learned nothing, and what an update needs; None where it has made one, or no step yet."""
    if agent._n_updates or not agent.num_timesteps:
        return None
    learner = agent.learner
    return (
        f"Nothing was learned: not one update was made in {agent.num_timesteps} steps. After {learner.learning_starts} "
        f"steps one comes every {learner.steps_per_update}, and needs {agent.replay_config.window} rows of an "
        "environment: train longer, or change --learner.learning-starts, --replay.rows or --num-envs."
    )


def read_log(path: Path) -> dict[str, np.ndarray]:
    """The training episodes of a run.

    Raises:
        RunError: the file does not hold them.
    """
    try:
        return read_episodes(path)
    except ValueError as error:
        raise RunError(str(error)) from error


def adaptation_figures(
    agent: MemoryAlgorithm, records: Sequence[ContextRecord], stream: Mapping[str, np.ndarray] | None
) -> dict[str, bytes]:
    """Returns since the change; and, where something drifts, contexts and the model's error over a drifting stream."""
    figures = {"episodes": png(episodes_figure(records))}
    if stream is not None:
        figures["context"] = png(context_figure(stream["context"][:, 0], stream["context_id"][:, 0]))
        figures["model"] = png(model_figure(*model_errors(agent, stream)))
    return figures


def charts(
    agent: MemoryAlgorithm,
    config: RunConfig,
    records: Sequence[ContextRecord],
    episodes: Mapping[str, np.ndarray] | None,
    stream: Mapping[str, np.ndarray] | None,
) -> dict[str, Sequence[Picture]]:
    """The page's charts by name; what was not trained, does not drift or does not adapt has none."""
    of_split = {SPLIT_NAMES[s]: [r for r in records if r["split"] == s] for s in SPLITS}
    found: dict[str, Sequence[Picture]] = {
        "episodes": [recovery_chart(own, name) for name, own in of_split.items() if own],
        "contexts": [contexts_chart(own, name) for name, own in of_split.items() if own],
    }
    if episodes is not None:
        found["stream"] = [stream_chart(episodes, training_conditions(config, episodes))]
    if stream is not None:
        found["context"] = context_charts(stream["context"][:, 0], stream["context_id"][:, 0])
        found["model"] = [model_chart(*model_errors(agent, stream))]
    return found


def training_conditions(config: RunConfig, episodes: Mapping[str, np.ndarray]) -> dict[int, dict[str, float]]:
    """The values of the drifting parameters in the training's first environment, by context id."""
    if config.env not in envs.CATALOGUE:
        return {}
    env = make_env(config, config.num_envs, config.seed)
    env.seed(lifetime_seed(config.seed))
    env.reset()  # begins the lifetimes, in which a held context is found again
    found = {}
    for number in np.unique(episodes["context_id"][episodes["env"] == 0]).astype(int).tolist():
        env.set_options([{"context": number, "frozen": True}, *[{}] * (config.num_envs - 1)])
        env.reset()
        found[number] = dict(env.reset_infos[0]["context"])
    env.close()
    return found


def record_change(agent: MemoryAlgorithm, config: RunConfig) -> Recording:
    """A change of the condition that nobody tells the agent of, within an episode where the environment can.

    Of PLAYER_DRAWS environments the one is shown whose parameters change most at their first change, each by its size.
    """
    seed = config.evaluation.seed
    if config.env in envs.CATALOGUE:
        within = {**config.env_kwargs, "change_at": "step"}
        config = replace(config, schedule="draw", phase_steps=PLAYER_PHASE, env_kwargs=within)
        seed += int(np.argmax([size_of_change(config, seed + k) for k in range(PLAYER_DRAWS)]))
    player = agent.make_acting(1, adapt=config.adapt.enabled, phase_signal="detect")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what draws, or cannot
        env, render = rendered(config, seed)
        return record(env, player, partial(inside, player), threshold=threshold_of(player), render=render)


def size_of_change(config: RunConfig, seed: int) -> float:
    """How far the parameters go at the first change of an environment, each by its size before and after."""
    env = make_env(config, 1, seed)
    values = []
    for number in (0, 1):
        env.set_options([{"context": number, "frozen": True}])
        env.reset()
        values.append(np.array(list(env.reset_infos[0]["context"].values())))
    env.close()
    before, after = values
    size = np.abs(before) + np.abs(after)
    return float((np.abs(after - before) / np.where(size > 0, size, 1.0)).sum())


def rendered(config: RunConfig, seed: int) -> tuple[VecEnv, Callable[[], np.ndarray | None]]:
    """One environment, and what gives a picture of it; None where it cannot be rendered."""
    limit = config.evaluation.time_limit
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame asks for no window
    try:
        seen = {**config.env_kwargs, "render_mode": "rgb_array"}
        env = make_env(replace(config, env_kwargs=seen), 1, seed, limit)
        env.reset()
        picture = env.get_images()[0]
        if isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.dtype == np.uint8:
            return env, lambda: env.get_images()[0]
        env.close()
    except Exception:  # a mode, a package, a driver or a display is missing, each with an error of its own
        pass
    return make_env(config, 1, seed, limit), lambda: None


def commands(agent: MemoryAlgorithm, config: RunConfig, run_dir: Path, out: Path) -> list[str]:
    """What to type to train and judge the agent again, and to judge it alone."""
    default = preset_config(config.env, envs.preset(config.env, agent.action_space))
    train = ["python", "train.py", "--env", config.env]
    train += as_arguments(settings_of(config), settings_of(default))
    judge = ["python", "evaluate.py", str(run_dir)]
    asked = {setting.name for setting in fields(Options)}
    for name, value in asdict(config.evaluation).items():
        judge += [f"--{name.replace('_', '-')}", str(value)] if name in asked else []
    judge += ["--out", str(out)] if out != run_dir else []
    return [shlex.join(train), shlex.join(judge)]


def make_env(config: RunConfig, num_envs: int, seed: int, time_limit: int | None = None) -> VecEnv:
    """The environments of a configuration; `time_limit` cuts the episodes of those that have none.

    Raises:
        RunError: they cannot be made.
    """
    drift: dict[str, Any] = {"schedule": config.schedule, "phase_steps": config.phase_steps}
    given = {name: value for name, value in drift.items() if value is not None}
    if given and config.env not in envs.CATALOGUE:
        raise RunError(
            f"{config.env} takes no {' and no '.join(given)}: only {', '.join(envs.CATALOGUE)} drift."
        )
    own = {*inspect.signature(envs.make_vec).parameters, *drift}
    if taken := config.env_kwargs.keys() & own:
        raise RunError(
            f"env_kwargs has {', '.join(sorted(taken))}, expected arguments of the environment alone: leave them out."
        )
    try:
        wrappers = [
            partial(load_env_creator(name), **arguments) for name, arguments in config.wrapper.items()
        ]
        return envs.make_vec(
            config.env,
            num_envs,
            seed,
            wrappers=wrappers,
            time_limit=time_limit,
            **given,
            **config.env_kwargs,
        )
    except (gym.error.Error, ImportError, ValueError) as error:
        raise RunError(f"The environment {config.env} cannot be made: {reason(error)}") from error
    except Exception as error:  # of the environment's own code, which may raise any
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise RunError(
            f"The environment {config.env} cannot be made: {type(error).__name__} in {where.filename}, line "
            f"{where.lineno}: {reason(error)}"
        ) from error


def choose_contexts(config: RunConfig) -> list[Context]:
    """As many contexts of the training ranges as held-out ones; one, without values, where nothing drifts."""
    if config.env not in envs.CATALOGUE:
        return [Context(0, "train", {})]
    count, seed = config.evaluation.contexts, config.evaluation.seed
    taken = envs.CATALOGUE[config.env].arguments
    own = {name: value for name, value in config.env_kwargs.items() if name in taken}
    train, held_out = (
        envs.contexts(config.env, split, count, seed, **own) for split in ("train", "held_out")
    )
    return [Context(i, "train", values) for i, values in enumerate(train)] + [
        Context(count + i, "held_out", values) for i, values in enumerate(held_out)
    ]


def hold(env: VecEnv, contexts: Sequence[Context]) -> VecEnv:
    """The same environments; from the next reset on, the c-th stays in the c-th context."""
    env.set_options([{"context": dict(c.context), "frozen": True} if c.context else {} for c in contexts])
    return env


def save_figures(figures: Mapping[str, bytes], folder: Path) -> None:
    """Write the pictures as PNG files under their names."""
    folder.mkdir(exist_ok=True)
    for name, data in figures.items():
        write_bytes(folder / f"{name}.png", data)


def parse(arguments: Sequence[str]) -> Options:
    """The command line; help where it names no run folder."""
    try:
        return tyro.cli(Options, args=arguments or ["--help"])
    except SystemExit as ended:
        raise SystemExit(ended.code if arguments else 2) from None


if __name__ == "__main__":
    with plain_errors(RunError):
        main(parse(sys.argv[1:]))
