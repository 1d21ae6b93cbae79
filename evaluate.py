"""Judge trained agents: play contexts held still, adapted and not, and write the results into their run folders.

python evaluate.py runs/my-run
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from rich.console import Console
from stable_baselines3.common.vec_env import VecEnv

import envs
from memagent.agents import Acting, MemoryAlgorithm
from memagent.evaluation.adaptation_figures import context_figure, episodes_figure, model_figure
from memagent.evaluation.figures import contexts_figure, memory_figure, png, stream_figure
from memagent.evaluation.metrics import summarise
from memagent.evaluation.protocol import Context, ContextRecord, play, play_contexts
from memagent.evaluation.report import table, write_report
from memagent.files import write_bytes, write_text
from memagent.memory import DNC
from memagent.progress import phase_changes, read_episodes
from memagent.runs import (
    RunConfig,
    RunError,
    load_agent,
    load_config,
    model_file,
    settings_of,
)
from memagent.stopping import plain_errors

CAPTIONS = {
    "stream": "Return over the training stream, with the phase changes.",
    "contexts": "Return on every context, held still from empty memory, unadapted and adapted.",
    "episodes": "Return by episode since the change, unadapted and adapted: how soon adaptation pays.",
    "context": "The context vector over one environment's drifting stream: one condition, one place.",
    "model": "The dynamics model's error over the steps since a change, with z = 0 and with z fitted.",
    "memory": "The memory over the first training context's first episode.",
}
STREAM = ("obs", "action", "reward", "done", "context", "context_id", "steps_since_change")
STREAM_ENVS = 8


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
    trust: bool = False
    """Let a run folder run code: import the module that its environment's id names, and read a pickled model.zip. Give
    it only for folders of people you trust."""


def main(options: Options) -> None:
    """Evaluate one run folder after the other."""
    given = {
        name: value
        for name, value in vars(options).items()
        if name not in ("run_dirs", "trust") and value is not None
    }
    configs = [load_config(run_dir, trust=options.trust) for run_dir in options.run_dirs]
    for run_dir, config in zip(options.run_dirs, configs, strict=True):
        config = replace(config, evaluation=replace(config.evaluation, **given))
        torch.set_num_threads(min(config.threads, os.cpu_count() or 1))
        env = make_env(config, num_envs=1, seed=config.evaluation.seed)
        agent = load_agent(run_dir, config, env, trust=options.trust)
        if (model := model_file(run_dir)).parent != run_dir:
            print(f"The training of {run_dir} was not finished; {model} is of step {agent.num_timesteps}.")
        evaluate(agent, config, run_dir)


def evaluate(agent: MemoryAlgorithm, config: RunConfig, run_dir: Path) -> dict[str, Any]:
    """Play; write evaluation.json, figures/ and report.html; print the table; return what evaluation.json holds."""
    settings, log = config.evaluation, run_dir / "episodes.csv"
    episodes = read_log(log) if log.is_file() else None

    def make_held_env(contexts: Sequence[Context]) -> VecEnv:
        return hold(make_env(config, len(contexts), settings.seed), contexts)

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
    figures = {"contexts": png(contexts_figure(records))}
    if config.adapt.enabled:
        figures |= adaptation_figures(agent, config, records)
    if episodes is not None:
        figures["stream"] = png(stream_figure(episodes["step"], episodes["return"], phase_changes(episodes)))
    if config.memory.kind == "dnc":
        figures["memory"] = png(memory_figure(**trace_episode(agent, make_held_env(contexts[:1]))))

    write_text(run_dir / "evaluation.json", json.dumps(evaluation, indent=2) + "\n")
    save_figures(figures, run_dir / "figures")
    shown = {CAPTIONS[name]: figures[name] for name in CAPTIONS if name in figures}
    write_report(run_dir / "report.html", evaluation, settings_of(config), shown, title=config.env)
    Console().print(table(records, title=f"{config.env}, memory {config.memory.kind}, {run_dir}"))
    return evaluation


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
    agent: MemoryAlgorithm, config: RunConfig, records: Sequence[ContextRecord]
) -> dict[str, bytes]:
    """Returns since the change; and, where something drifts, contexts and the model's error over a drifting stream."""
    figures = {"episodes": png(episodes_figure(records))}
    if config.env in envs.CATALOGUE:
        stream = play_stream(agent, make_env(config, STREAM_ENVS, config.evaluation.seed))
        figures["context"] = png(context_figure(stream["context"][:, 0], stream["context_id"][:, 0]))
        figures["model"] = png(model_figure(*model_errors(agent, stream)))
    return figures


def play_stream(agent: MemoryAlgorithm, env: VecEnv, steps: int = 3_000) -> dict[str, np.ndarray]:
    """What `steps` steps of E drifting environments showed, and the contexts that the agent was told, [T, E, ...]."""
    player, obs = agent.make_acting(env.num_envs, adapt=True), env.reset()
    seen: dict[str, list[Any]] = {name: [] for name in STREAM}
    for _ in range(steps):
        assert isinstance(obs, np.ndarray)
        action = player.act(obs)
        context = player.context.cpu().numpy().copy()
        next_obs, reward, done, infos = env.step(action)
        player.observe(action, reward, done, infos)
        told = ([info[name] for info in infos] for name in ("context_id", "steps_since_change"))
        for name, value in zip(STREAM, (obs, action, reward, done, context, *told), strict=True):
            seen[name].append(value)
        obs = next_obs
    env.close()
    return {name: np.stack(values) for name, values in seen.items()}


def model_errors(
    agent: MemoryAlgorithm, stream: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps since the change [n], and the model's squared errors there [n], with z = 0 and with z as it was."""
    model = agent.policy.context_model
    assert model is not None
    outcomes = agent.runs_of(stream["obs"], stream["action"], stream["reward"], stream["done"])
    fitted = torch.as_tensor(stream["context"][: len(outcomes.mask)], device=agent.device)
    counts = outcomes.mask.cpu().numpy()
    errors = [
        model.squared_error(context, outcomes).cpu().numpy()[counts]
        for context in (torch.zeros_like(fitted), fitted)
    ]
    return stream["steps_since_change"][: len(counts)][counts], errors[0], errors[1]


def make_env(config: RunConfig, num_envs: int, seed: int) -> VecEnv:
    """The environments of a configuration.

    Raises:
        RunError: Gymnasium cannot make them.
    """
    drift: dict[str, Any] = {"schedule": config.schedule, "phase_steps": config.phase_steps}
    given = {name: value for name, value in drift.items() if value is not None}
    if given and config.env not in envs.CATALOGUE:
        raise RunError(
            f"{config.env} takes no {' and no '.join(given)}: only {', '.join(envs.CATALOGUE)} drift."
        )
    try:
        return envs.make_vec(config.env, num_envs, seed, **given)
    except (gym.error.Error, ImportError, ValueError) as error:
        raise RunError(f"The environment {config.env} cannot be made: {error}") from error


def choose_contexts(config: RunConfig) -> list[Context]:
    """As many contexts of the training ranges as held-out ones; one, without values, where nothing drifts."""
    if config.env not in envs.CATALOGUE:
        return [Context(0, "train", {})]
    count, seed = config.evaluation.contexts, config.evaluation.seed
    train, held_out = (envs.contexts(config.env, split, count, seed) for split in ("train", "held_out"))
    return [Context(i, "train", values) for i, values in enumerate(train)] + [
        Context(count + i, "held_out", values) for i, values in enumerate(held_out)
    ]


def hold(env: VecEnv, contexts: Sequence[Context]) -> VecEnv:
    """The same environments; from the next reset on, the c-th stays in the c-th context."""
    env.set_options([{"context": dict(c.context), "frozen": True} if c.context else {} for c in contexts])
    return env


def trace_episode(agent: MemoryAlgorithm, env: VecEnv) -> dict[str, Any]:
    """Usage [T, N], write weights [T, N] and read weights [T, R, N] of the DNC over one unadapted episode."""
    player = agent.make_acting(1, adapt=False)
    seen: list[np.ndarray] = []

    class Recorder:
        observe = player.observe

        def act(self, obs: np.ndarray) -> np.ndarray:
            seen.append(obs.copy())
            return player.act(obs)

    play(env, Recorder(), episodes=1)
    env.close()
    extractor = agent.policy.features_extractor
    assert isinstance(extractor.memory, DNC)
    with torch.no_grad():
        obs = torch.as_tensor(np.stack(seen), device=agent.device)
        x = torch.cat((obs, obs.new_zeros(*obs.shape[:2], agent.policy.context_dim)), -1)  # [T, 1, O + Z]
        start = torch.zeros(x.shape[:2], dtype=torch.bool, device=agent.device)
        trace = extractor.memory.trace(extractor.encoder(x), start, extractor.memory.initial_state(1))
    usage, write, read = (part[:, 0].cpu().numpy() for part in trace)
    return {"usage": usage, "write": write, "read": read}


def save_figures(figures: Mapping[str, bytes], folder: Path) -> None:
    """Write the pictures as PNG files under their names."""
    folder.mkdir(exist_ok=True)
    for name, data in figures.items():
        write_bytes(folder / f"{name}.png", data)


if __name__ == "__main__":
    with plain_errors(RunError):
        main(tyro.cli(Options))
