"""Judge trained agents: play contexts held still, adapted and not, and write the results into their run folders.

python evaluate.py runs/my-run
python evaluate.py --model ppo.zip --algo ppo --env Drift/CartPole-v0 --trust    a model of Stable-Baselines3
python evaluate.py runs/one runs/another    compares them by what they hold, and judges first what was not judged
"""

import os
import signal

if __name__ == "__main__":  # Ctrl-C while the libraries load, which takes seconds
    signal.signal(signal.SIGINT, lambda *_: os.write(2, b"Interrupted.\n") and os._exit(130))

import inspect
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.envs.registration import load_env_creator
from stable_baselines3.common.vec_env import VecEnv

import envs
from memagent.agents import Acting, MemoryAlgorithm
from memagent.agents.base import lifetime_seed
from memagent.archive import reason
from memagent.command_line import as_arguments
from memagent.comparing import compare_runs, load_judged, run_dirs_of, settings_dir
from memagent.evaluation.comparison import Judged
from memagent.evaluation.figures import contexts_figure, memory_figure, png, stream_figure
from memagent.evaluation.players import PredictPlayer
from memagent.evaluation.protocol import Context, play_contexts
from memagent.evaluation.recording import AFTER, BEFORE, Recording, record
from memagent.evaluation.references import References
from memagent.evaluation.video import WIDTH as FILM_WIDTH
from memagent.evaluation.video import write_video
from memagent.presets import preset_settings
from memagent.progress import phase_changes
from memagent.results import (
    adaptation_figures,
    charts,
    check_out,
    contexts_charts,
    evaluation_of,
    read_log,
    read_scores,
    remarks_on,
    show,
    write_results,
)
from memagent.run_config import EvaluationConfig, RunConfig, preset_config, settings_of
from memagent.runs import RunError, load_agent, load_config, runs_code
from memagent.sb3_models import ModelOptions, as_trained, load_model
from memagent.stopping import plain_errors
from memagent.traces import inside, play_stream, trace_episode

STREAM_ENVS, STREAM_STEPS = 8, 3_000
"""Environments of the stream that the context is drawn over, and the most steps of each: together the training's, at
least 100 of each."""
PLAYER_PHASE = 300  # steps to the change that the episode player shows: the middle of an episode of many ids
PLAYER_DRAWS = 8


@dataclass(frozen=True)
class Options:
    """Judge a trained agent, or compare several.

    One run folder: play contexts held still, adapted and not, print a table, and write evaluation.json, figures/ and
    report.html into the folder. Several: judge those that hold no evaluation.json, compare all by what these hold,
    print tables, and write comparison.json, comparison.html and comparison.png.

    `--model`, `--algo` and `--env` judge a model of Stable-Baselines3 or sb3-contrib by the same protocol, unadapted;
    what is not given is as train.py has it by default.
    """

    run_dirs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders, as train.py leaves them; also folders of several seeds, and folders in a run folder that hold
    another evaluation of it."""
    model: Annotated[ModelOptions, tyro.conf.arg(name="")] = field(default_factory=ModelOptions)
    """A model in place of run folders."""
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
    time_limit: int | None = None
    """Steps after which an episode is cut where the environment has no time limit. None: as config.json says."""
    video: bool = False
    """Also write a video of a change of the context that nobody tells the agent of: video.mp4, where imageio-ffmpeg is
    installed (pip install 'memagent[video]'), else video.gif."""
    device: str | None = None
    """Where the agent acts: "cpu", "cuda", or "auto" for a GPU where there is one. None: as config.json says."""
    group_by: tuple[str, ...] | None = None
    """Settings whose values make the groups that are compared, such as memory.kind adapt.enabled. None: runs that
    differ in the seed alone are a group."""
    threshold: float | None = None
    """In a comparison, also tell after how many training steps the mean return of 20 episodes reached this."""
    out: Path | None = None
    """Folder for the results. None: the run folder itself, or that of the model's name beside the model, where an
    evaluation with other settings, which would be lost, is refused; of a comparison the folder that all runs are in,
    else the current one."""
    trust: bool = False
    """Let a run folder or a model run code: import the module that the folder's environment names, and read a pickled
    file. Give it only for what people made whom you trust."""


def main(options: Options) -> None:
    """Judge one run folder or a model, or compare several run folders."""
    if options.model != ModelOptions():
        judge_model(options)
        return
    if not options.run_dirs:
        raise RunError(
            "There is nothing to judge; name run folders, or a model by --model, --algo and --env."
        )
    paths = run_dirs_of(options.run_dirs)
    configs = [with_options(load_config(settings_dir(path), trust=options.trust), options) for path in paths]
    if len(paths) == 1 and options.group_by is None and options.threshold is None:
        judge(settings_dir(paths[0]), configs[0], options.out or paths[0], trust=options.trust)
        return
    if options.video:
        raise RunError(
            "--video is of one run folder, and takes no comparison; leave it out, or the other flags and folders."
        )
    for path, config in zip(paths, configs, strict=True):
        if not (path / "evaluation.json").is_file():
            judge(path, config, path, trust=options.trust)
    judged = [load_judged(path, trust=options.trust) for path in paths]
    for run in judged:
        refuse_other_settings(run, options)
    compare_runs(judged, options.group_by or (), options.threshold, options.out)


def judge(run_dir: Path, config: RunConfig, out: Path, *, trust: bool) -> None:
    """Evaluate the agent of a run folder.

    Raises:
        RunError: `out` is another run's folder, among other things.
    """
    if out.resolve() != run_dir.resolve() and (out / "config.json").exists():
        raise RunError(f"{out} is another run's folder; name one for the results of {run_dir} by --out.")
    torch.set_num_threads(min(config.threads, os.cpu_count() or 1))
    env = make_env(config, num_envs=1, seed=config.evaluation.seed)
    evaluate(load_agent(run_dir, config, env, trust=trust), config, run_dir, out)


def refuse_other_settings(run: Judged, options: Options) -> None:
    """RunError where a run holds an evaluation with other settings than the command line gives."""
    for name, held in run.evaluation["settings"].items():
        if (asked := getattr(options, name, None)) is not None and asked != held:
            flag = f"--{name.replace('_', '-')} {asked}"
            run_dir = shlex.quote(str(settings_dir(Path(run.folder))))
            raise RunError(
                f"{run.folder} holds an evaluation with {name} {held}, not {asked}; judge it anew by "
                f"`python evaluate.py {run_dir} {flag} --out {run_dir}/FOLDER`, and compare such folders."
            )


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
    video = config.video or options.video
    return replace(config, evaluation=evaluation, device=given.get("device", config.device), video=video)


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
    scores = read_scores(run_dir)
    remarks = remarks_on(agent, config, run_dir)
    check_out(out, asdict(settings))
    contexts = choose_contexts(config)
    records = play_contexts(
        contexts,
        partial(make_held_env, config),
        partial(make_player, agent, config),
        settings.episodes,
        settings.warmup_episodes,
        (False, True) if config.adapt.enabled else (False,),
        progress=True,
    )
    evaluation = evaluation_of(records, asdict(settings), references_of(config))
    stream = None
    if config.adapt.enabled and config.env in envs.CATALOGUE:
        steps = min(STREAM_STEPS, max(100, agent.num_timesteps // STREAM_ENVS))
        stream = play_stream(agent, make_env(config, STREAM_ENVS, settings.seed), steps)
    conditions = {} if episodes is None else training_conditions(config, episodes)
    figures = {"contexts": png(contexts_figure(records))}
    if config.adapt.enabled:
        figures |= adaptation_figures(agent, records, stream)
    if episodes is not None:
        figures["stream"] = png(stream_figure(episodes["step"], episodes["return"], phase_changes(episodes)))
    if config.memory.kind == "dnc":
        figures["memory"] = png(memory_figure(**trace_episode(agent, make_held_env(config, contexts[:1]))))

    write_results(
        out,
        evaluation,
        figures,
        charts(agent, records, episodes, conditions, stream, scores),
        settings_of(config),
        title=f"{config.env}, memory {config.memory.kind}",
        remarks=remarks,
        recording=record_change(agent, config),
        commands=commands(agent, config, run_dir, out),
    )
    for remark in remarks:
        print(remark)
    if config.video:
        film(agent, config, out)
    show(evaluation, f"{config.env}, memory {config.memory.kind}, {run_dir}")
    return evaluation


def judge_model(options: Options) -> dict[str, Any]:
    """Play a model of Stable-Baselines3 or sb3-contrib as an agent of ours, unadapted; else as `evaluate`.

    Raises:
        RunError: the model cannot be read, does not fit its environment, or the results cannot be written.
    """
    given = options.model
    if given.model is None or given.algo is None or given.env is None:
        raise RunError(
            "A model needs --model, --algo and --env, all three; leave them out to judge run folders."
        )
    if options.run_dirs:
        raise RunError("A model and run folders were given; judge one after the other.")
    if options.video:
        raise RunError("--video takes a run folder: it shows what an agent of ours believes.")
    config = RunConfig(env=envs.canonical_id(given.env), env_kwargs=given.env_kwargs, wrapper=given.wrapper)
    config = with_options(config, options)
    torch.set_num_threads(config.threads)
    model = load_model(given.model, given.algo, config.device, trust=options.trust)
    settings = config.evaluation
    make_any_env = partial(make_env, config, seed=settings.seed, time_limit=settings.time_limit)
    make_seen_env = as_trained(model, make_any_env, given)
    files = {name: path.name for name in ("model", "vec_normalize") if (path := getattr(given, name))}
    all_settings = asdict(settings) | asdict(given) | files
    out = options.out or given.model.with_suffix("")
    check_out(out, all_settings)
    model.set_random_seed(settings.seed)  # of sampled actions
    records = play_contexts(
        choose_contexts(config),
        lambda contexts: hold(make_seen_env(len(contexts)), contexts),
        lambda num_envs, _: PredictPlayer(model, num_envs, settings.deterministic),
        settings.episodes,
        settings.warmup_episodes,
        (False,),
        progress=True,
    )
    evaluation = evaluation_of(records, all_settings, references_of(config))
    figures = {"contexts": png(contexts_figure(records))}
    shown = {"contexts": contexts_charts(records)}
    write_results(out, evaluation, figures, shown, all_settings, title=f"{given.env}, {given.algo}")
    show(evaluation, f"{given.env}, {given.algo}, {given.model}")
    print(f"Everything is in {out}; open {out / 'report.html'}.")
    return evaluation


def references_of(config: RunConfig) -> References:
    """Scores of random actions and of an oracle; known of the catalogue's ids as they are by default."""
    return {} if config.env_kwargs else envs.reference_scores(config.env)


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
        try:
            env.reset()
        except ValueError as error:
            raise RunError(f"episodes.csv is not that of a training in {config.env}: {error}") from error
        found[number] = dict(env.reset_infos[0]["context"])
    env.close()
    return found


def film(agent: MemoryAlgorithm, config: RunConfig, out: Path) -> None:
    """Write a video of the change that the page's player shows, or say why there is none."""
    seen = record_change(agent, config, frames=BEFORE + AFTER, width=FILM_WIDTH)
    try:
        path = write_video(out, seen)
    except OSError as error:
        raise RunError(f"The video cannot be written into {out}: {error}.") from error
    except ValueError as error:
        print(error)
        return
    without = "; `pip install 'memagent[video]'` brings what an MP4 needs" if path.suffix == ".gif" else ""
    print(f"A video of a change is in {path}{without}.")


def record_change(agent: MemoryAlgorithm, config: RunConfig, **pictures: int) -> Recording:
    """A change of the condition that nobody tells the agent of, within an episode where the environment can.

    Of PLAYER_DRAWS environments the one is shown whose parameters change most at their first change, each by its size.
    `pictures` are `record`'s frames and width.
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
        return record(env, player, partial(inside, player), render=render, **pictures)


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
    default = preset_config(config.env, preset_settings(config.env, agent.action_space))
    train = ["python", "train.py", "--env", config.env]
    train += as_arguments(settings_of(config), settings_of(default))
    judge = ["python", "evaluate.py", str(run_dir)]
    asked = {setting.name for setting in fields(Options)}
    for name, value in asdict(config.evaluation).items():
        judge += [f"--{name.replace('_', '-')}", str(value)] if name in asked else []
    judge += ["--out", str(out)] if out != run_dir else []
    judge += ["--trust"] if runs_code(config) else []
    return [shlex.join(train), shlex.join(judge)]


def make_env(
    config: RunConfig,
    num_envs: int,
    seed: int,
    time_limit: int | None = None,
    transition_observation: bool = True,
) -> VecEnv:
    """The environments of a configuration; `time_limit` cuts the episodes of those that have none.

    With `transition_observation` they show the last transition, as our agents need it.

    Raises:
        RunError: they cannot be made.
    """
    drift: dict[str, Any] = {"schedule": config.schedule, "phase_steps": config.phase_steps}
    given = {name: value for name, value in drift.items() if value is not None}
    if given and config.env not in envs.CATALOGUE:
        raise RunError(
            f"{config.env} takes no {' and no '.join(given)}: only {', '.join(envs.CATALOGUE)} drift."
        )
    if "drift" in config.env_kwargs and config.env in envs.CATALOGUE:
        raise RunError(
            f"env_kwargs has a drift, expected {config.env}'s own, in whose contexts runs are judged: set schedule and "
            "phase_steps, or register an id with your drift (docs/own-environment.md)."
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
            transition_observation=transition_observation,
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


def make_held_env(config: RunConfig, contexts: Sequence[Context]) -> VecEnv:
    """Environments to judge in, each held in a context; the same ones at every call."""
    settings = config.evaluation
    return hold(make_env(config, len(contexts), settings.seed, settings.time_limit), contexts)


def make_player(agent: MemoryAlgorithm, config: RunConfig, num_envs: int, adapted: bool) -> Acting:
    """The agent as it is judged: adapted or not, by its best actions or by sampled ones."""
    settings = config.evaluation
    sample_with = None if settings.deterministic else np.random.default_rng(settings.seed)
    return agent.make_acting(num_envs, adapt=adapted, sample_with=sample_with)


def parse(arguments: Sequence[str]) -> Options:
    """The command line; help where it names no run folder."""
    try:
        return tyro.cli(Options, args=arguments or ["--help"])
    except SystemExit as ended:
        raise SystemExit(ended.code if arguments else 2) from None


if __name__ == "__main__":
    with plain_errors(RunError, OSError):
        main(parse(sys.argv[1:]))
